"""How busy a model is, and how long a call of it would have to wait: learned from what calls took.

A provider shows no queue. What can be seen is how many calls were under way when one began, and how
long that took: `n` calls at `slots` places of `service_s` each take `service_s * max(1, n / slots)`
in the mean, wherever they wait. Both are fitted to what was seen. Nothing here reads a clock.
"""

import math
from dataclasses import dataclass, field
from typing import NamedTuple

_FIT_EVERY_S = 1.0
"""How often both are fitted anew, while calls end."""
_MEMORY = 64.0
"""How many of the latest calls count of each number of calls under way."""
_HALF_LIFE_S = 60.0
"""After which time a call counts half, however few came since."""
_UNSEEN_S = 10.0
_MEMORY_UNSEEN = 4.0
"""After which time without such a call, how many of the earlier ones still count."""
_ENOUGH = 4.0
"""Calls that must have begun beside half as many again as there are places, before the places are
taken for counted."""
_GROWTH = 1.5
"""Of what was seen to do no harm, how many more may be tried at once."""
_TOLERANCE = 1.05
"""Of numbers of places that fit about as well, the least one is taken."""
_UPPER = 2.0
"""Standard deviations up to the upper wait, of services as spread as they are long."""
_DEVIATIONS = 2.0
"""By how much calls under way must be older than usual, in standard deviations of their mean."""


class Under(NamedTuple):
    """A call that is under way: when it began, and how many there were with it."""

    began: float
    n: int


class Expected(NamedTuple):
    """What is expected of one more call, in seconds.

    Attributes
    ----------
    wait_s
        The mean wait before its service.
    wait_upper_s
        What some 97 of 100 waits stay below: where so many calls are ahead, their times add up to
        more or less than the mean.
    service_s
        The mean service.
    """

    wait_s: float
    wait_upper_s: float
    service_s: float

    @property
    def total_s(self) -> float:
        """The mean of wait and service together."""
        return self.wait_s + self.service_s


@dataclass(slots=True)
class _Bin:
    """Calls that began with about as many under way."""

    weight: float = 0.0
    n: float = 0.0
    took_s: float = 0.0
    at: float = 0.0

    def add(self, n: float, took_s: float, now: float) -> None:
        most = _MEMORY if now - self.at < _UNSEEN_S else _MEMORY_UNSEEN
        self.weight = min(self.weight_at(now), most - 1) + 1
        self.at = now
        share = 1 / self.weight
        self.n += share * (n - self.n)
        self.took_s += share * (took_s - self.took_s)

    def weight_at(self, now: float) -> float:
        """Return how many calls it counts for by now."""
        return self.weight * math.exp2(-max(now - self.at, 0.0) / _HALF_LIFE_S)


@dataclass(slots=True, kw_only=True)
class TierLoad:
    """Follow the calls of one model.

    Attributes
    ----------
    slots
        How many calls its deployments work on at a time, where that is known; else learned.
    usual_s
        What a call takes that need not wait, in seconds, until some have ended; 0: not known.
    """

    slots: float | None = None
    usual_s: float = 0.0
    outstanding: int = field(default=0, init=False)
    service_s: float = field(init=False)
    """What a call takes that need not wait, as far as known."""
    capacity: float = field(default=4.0 * _GROWTH, init=False)
    """How many calls are worked on at a time; what was not tried is taken to be little more than
    what was."""
    last_end: float = field(default=-math.inf, init=False)
    """When a call was last answered."""
    _counted: float = field(default=0.0, init=False)
    """The places that were counted last."""
    _began_s: float = field(default=0.0, init=False)
    """When the calls under way began, added up."""
    _bins: dict[int, _Bin] = field(default_factory=dict, init=False)
    _fit_at: float = field(default=0.0, init=False)
    _n_ended: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.service_s = self.usual_s
        if self.slots is not None:
            self.capacity = self.slots

    def begun(self, now: float) -> Under:
        """Note that a call begins; `ended` must follow."""
        self.outstanding += 1
        self._began_s += now
        return Under(now, self.outstanding)

    def ended(self, call: Under, now: float, *, whole: bool) -> None:
        """Note that a call is over.

        Parameters
        ----------
        whole
            Whether it was answered; others say nothing of how long answers take.
        """
        self.outstanding -= 1
        self._began_s = self._began_s - call.began if self.outstanding else 0.0
        if not whole:
            return
        number = _number(call.n)
        found = self._bins.get(number)
        if found is None:
            found = self._bins[number] = _Bin()
        found.add(call.n, now - call.began, now)
        self.last_end = now
        self._n_ended += 1
        if now >= self._fit_at or self._n_ended <= _ENOUGH:
            self._fit_at = now + _FIT_EVERY_S
            self._fit(now)

    def expected(self, now: float) -> Expected:
        """Return what one more call would take, beginning now."""
        n = self.outstanding
        ahead = max(0.0, n + 1 - self.capacity)
        turn_s = self.service_s / self.capacity
        wait_s = turn_s * ahead
        upper_s = wait_s + _UPPER * turn_s * math.sqrt(ahead)
        if n:
            # Calls that hang say so by their age alone.
            usual = max(self.service_s, wait_s / 2)
            age_s = now - self._began_s / n
            hangs_s = age_s - usual * (1 + _DEVIATIONS / math.sqrt(n))
            wait_s, upper_s = max(wait_s, hangs_s), max(upper_s, hangs_s)
        return Expected(wait_s, upper_s, self.service_s)

    def _fit(self, now: float) -> None:
        """Find the service time and the number of places that explain best what was seen."""
        seen = [
            (each.n, each.took_s, weight)
            for each in self._bins.values()
            if (weight := each.weight_at(now)) > 0.5
        ]
        if not seen:
            return
        if self.slots is not None:
            self.service_s = _fitted(seen, self.slots)[1]
            return
        fits = [(slots, *_fitted(seen, slots)) for slots in sorted({n for n, _, _ in seen})]
        least = min(error for _, error, _ in fits)
        slots, _, self.service_s = next(fit for fit in fits if fit[1] <= least * _TOLERANCE + 1e-12)
        beyond = sum(weight for n, _, weight in seen if n >= _GROWTH * slots)
        if beyond >= _ENOUGH:
            self._counted = self.capacity = slots
        else:
            self.capacity = max(slots * _GROWTH + 1, self._counted)


def _fitted(seen: list[tuple[float, float, float]], slots: float) -> tuple[float, float]:
    """Return the squared error of the best service time for a number of places, and that time.

    What a call took is spread as widely as it is long, so each is compared by its share of the
    service: the mean of those is the time.
    """
    total = service = 0.0
    shares = []
    for n, took_s, weight in seen:
        share = took_s / max(1.0, n / slots)
        shares.append((share, weight))
        total += weight
        service += weight * share
    service /= total
    error = sum([weight * (share / service - 1) ** 2 for share, weight in shares]) if service else 0
    return error / total, service


def _number(n: int) -> int:
    """Return the bin of a number of calls: each up to four, then four for every doubling."""
    if n <= 4:
        return n
    power = n.bit_length() - 3
    return 4 * power + (n >> power)
