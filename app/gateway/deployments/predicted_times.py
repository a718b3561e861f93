"""How long models would take for calls that begin now, wherever they are served."""

from collections.abc import Mapping, Sequence

from app.gateway.deployments.balance import CallSize
from app.gateway.deployments.slots import Slot
from app.gateway.latency import Forecast, later, size_of
from app.gateway.latency_terms import TimeLeft
from routers.decisions import CandidateEstimate, Latency


def forecast_at(slot: Slot, size: CallSize, now: float, latency: Latency | None = None) -> Forecast:
    """Predict how long a call would take at a place, to be told how it went.

    Parameters
    ----------
    latency
        What `in_time` found of the place at the same time.
    """
    return slot.speed.forecast(
        input_tokens=size.input_tokens,
        output_tokens=size.output_tokens,
        output_tokens_upper=size.output_tokens_upper,
        streams=size.streams,
        ahead_s=0.0 if slot.home is None else slot.home.wait_s(now),
        latency=latency,
        now=now,
    )


def in_time(
    slots: Sequence[Slot], size: CallSize, left: TimeLeft, now: float
) -> tuple[Sequence[Slot], Mapping[Slot, Latency]]:
    """Return the places where a call would be in time, and what it would take at each place.

    All of them where it would be so nowhere.
    """
    class_of_prompt = size_of(size.input_tokens)
    expected, longest, streams = size.output_tokens, size.output_tokens_upper, size.streams
    total_s, ttft_s = left
    found, late = {}, False
    for slot in slots:
        latency = slot.speed.latency(class_of_prompt, expected, longest, streams, now)
        if slot.home is not None:
            latency = later(latency, slot.home.wait_s(now))
        found[slot] = latency
        # `TimeLeft.suffices` written out: this is asked at every place before each call.
        if latency.total_s_upper > total_s or latency.ttft_s_upper > ttft_s:
            late = True
    if late:
        quick = [slot for slot, latency in found.items() if left.suffices(latency)]
        if quick:
            slots = [slot for slot in quick if slot.available(now)] or quick
    return slots, found


def latency_at(
    slots: Sequence[Slot],
    size: int,
    each: CandidateEstimate | CallSize,
    *,
    streams: bool,
    left: TimeLeft | None,
    now: float,
) -> Latency:
    """Predict how long a call would take at the least busy of some places.

    Parameters
    ----------
    size
        The class of its prompt.
    each
        Says how long its answer will be.
    left
        Where it would be late there, the place counts where it is late by least.
    """
    expected, longest = each.output_tokens, each.output_tokens_upper
    first = slots[0]
    if len(slots) > 1 and first.load.outstanding:
        first = min(slots, key=_busy)
    found = first.speed.latency(size, expected, longest, streams, now)
    if first.home is not None:
        found = later(found, _loading_s(first, now))
    if left is None or len(slots) == 1:
        return found
    if left.suffices(found):
        return found
    others = [
        later(slot.speed.latency(size, expected, longest, streams, now), _loading_s(slot, now))
        for slot in slots
        if slot is not first
    ]
    return min([found, *others], key=left.late_s)


def soonest_loaded(slots: tuple[Slot, ...], now: float) -> tuple[Slot, ...]:
    """Return the places where a model is loaded, or is so first."""
    least_s = min(_loading_s(slot, now) for slot in slots)
    return tuple(slot for slot in slots if _loading_s(slot, now) <= least_s)


def _loading_s(slot: Slot, now: float) -> float:
    return 0.0 if slot.home is None else slot.home.wait_s(now)


def _busy(slot: Slot) -> float:
    return slot.load.outstanding / slot.deployment.weight
