"""How long models would take for calls that began now, wherever they are served."""

from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from types import MappingProxyType
from typing import Protocol

from app.gateway.deployments.balance import CallSize
from app.gateway.deployments.predicted_times import latency_at, soonest_loaded
from app.gateway.deployments.rooms import Room
from app.gateway.deployments.slots import Load, Slot
from app.gateway.latency import Speed, later, size_of
from app.gateway.latency_terms import NO_LIMIT, TimeLeft
from app.gateway.queues.expected_wait import ExpectedWait
from app.gateway.queues.virtual_counters import NO_RANK, Rank
from routers.decisions import CandidateEstimate, Latency

_NO_FIRSTS: Mapping[str, tuple[Load | Room, Speed]] = MappingProxyType({})


class Waits(Protocol):
    """Knows who waits for models, and says how long a call would."""

    @property
    def n_waiting(self) -> int:
        """How many wait for any model, or did until a moment ago; 0: nobody does."""
        ...

    def expected_wait(self, model_id: str, held_s: float, rank: Rank) -> ExpectedWait | None:
        """Return how long a call that comes now is likely to wait; None: not at all.

        Parameters
        ----------
        held_s
            How long calls of the model usually take.
        rank
            In whose name it waits.
        """
        ...


class ModelTimes:
    """Predicts the times of models.

    Parameters
    ----------
    slots
        By model, where it is served.
    clock
        Monotonic seconds.
    troubled
        The models with a deployment that something is held against; whoever knows changes it.
    hosted
        The models that some machine loads on demand.
    bounded
        The models with a deployment that takes only so many calls at once.
    """

    def __init__(
        self,
        slots: Mapping[str, tuple[Slot, ...]],
        *,
        clock: Callable[[], float],
        troubled: AbstractSet[str],
        hosted: AbstractSet[str],
        bounded: AbstractSet[str],
    ) -> None:
        self._slots, self._clock = slots, clock
        self._troubled, self._hosted, self._bounded = troubled, hosted, bounded
        self._waits: Waits | None = None
        # Where there is a room, whoever is at the place is in it.
        self._firsts = {
            model_id: (places[0].load.room or places[0].load, places[0].speed)
            for model_id, places in slots.items()
            if places[0].home is None
        }

    def expects_waits(self, waits: Waits) -> None:
        """Have what is waited for before models that take only so many calls count as their time.

        Parameters
        ----------
        waits
            Says of a model how long a call is likely to wait.
        """
        self._waits = waits

    def latency(
        self, model_id: str, call: CallSize, *, left: TimeLeft | None = None, rank: Rank = NO_RANK
    ) -> Latency:
        """Predict how long a model would take for a call that began now; as of `latencies`."""
        now, size = self._clock(), size_of(call.input_tokens)
        return self._latency(
            model_id, size, call, streams=call.streams, left=left, rank=rank, now=now
        )

    def latencies(
        self,
        estimates: Iterable[CandidateEstimate],
        *,
        streams: bool,
        left: TimeLeft | None = None,
        rank: Rank = NO_RANK,
    ) -> dict[str, Latency]:
        """Predict how long candidates would take for a call that began now, by model.

        Parameters
        ----------
        left
            How long the answer may take. The deployment that is least busy counts where it is in
            time, or where there is no limit, else the one that is least late. One that is not
            available counts only where all are not.
        rank
            In whose name it waits where models take only so many calls.
        """
        now, n_input, size = self._clock(), -1, 0
        found: dict[str, Latency] = {}
        most_total_s, most_ttft_s = NO_LIMIT if left is None else left
        nobody_waits = self._waits is None or not self._waits.n_waiting
        firsts, troubled = self._firsts if nobody_waits else _NO_FIRSTS, self._troubled
        for each in estimates:
            model_id = each.model_id
            if each.input_tokens != n_input:
                n_input = each.input_tokens
                size = size_of(n_input)
            expected, longest = each.output_tokens, each.output_tokens_upper
            first = firsts.get(model_id)
            if first is not None and expected is not None and longest is not None:
                place, speed = first
                # What `_latency` would find, and `Speed.latency`, written out: there may be a
                # hundred candidates, of every request.
                if not place.outstanding and not (troubled and model_id in troubled):
                    if now >= speed.known_until:
                        speed.step(now)
                    known = speed.known[size] or speed.work_out(size, now)
                    _, ttft_s, _, ttft_s_upper, begin_s, each_s, begin_s_upper, each_s_upper = known
                    # By hand: calls of `min` and `max` would be a third of the time.
                    longest = longest if longest > expected else expected  # noqa: FURB136
                    total_s = begin_s + each_s * expected
                    total_s_upper = begin_s_upper + each_s_upper * longest
                    total_s_upper = total_s_upper if total_s_upper > total_s else total_s  # noqa: FURB136
                    if not streams:
                        ttft_s, ttft_s_upper = total_s, total_s_upper
                    else:
                        ttft_s = ttft_s if ttft_s < total_s else total_s  # noqa: FURB136
                        if ttft_s_upper < ttft_s:
                            ttft_s_upper = ttft_s
                        elif ttft_s_upper > total_s_upper:
                            ttft_s_upper = total_s_upper
                    if total_s_upper <= most_total_s and ttft_s_upper <= most_ttft_s:
                        found[model_id] = Latency(
                            ttft_s=ttft_s,
                            ttft_s_upper=ttft_s_upper,
                            total_s=total_s,
                            total_s_upper=total_s_upper,
                        )
                        continue
            found[model_id] = self._latency(
                model_id, size, each, streams=streams, left=left, rank=rank, now=now
            )
        return found

    def _latency(
        self,
        model_id: str,
        size: int,
        each: CandidateEstimate | CallSize,
        *,
        streams: bool,
        left: TimeLeft | None,
        rank: Rank,
        now: float,
    ) -> Latency:
        slots = self._slots[model_id]
        if len(slots) > 1:
            if model_id in self._troubled:
                slots = tuple(slot for slot in slots if slot.available(now)) or slots
            if left is None and model_id in self._hosted:
                slots = soonest_loaded(slots, now)
        found = latency_at(slots, size, each, streams=streams, left=left, now=now)
        if self._waits is None or model_id not in self._bounded:
            return found
        wait = self._waits.expected_wait(model_id, found.total_s, rank)
        return found if wait is None else later(found, wait.seconds, wait.seconds_upper)
