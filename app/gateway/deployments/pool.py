"""Where models are served: which deployment takes the next call, and which are left alone."""

import random
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType

import msgspec

from app.gateway.deployments.balance import (
    Balance,
    CallSize,
    LeastOutstanding,
    News,
    Watcher,
)
from app.gateway.deployments.bandit import Bandit
from app.gateway.deployments.breaker import Circuit, CircuitState
from app.gateway.deployments.lease import MAX_THROTTLE_S, Lease
from app.gateway.deployments.machines import Home, Wait
from app.gateway.deployments.model_times import ModelTimes
from app.gateway.deployments.orchestration import Orchestration, OrchestrationState
from app.gateway.deployments.predicted_times import forecast_at, in_time
from app.gateway.deployments.quotas import Quota
from app.gateway.deployments.rooms import Room
from app.gateway.deployments.slots import (
    Load,
    Slot,
    loads_of,
    where_loaded,
    with_a_place,
    with_room,
)
from app.gateway.deployments.tier_load import TierLoad, Under
from app.gateway.latency import Speeds
from app.gateway.latency_terms import TimeLeft
from app.gateway.request import Deployment
from app.providers.base import ToldLimit
from routers.decisions import Latency

__all__ = ["MAX_THROTTLE_S", "DeploymentPool", "Lease"]

_NONE: frozenset[str] = frozenset()
_NO_BALANCES: Mapping[str, Balance] = MappingProxyType({})
_NO_HOMES: Mapping[tuple[str, str], Home] = MappingProxyType({})
_NO_ROOMS: Mapping[tuple[str, str], Room] = MappingProxyType({})
_NO_TIMES: Mapping[Slot, Latency] = MappingProxyType({})
_NO_LOADS: Mapping[str, TierLoad] = MappingProxyType({})


