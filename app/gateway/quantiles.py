"""Quantiles of streams of numbers, the newest ones counting most.

References
----------
Gibbs and Candès 2021, Adaptive Conformal Inference Under Distribution Shift, arXiv:2106.00170;
Angelopoulos, Candès and Tibshirani 2023, Conformal PID Control, arXiv:2307.16895 (its quantile
tracking, here on logarithms of ratios and with a step that follows their spread).
"""

import math
from dataclasses import dataclass

from routers.types import UPPER_QUANTILE

_MEMORY = 0.06
"""The weight of the newest call, once some are known: some thirty calls count."""

_FIRST_CALLS = 15
"""While fewer are known, each counts as much as any other."""

_LONG_MEMORY = 0.002
"""Of the newest call in what is usual: what is known of a place that had no calls for a while."""

_FIRST_LONG = 499
"""As `_FIRST_CALLS`, for that."""

_STEP = 2.0
"""How far a quantile moves at most with one call, in the mean distance of calls from it."""

_HALF_STEP = _STEP / 2

_FINEST = 0.01
"""The least such distance: 1 %, so that what hardly varies is followed too."""

_OWN_CALLS = 3.0
"""Calls of one size of prompt that count as much as those of all sizes together."""

_LONG_MARGIN = 0.01
"""Of the newest call in what is usual of margins."""

_PRIOR_CALLS = 4
"""What is written of a place counts as so many calls: one call, of a huge prompt, is no news of all
others."""

_MADE_GOOD = 0.05
"""Of each call, while some are owed."""

_MOST_OWED = 20.0
"""Calls; so that thousands that run at once do not make thousands after them wait."""


@dataclass(slots=True)
class Quantile:
    """One quantile of a stream of numbers, the newest ones counting most.

    It moves up by the share `p` of a step where a number lies above it, and down by the rest where
    it does not, so that over time the share `p` of all lie below, whatever their distribution. The
    step follows the mean distance of numbers from it: after a jump it runs, at rest it hardly
    moves.
    """

    p: float
    value: float
    spread: float = 0.2
    n: int = 0

    def learn(self, x: float) -> None:
        """Take one more number into account."""
        self.n = n = self.n + 1
        off, spread = x - self.value, self.spread
        rate = 1 / (n + 2) if n < _FIRST_CALLS else _MEMORY
        self.spread = spread + rate * ((off if off > 0 else -off) - spread)
        # By what was known before: else what lies far above would count for more than one.
        step = _STEP * rate * (spread if spread > _FINEST else _FINEST)  # noqa: FURB136  (a call)
        self.value += step * self.p if off > 0 else step * (self.p - 1)


@dataclass(slots=True)
class Margin:
    """What nine of ten calls stay below, and what it owes them.

    Where a place gets slower, calls that run have been promised too little before the first of them
    tells. What they miss more than newer promises would have is made good for: one in twenty misses
    until it is, instead of one in ten.
    """

    quantile: Quantile
    usual: float
    owed: float = 0.0
    """Calls that missed more (or, below 0, fewer) than were taken into account."""

    @classmethod
    def at(cls, value: float) -> "Margin":
        """Return one that begins at a prior."""
        return cls(Quantile(UPPER_QUANTILE, value), value)

    def after(self, kept: float) -> float:
        """Return it where the share `kept` of what is off from the usual still counts."""
        return self.usual + kept * (self.quantile.value - self.usual)

    def learn(self, x: float, *, kept: bool) -> None:
        """Take one more call into account.

        Parameters
        ----------
        kept
            Whether what it was promised was kept.
        """
        quantile = self.quantile
        owed = self.owed + (not kept) - (x > quantile.value)
        p = UPPER_QUANTILE
        if owed > 1 or owed < -1:
            more = _MADE_GOOD if owed > 0 else -_MADE_GOOD
            p += more
            owed -= more
        self.owed = min(max(owed, -_MOST_OWED), _MOST_OWED)
        quantile.p = p
        quantile.learn(x)
        self.usual += _LONG_MARGIN * (quantile.value - self.usual)


@dataclass(slots=True)
class Level:
    """A median of logarithms, and what is usual of it.

    A `Quantile` for one half, written out: of every call there are four.
    """

    value: float
    usual: float
    spread: float = 0.2
    n: int = 0

    @classmethod
    def at(cls, seconds: float, *, calls: int = 0) -> "Level":
        """Return one that begins at a prior, which counts as so many calls."""
        return cls(math.log(seconds), math.log(seconds), n=calls)

    def learn(self, x: float) -> None:
        """Take one more number into account."""
        n = self.n = self.n + 1
        if n == 1:
            self.value = self.usual = x
            return
        off, spread = x - self.value, self.spread
        rate = 1 / (n + 2) if n < _FIRST_CALLS else _MEMORY
        step = _HALF_STEP * rate * (spread if spread > _FINEST else _FINEST)  # noqa: FURB136
        if off > 0:
            self.spread = spread + rate * (off - spread)
            self.value += step
        else:
            self.spread = spread - rate * (off + spread)
            self.value -= step
        self.usual += (1 / (n + 1) if n < _FIRST_LONG else _LONG_MEMORY) * (x - self.usual)


class BySize:
    """Medians for each size of prompt, and of all together for sizes of which little is known."""

    __slots__ = ("_all", "_sizes")

    def __init__(self, prior_s: float, *, sizes: int) -> None:
        self._all = Level.at(prior_s, calls=_PRIOR_CALLS)
        self._sizes = [Level.at(prior_s) for _ in range(sizes)]

    def learn(self, size: int, x: float) -> None:
        """Take one more number of a size into account."""
        self._all.learn(x)
        self._sizes[size].learn(x)

    def median(self, size: int, kept: float) -> float:
        """Return the median of logarithms for a size of prompt.

        Parameters
        ----------
        kept
            The share of what is off from the usual that still counts.
        """
        every, own = self._all, self._sizes[size]
        of_all = every.usual + kept * (every.value - every.usual)
        n = own.n
        if not n:
            return of_all
        mine = own.usual + kept * (own.value - own.usual)
        return of_all + n / (n + _OWN_CALLS) * (mine - of_all)
