"""Which of a model's deployments takes a call, of those that may: one class a way to balance.

They do no I/O and wait for nothing; time and chance come in, so that a simulation runs the same
ones.
"""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple, Protocol, runtime_checkable

import msgspec

from app.gateway.deployments.slots import Load, Slot

STALE_S = 2.0
"""How old news may be; older ones are worse than none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """What the other replicas do with the deployments of one model, as far as it is known.

    Attributes
    ----------
    at
        When it was so, by the clock of whoever hears it.
    outstanding
        By deployment, their calls that have begun and not ended.
    begun_per_s
        How many calls of the model they begin.
    """

    at: float
    outstanding: Mapping[tuple[str, str], float]
    begun_per_s: float


class Prefix(NamedTuple):
    """What a prompt begins with: what the application says first, and what its user does."""

    opening: int
    conversation: int


class CallSize(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What is known of a call: how large prompt and answer are (None: not predicted), its kin."""

    input_tokens: float
    output_tokens: float | None
    output_tokens_upper: float | None = None
    """What nine of ten answers are not longer than."""
    streams: bool = True
    """Whether its first token will be seen before its last."""
    prefix: Prefix | None = None
    """What its prompt begins with, where that is wanted."""

    @property
    def tokens(self) -> float:
        """What it uses of a quota of tokens, as far as it is known."""
        return self.input_tokens + (self.output_tokens or 0.0)


class Ended(StrEnum):
    """How a call ended, as far as it tells something of its deployment."""

    WHOLE = "whole"
    FAULT = "fault"
    """By the deployment: an error of its own, a timeout, an answer that is empty or breaks off."""
    OTHER = "other"
    """By the client, or by a limit: it says nothing of how well calls are answered."""


class Watched(Protocol):
    """What a balance that learns knows of one call."""

    slot: Slot
    propensity: float | None
    """How probable it was that its deployment would take it, where that is known."""


class Balance(Protocol):
    """Spreads the calls of one model over its deployments.

    Attributes
    ----------
    wants_size
        Whether it matters how large a call is.
    wants_prefix
        Whether it matters what a prompt begins with.
    """

    wants_size: bool
    wants_prefix: bool

    def pick(self, slots: Sequence[Slot], now: float, size: CallSize | None = None) -> Slot:
        """Return one of some deployments, of which there is at least one."""
        ...

    def heard(self, news: News) -> None:
        """Take note of what other replicas do."""
        ...


@runtime_checkable
class Watcher(Protocol):
    """What a balance does besides that learns from its calls, which are what `begun` returned."""

    def begun(self, slot: Slot, now: float, size: CallSize | None) -> Any:
        """Take note that a call begins, and return a `Watched` of it."""
        ...

    def first_token(self, call: Any, now: float) -> None:
        """Take note that its answer begins."""
        ...

    def ended(self, call: Any, now: float, how: Ended) -> None:
        """Take note that it is over."""
        ...


class LeastOutstanding:
    """Take the least busy: the fewest calls begun and not ended, relative to the weight.

    News of other replicas are late, and all hear the same ones: if each went for the one that was
    least busy, they would overrun it together, then the next. So each takes it that the others do
    what it does itself: what they have begun since filled up the least busy, to one level. The
    older the news, the more is level, and own calls alone decide.

    Parameters
    ----------
    rng
        Breaks ties, by weight.
    """

    wants_size = wants_prefix = False

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._news: News | None = None

    def heard(self, news: News) -> None:
        """Take note of what other replicas do."""
        self._news = news

    def loads(self, slots: Sequence[Slot], now: float) -> dict[Slot, float]:
        """Return what each is busy with, relative to its weight, as far as it is known."""
        news = self._news
        loads = {slot: slot.load.outstanding / slot.deployment.weight for slot in slots}
        if news is not None and now - news.at <= STALE_S:
            for slot, elsewhere in _filled_up(slots, news, now).items():
                loads[slot] += elsewhere
        return loads

    def pick(self, slots: Sequence[Slot], now: float, size: CallSize | None = None) -> Slot:  # noqa: ARG002
        """Return the one with the least load."""
        news = self._news
        elsewhere = None
        if news is not None and now - news.at <= STALE_S:
            elsewhere = _filled_up(slots, news, now)
        least, total = math.inf, 0.0
        ties: list[Slot] = []
        for slot in slots:
            weight = slot.deployment.weight
            load = slot.load.outstanding / weight
            if elsewhere is not None:
                load += elsewhere[slot]
            if load < least:
                least, total, ties = load, weight, [slot]
            elif load == least:
                total += weight
                ties.append(slot)
        if len(ties) > 1:
            at = self._rng.random() * total
            for slot in ties:
                at -= slot.deployment.weight
                if at < 0:
                    return slot
        return ties[-1]


class RoundRobin:
    """Take them in turn, whatever they are busy with, as often as their weights say.

    Turns are smooth: of weights 2 and 1 comes a, b, a and not a, a, b.

    Parameters
    ----------
    rng
        Says where it begins, so that replicas do not all begin with the same one.
    """

    wants_size = wants_prefix = False

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._owed: dict[Load, float] = {}
        """What of its turns is still to come."""

    def pick(self, slots: Sequence[Slot], now: float, size: CallSize | None = None) -> Slot:  # noqa: ARG002
        """Return the one that is owed most."""
        return self.turn(slots, [slot.deployment.weight for slot in slots])

    def turn(self, slots: Sequence[Slot], weights: Sequence[float]) -> Slot:
        """Return the one that is owed most by other weights than their own."""
        owed, total = self._owed, 0.0
        chosen, most = slots[0], -math.inf
        for slot, weight in zip(slots, weights, strict=True):
            total += weight
            mine = owed.get(slot.load)
            mine = owed[slot.load] = weight + (
                self._rng.random() * weight if mine is None else mine
            )
            if mine > most:
                chosen, most = slot, mine
        owed[chosen.load] -= total
        return chosen

    def heard(self, news: News) -> None:
        """Go on: turns are a replica's own."""


def _filled_up(slots: Sequence[Slot], news: News, now: float) -> dict[Slot, float]:
    """Return the load by other replicas relative to weights, were its troughs filled since."""
    loads = {}
    for slot in slots:
        place = slot.deployment
        loads[slot] = news.outstanding.get(place.key, 0.0) / place.weight
    left, level, width = news.begun_per_s * (now - news.at), 0.0, 0.0
    for slot, load in sorted(loads.items(), key=lambda each: each[1]):
        if width:
            left -= (load - level) * width
            if left <= 0:
                level = load + left / width
                break
        level = load
        width += slot.deployment.weight
    else:
        level += left / width
    return {slot: max(load, level) for slot, load in loads.items()}