class DeploymentPool:
    """Every deployment of every model.

    Parameters
    ----------
    deployments
        Model id → where it is served, at least one place each.
    failures, cooldown_s
        Of each deployment's circuit.
    clock
        Monotonic seconds.
    rng
        Breaks ties.
    balances
        Model id → how its calls are spread; the least busy deployment takes those of other models.
    rooms
        Likewise → how many calls it takes at once, where that is limited.
    homes
        (upstream, its name for the model) → the machine that loads it on demand.
    on_breaker_change
        Told of every change of a circuit's state, after it.
    on_loading_call
        Told of every call that goes to a machine, and whether its model was loaded there.
    tier_loads
        Model id → what follows its calls, where it is a tier of a best effort.
    speeds
        What is known of how fast places answer, from before.
    """

    def __init__(
        self,
        deployments: Mapping[str, Sequence[Deployment]],
        *,
        clock: Callable[[], float],
        failures: int = 5,
        cooldown_s: float = 15.0,
        rng: random.Random,
        balances: Mapping[str, Balance] = _NO_BALANCES,
        rooms: Mapping[tuple[str, str], Room] = _NO_ROOMS,
        homes: Mapping[tuple[str, str], Home] = _NO_HOMES,
        on_breaker_change: Callable[[Deployment, CircuitState], None] = lambda *_: None,
        on_loading_call: Callable[[Deployment, bool], None] = lambda *_: None,
        tier_loads: Mapping[str, TierLoad] = _NO_LOADS,
        speeds: Speeds | None = None,
    ) -> None:
        self.clock = clock
        self._tier_loads = tier_loads
        self._balances = {
            model_id: balances.get(model_id) or LeastOutstanding(rng) for model_id in deployments
        }
        self._on_breaker_change = on_breaker_change
        self._on_loading_call = on_loading_call
        loads, speeds = loads_of(deployments, clock(), rooms), speeds or Speeds()
        self._slots = {
            model_id: tuple(
                Slot(
                    deployment=each,
                    circuit=Circuit(max_failures=failures, cooldown_s=cooldown_s),
                    load=loads[each.key],
                    home=homes.get(each.key),
                    speed=speeds.of((model_id, *each.key), each.pace),
                )
                for each in places
            )
            for model_id, places in deployments.items()
        }
        self._limited = {
            model_id
            for model_id, slots in self._slots.items()
            if any(slot.load.quota is not None for slot in slots)
        }
        self._bounded = frozenset(
            model_id
            for model_id, slots in self._slots.items()
            if any(slot.load.room is not None for slot in slots)
        )
        several = {
            model_id: balance
            for model_id, balance in self._balances.items()
            if len(self._slots[model_id]) > 1
        }
        self._hosted = frozenset(
            model_id
            for model_id, slots in self._slots.items()
            if any(slot.home is not None for slot in slots)
        )
        self.orchestrates = {
            model_id: balance
            for model_id, balance in self._balances.items()
            if isinstance(balance, Orchestration)
        }
        """What is orchestrated, by model."""
        for model_id, balance in self.orchestrates.items():
            balance.meet(self._slots[model_id], clock())
        self._watching = {
            model_id: balance
            for model_id, balance in several.items()
            if isinstance(balance, Watcher)
        }
        self._sized = self._limited | {
            model_id for model_id, balance in several.items() if balance.wants_size
        }
        self._prefixed = {model_id for model_id, balance in several.items() if balance.wants_prefix}
        self._shared_loads = {
            slot.deployment.key: slot.load
            for slots in self._slots.values()
            for slot in slots
            if len(slots) > 1 or slot.load.quota is not None
        }
        self._troubled: set[str] = set()
        """Models with a deployment that something is, or lately was, held against."""
        self.times = ModelTimes(
            self._slots,
            clock=clock,
            troubled=self._troubled,
            hosted=self._hosted,
            bounded=self._bounded,
        )
        """How long models would take."""

    def lease(
        self,
        model_id: str,
        *,
        avoid: Collection[Slot] = (),
        dialect: str | None = None,
        size: CallSize | None = None,
        left: TimeLeft | None = None,
    ) -> Lease:
        """Choose a deployment for one call.

        Available ones come first, those in `avoid` last; among equals the model's balance picks.
        There is always one: where none is available, the call is made all the same.

        Parameters
        ----------
        dialect
            Only those that speak it are considered, where there is one.
        size
            How large the call is; None for one that teaches nothing.
        left
            How long its answer may take; where it is in time anywhere, only there.
        """
        slots = self._slots[model_id] if dialect is None else self._speaking(dialect, model_id)
        if model_id in self._bounded:
            slots = with_a_place(slots)
        now = self.clock()
        predicted = _NO_TIMES
        if left is not None and size is not None and len(slots) > 1:
            slots, predicted = in_time(slots, size, left, now)
        slot = slots[0] if len(slots) == 1 else self._choose(model_id, slots, avoid, now, size)
        expected_tokens = 0.0 if size is None else size.tokens
        slot.load.begin(now, expected_tokens)
        is_probe = False
        if slot.circuit.state is not CircuitState.CLOSED:
            is_probe = slot.circuit.begin(now)
            if is_probe:
                self._on_breaker_change(slot.deployment, slot.circuit.state)
        forecast = None if size is None else forecast_at(slot, size, now, predicted.get(slot))
        if slot.home is not None:
            if slot.home.wait_s(now) > 0:
                # What a model that is being loaded takes says nothing of what it takes else.
                forecast = None
                size = None if size is None else msgspec.structs.replace(size, streams=False)
            was_loaded = slot.home.machine.called(slot.home.name, now)
            self._on_loading_call(slot.deployment, was_loaded)
        watching = self._watching.get(model_id)
        watched = None if watching is None else watching.begun(slot, now, size)
        load = slot.load
        lease = Lease(
            self,
            slot,
            now,
            is_probe,
            watched,
            watching,
            expected_tokens=expected_tokens,
            forecast=forecast,
            number=load.begun,
            tokens_begun=load.tokens,
        )
        if watched is not None:
            lease.propensity = watched.propensity
        if self._tier_loads:
            tier = self._tier_loads.get(model_id)
            lease.under = None if tier is None else tier.begun(now)
        return lease

    def has_room(self, model_id: str, *, dialect: str | None = None) -> bool:
        """Return whether one more call may go to a deployment that is available.

        Where none is, to any: it is made all the same.
        """
        slots = self._slots[model_id] if dialect is None else self._speaking(dialect, model_id)
        if model_id in self._troubled:
            now = self.clock()
            slots = [slot for slot in slots if slot.available(now)] or slots
        for slot in slots:  # most often the first one has
            room = slot.load.room
            if room is None or room.outstanding < room.limit:
                return True
        return False

    def by_model(self) -> Iterable[tuple[str, tuple[Slot, ...]]]:
        """Return the deployments of every model."""
        return self._slots.items()

    def predicts(self, model_id: str) -> bool:
        """Return whether the size of a call matters for where it goes."""
        return model_id in self._sized

    def wants_prefix(self, model_id: str) -> bool:
        """Return whether it matters for where a call goes what its prompt begins with."""
        return model_id in self._prefixed

    def left_tier(self, slot: Slot, call: Under, *, whole: bool) -> None:
        """Tell the load of a tier that a call of it is over."""
        tier = self._tier_loads[slot.deployment.spec.model_id]
        tier.ended(call, self.clock(), whole=whole)

    def offers_another(
        self, model_id: str, *, avoid: Collection[Slot], dialect: str | None = None
    ) -> bool:
        """Return whether a deployment outside `avoid` is available."""
        slots = self._speaking(dialect, model_id)
        if len(slots) == 1:
            return False
        now = self.clock()
        return any(slot.available(now) and slot not in avoid for slot in slots)

    def ordered(self, model_ids: Sequence[str]) -> Sequence[str]:
        """Return the models in the order to try them: those that cannot be had now come last."""
        unhealthy = self.unhealthy()
        if not unhealthy:
            return model_ids
        return sorted(model_ids, key=unhealthy.__contains__)  # sorting is stable

    def unhealthy(self) -> frozenset[str]:
        """Return the models without any available deployment; costs nothing while all is well."""
        if not self._troubled:
            return _NONE
        now = self.clock()
        found = []
        for model_id in tuple(self._troubled):
            slots = self._slots[model_id]
            if not any(slot.available(now) for slot in slots):
                found.append(model_id)
            elif all(slot.untroubled(now) for slot in slots):
                self._troubled.discard(model_id)
        return frozenset(found)

    def to_load(self, model_ids: Iterable[str]) -> dict[str, Wait]:
        """Return what calls of models would wait for, of those that are not loaded anywhere.

        A model that is served anywhere without being loaded is not waited for.
        """
        found: dict[str, Wait] = {}
        hosted, now = self._hosted, self.clock()
        for model_id in model_ids:
            if model_id not in hosted:
                continue
            slots = self._slots[model_id]
            usable = [slot for slot in slots if slot.available(now)] or slots
            homes = [slot.home for slot in usable if slot.home is not None]
            if len(homes) < len(usable):
                continue
            home = min(homes, key=lambda each: each.wait_s(now))
            wait_s = home.wait_s(now)
            if wait_s > 0:
                found[model_id] = Wait(
                    seconds=wait_s, usd=0.0 if home.holds(now) else home.load_usd
                )
        return found

    @property
    def loads_models(self) -> bool:
        """Whether there is any model that a machine loads on demand."""
        return bool(self._hosted)

    def loaded(self, now: float) -> dict[str, dict[str, bool]]:
        """Return which models each machine that loads on demand has loaded, by upstream."""
        found: dict[str, dict[str, bool]] = {}
        for model_id in self._hosted:
            for slot in self._slots[model_id]:
                if slot.home is not None:
                    at = found.setdefault(slot.deployment.upstream, {})
                    at[model_id] = slot.home.holds(now)
        return found

    def heard(self, model_id: str, news: News) -> None:
        """Take note of what other replicas do with the deployments of a model."""
        self._balances[model_id].heard(news)

    def shared_loads(self) -> dict[tuple[str, str], Load]:
        """Return the loads of places of which it matters what others do there, by their keys."""
        return self._shared_loads

    def heard_of_all(
        self,
        *,
        at: float,
        outstanding: Mapping[tuple[str, str], float],
        begun_per_s: Mapping[tuple[str, str], float],
    ) -> None:
        """Take note of what other replicas do, by place; every model takes its own of it."""
        for model_id, slots in self._slots.items():
            if len(slots) > 1:
                keys = [slot.deployment.key for slot in slots]
                news = News(
                    at=at,
                    outstanding={key: outstanding.get(key, 0.0) for key in keys},
                    begun_per_s=sum(begun_per_s.get(key, 0.0) for key in keys),
                )
                self._balances[model_id].heard(news)

    def bandits(self) -> dict[str, Bandit]:
        """Return what learns where calls are answered, each once, by the model of its first."""
        found: dict[str, Bandit] = {}
        for model_id, balance in self._balances.items():
            if isinstance(balance, Bandit) and balance not in found.values():
                found[model_id] = balance
        return found

    def lacked_capacity(self, slot: Slot) -> None:
        """Tell whoever orchestrates that a deployment turned a call away for want of capacity."""
        orchestration = self.orchestrates.get(slot.deployment.spec.model_id)
        if orchestration is not None:
            orchestration.lacks_capacity()

    def orchestrated(self) -> dict[str, OrchestrationState]:
        """Return how each model stands that is orchestrated, variants with their model."""
        now, found, told = self.clock(), {}, set[int]()
        for model_id, balance in self.orchestrates.items():
            if id(balance) not in told:
                told.add(id(balance))
                found[model_id] = balance.state(now)
        return found

    def believed(self) -> Iterator[tuple[Slot, float]]:
        """Go through what bandits believe of deployments, for metrics."""
        for model_id, balance in self._balances.items():
            if isinstance(balance, Bandit):
                for slot in self._slots[model_id]:
                    mean = balance.mean(slot)
                    if mean is not None:
                        yield slot, mean

    def slots(self) -> Iterator[Slot]:
        """Go through all deployments, for metrics and readiness."""
        for slots in self._slots.values():
            yield from slots

    def changing(self, slot: Slot, change: Callable[[Circuit], None]) -> None:
        """Apply a change to a circuit and tell whoever wants to know of it."""
        before = slot.circuit.state
        change(slot.circuit)
        after = slot.circuit.state
        if after is not before:
            self._troubled.add(slot.deployment.spec.model_id)
            self._on_breaker_change(slot.deployment, after)

    def throttled(self, slot: Slot, until: float) -> None:
        """Leave a deployment alone until then."""
        slot.throttled_until = max(slot.throttled_until, until)
        self._troubled.add(slot.deployment.spec.model_id)

    def heard_limits(
        self,
        slot: Slot,
        limits: tuple[ToldLimit, ...],
        *,
        number: int,
        calls: int,
        tokens: float,
        retry_after_s: float | None = None,
    ) -> None:
        """Take note of what a deployment tells of its rate limits; see `Quota.hear`."""
        now, load = self.clock(), slot.load
        if load.quota is None:
            load.quota = Quota(now=now)
            self._limited |= self._models_at(load)
            self._sized |= self._limited
            self._shared_loads[slot.deployment.key] = load
        spent_s = load.quota.hear(
            limits, now, number=number, calls=calls, tokens=tokens, retry_after_s=retry_after_s
        )
        if spent_s > 0:
            load.spent_until = now + min(spent_s, MAX_THROTTLE_S)
            self._troubled |= self._models_at(load)

    def _models_at(self, load: Load) -> set[str]:
        """Return the models that are served at a place: one, and its variants."""
        return {
            model_id
            for model_id, slots in self._slots.items()
            if any(slot.load is load for slot in slots)
        }

    def demote(self, places: Collection[tuple[str, str, str]]) -> None:
        """Leave these places alone, and no others, wherever their model is served elsewhere too.

        Parameters
        ----------
        places
            Each a model, an upstream, and that one's name for it.
        """
        for slot in self.slots():
            at = slot.deployment
            slot.demoted = (at.spec.model_id, *at.key) in places
            if slot.demoted:
                self._troubled.add(at.spec.model_id)

    def _speaking(self, dialect: str | None, model_id: str) -> Sequence[Slot]:
        slots = self._slots[model_id]
        if dialect is None:
            return slots
        return [
            slot for slot in slots if dialect in slot.deployment.provider.native_dialects
        ] or slots

    def _choose(
        self,
        model_id: str,
        slots: Sequence[Slot],
        avoid: Collection[Slot],
        now: float,
        size: CallSize | None,
    ) -> Slot:
        if not avoid and model_id not in self._troubled:
            return self._pick(model_id, slots, now, size)
        for wanted in (
            [s for s in slots if not s.demoted and s.available(now) and s not in avoid],
            [slot for slot in slots if slot.available(now) and slot not in avoid],
            [slot for slot in slots if slot.available(now)],
            [slot for slot in slots if slot not in avoid],
            slots,
        ):
            if wanted:
                return self._pick(model_id, wanted, now, size)
        raise AssertionError("a model has at least one deployment")

    def _pick(
        self, model_id: str, slots: Sequence[Slot], now: float, size: CallSize | None
    ) -> Slot:
        if model_id in self._limited:
            slots = with_room(slots, now, 0.0 if size is None else size.tokens)
        if model_id in self._hosted:
            slots = where_loaded(slots, now)
        return self._balances[model_id].pick(slots, now, size)
