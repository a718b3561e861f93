"""`balance: orchestration`: by cost while there is capacity, by turns while there is none."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from app.gateway.deployments.balance import CallSize, News, RoundRobin
from app.gateway.deployments.forecast import Forecast
from app.gateway.deployments.orchestrator import Mode, OrchestrationRule, Orchestrator, Unit
from app.gateway.deployments.quotas import Quota
from app.gateway.deployments.slots import Load, Slot

_NEWEST = 0.1
"""The weight of one call in the mean time until answers begin."""

_MOST_MISSED = 1_000
"""Polls without any call that a forecast is told of one by one."""


@dataclass(slots=True)
class _Seen:
    """What was seen of one deployment."""

    slot: Slot
    n_calls: int = 0
    """Since the last poll."""
    rps: float = 0.0
    latency_s: float | None = None
    fresh: bool = False
    """Whether an answer began since the last poll."""
    weight: float = 0.0
    limit: Quota | None = None
    limit_rps: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitState:
    """One deployment, for who looks: what it costs and takes, and what it is given."""

    upstream: str
    upstream_model: str
    usd_per_hour: float
    max_rps: float
    available: bool
    broken: bool
    latency_s: float | None
    rps: float
    weight: float
    limit_rps: float


@dataclass(frozen=True, slots=True, kw_only=True)
class OrchestrationState:
    """How one model's load is spread at the moment.

    Attributes
    ----------
    since_s
        For how long the mode has been this one.
    expected_rps
        What is forecast until the next poll.
    """

    mode: Mode
    since_s: float
    n_switches: int
    expected_rps: float
    units: tuple[UnitState, ...] = field(default=())


@dataclass(slots=True, eq=False)
class OrchestratedCall:
    """One call that has begun."""

    slot: Slot
    began: float
    propensity: float | None = None


class Orchestration:
    """Take the deployments in turn, as often as the mode of the moment weighs them.

    How things stand is looked at in every so manieth second, by the first call after that, or by
    whoever asks how they stand. A deployment beyond what the mode lets it take is passed over while
    another one has room.

    Parameters
    ----------
    rng
        Says where turns begin.
    """

    wants_size = wants_prefix = False

    def __init__(self, rng: random.Random, rule: OrchestrationRule | None = None) -> None:
        self.rule = rule or OrchestrationRule()
        self._turns = RoundRobin(rng)
        self._seen: dict[Load, _Seen] = {}
        self._orchestrator: Orchestrator | None = None
        self._forecast = Forecast(tick_s=self.rule.poll_s, horizon_s=self.rule.poll_s)
        self._polled_at = -math.inf
        self._lacked = False
        self._elsewhere_rps = 0.0

    def meet(self, slots: Sequence[Slot], now: float) -> None:
        """Take note of the deployments that there are; before any call."""
        for slot in slots:
            self._seen.setdefault(slot.load, _Seen(slot))
        if self._orchestrator is None:
            self._orchestrator = Orchestrator(self.rule, now)
            self._polled_at = now
        self._weigh(now)

    def heard(self, news: News) -> None:
        """Take note of what other replicas begin."""
        self._elsewhere_rps = news.begun_per_s

    def pick(self, slots: Sequence[Slot], now: float, size: CallSize | None = None) -> Slot:  # noqa: ARG002
        """Return the one whose turn it is."""
        if now - self._polled_at >= self.rule.poll_s:
            self.poll(now)
        seen = self._seen
        # What became available since the last poll has no weight yet, and waits for the next.
        weighed = [slot for slot in slots if seen[slot.load].weight > 0] or slots
        free = [slot for slot in weighed if self._has_room(slot, now)] or weighed
        return self._turns.turn(free, [seen[slot.load].weight or 1.0 for slot in free])

    def begun(self, slot: Slot, now: float, size: CallSize | None) -> OrchestratedCall:  # noqa: ARG002
        """Count a call."""
        seen = self._seen[slot.load]
        seen.n_calls += 1
        if seen.limit is not None:
            seen.limit.take(now, 0.0)
        return OrchestratedCall(slot, now)

    def first_token(self, call: OrchestratedCall, now: float) -> None:
        """Learn how long answers take to begin."""
        seen, took_s = self._seen[call.slot.load], now - call.began
        if seen.latency_s is None:
            seen.latency_s = took_s
        else:
            seen.latency_s += _NEWEST * (took_s - seen.latency_s)
        seen.fresh = True

    def ended(self, call: OrchestratedCall, now: float, how: object) -> None:
        """Go on: what matters was told before."""

    def lacks_capacity(self) -> None:
        """Take note that a deployment turned a call away for want of capacity."""
        self._lacked = True

    def poll(self, now: float) -> None:
        """Look at how things stand."""
        orchestrator, passed_s = self._orchestrator, now - self._polled_at
        if orchestrator is None or passed_s <= 0:
            return
        n_calls = sum(each.n_calls for each in self._seen.values())
        own_rps = n_calls / passed_s
        missed = min(_MOST_MISSED, max(1, round(passed_s / self.rule.poll_s)))
        for _ in range(missed):
            self._forecast.tick(own_rps * self.rule.poll_s)
        share = 1.0 if not own_rps else (own_rps + self._elsewhere_rps) / own_rps
        for seen in self._seen.values():
            seen.rps = seen.n_calls / passed_s * share
            seen.n_calls = 0
            if not seen.fresh:
                seen.latency_s = None  # it may have recovered: only calls can tell
            seen.fresh = False
        orchestrator.poll(
            now, self._units(now), expected_rps=self._expected_rps(), lacked=self._lacked
        )
        self._polled_at, self._lacked = now, False
        self._weigh(now)

    def state(self, now: float) -> OrchestrationState:
        """Return how things stand, for who looks."""
        if now - self._polled_at >= self.rule.poll_s:
            self.poll(now)
        orchestrator = self._orchestrator
        assert orchestrator is not None  # noqa: S101  (`meet` came before)
        units = self._units(now)
        return OrchestrationState(
            mode=orchestrator.mode,
            since_s=now - orchestrator.since,
            n_switches=orchestrator.n_switches,
            expected_rps=self._expected_rps(),
            units=tuple(
                UnitState(
                    upstream=seen.slot.deployment.upstream,
                    upstream_model=seen.slot.deployment.upstream_model,
                    usd_per_hour=unit.usd_per_hour,
                    max_rps=unit.max_rps,
                    available=unit.available,
                    broken=orchestrator.broken(unit),
                    latency_s=unit.latency_s,
                    rps=unit.rps,
                    weight=seen.weight,
                    limit_rps=seen.limit_rps,
                )
                for seen, unit in zip(self._seen.values(), units, strict=True)
            ),
        )

    def _expected_rps(self) -> float:
        return self._forecast.ahead + self._elsewhere_rps

    def _has_room(self, slot: Slot, now: float) -> bool:
        limit = self._seen[slot.load].limit
        return limit is None or limit.wait_s(now, 0.0) == 0.0

    def _units(self, now: float) -> list[Unit]:
        return [
            Unit(
                usd_per_hour=seen.slot.deployment.usd_per_hour or 1.0,
                max_rps=seen.slot.deployment.max_rps or 1.0,
                available=seen.slot.available(now),
                latency_s=seen.latency_s,
                rps=seen.rps,
            )
            for seen in self._seen.values()
        ]

    def _weigh(self, now: float) -> None:
        orchestrator = self._orchestrator
        if orchestrator is None:
            return
        units = self._units(now)
        weights, limits = orchestrator.weights(units), orchestrator.limits_rps(units)
        for seen, weight, limit_rps in zip(self._seen.values(), weights, limits, strict=True):
            seen.weight = weight
            if limit_rps != seen.limit_rps:
                seen.limit_rps = limit_rps
                seen.limit = Quota(
                    max_rps=limit_rps, requests_per_minute=None, tokens_per_minute=None, now=now
                )
