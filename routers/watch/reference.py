"""What was usual of a model, and the bound that allows for how little was seen of it."""

import math
from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache

import msgspec

RISK = 1e-4
"""The chance that a bound lies below the truth because of what happened to be seen of it."""
RANK_TOLERANCE = 0.05
"""How far the mean rank may move, of 1, before it is called a change."""
RATE_TOLERANCE, RATE_FACTOR = 0.01, 1.25
"""How far a rate may: by a hundredth, or a quarter of itself, whichever is more."""

_HIGHEST = 0.98
_STEPS = 40


class Spread(msgspec.Struct, array_like=True, gc=False):
    """How a number was spread, as a histogram of equal bins; what lies outside counts at the ends.

    Attributes
    ----------
    low, width
        Where the first bin begins, and how wide each is.
    counts
        Of each bin.
    """

    low: float
    width: float
    counts: list[int]
    n: int = 0

    @classmethod
    def empty(cls, low: float, high: float, n_bins: int) -> "Spread":
        """Return one that has seen nothing."""
        return cls(low, (high - low) / n_bins, [0] * n_bins)

    def learn(self, value: float) -> None:
        """Take in one number."""
        self.counts[self._bin(value)] += 1
        self.n += 1

    def rank(self, value: float) -> float:
        """Return the share of what was seen that lies below, in [0, 1]; half of equal ones count.

        Of numbers that are spread alike the mean rank is one half.
        """
        at = self._bin(value)
        return (sum(self.counts[:at]) + 0.5 * self.counts[at]) / self.n

    def bound(self, tolerance: float) -> float:
        """Return the highest mean rank that is no change.

        The mean rank of later numbers, given what was seen, is one less the mean of `n`
        independent uniform ones, which are sub-Gaussian with variance 1/12.
        """
        by_chance = math.sqrt(math.log(1 / RISK) / (6 * self.n))
        return min(_HIGHEST, 0.5 + tolerance + by_chance)

    def _bin(self, value: float) -> int:
        at = int((value - self.low) / self.width)
        return min(max(at, 0), len(self.counts) - 1)


class Rate(msgspec.Struct, array_like=True, gc=False):
    """How often something happened."""

    n: int = 0
    hits: int = 0

    def learn(self, hit: bool) -> None:  # noqa: FBT001  (it is what is learned)
        """Take in one case."""
        self.n += 1
        self.hits += hit

    def bound(self) -> float:
        """Return the highest rate that is no change."""
        return tolerated(upper_rate(self.hits, self.n))


def tolerated(rate: float) -> float:
    """Return the highest rate that is no change from a known one."""
    return min(_HIGHEST, max(rate * RATE_FACTOR, rate + RATE_TOLERANCE))


@lru_cache(maxsize=4_096)
def upper_rate(hits: int, n: int, risk: float = RISK) -> float:
    """Return the highest rate that so many hits are credible under, by Chernoff's bound.

    Exact where there is no hit, and never below the exact bound of Clopper and Pearson.

    Parameters
    ----------
    risk
        The chance that the true rate is above it, at most.
    """
    if n == 0 or hits >= n:
        return 1.0
    if hits == 0:
        return 1.0 - math.exp(math.log(risk) / n)
    seen, least = hits / n, math.log(1 / risk)
    low, high = seen, 1.0 - 1e-12
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if n * _divergence(seen, middle) < least:
            low = middle
        else:
            high = middle
    return high


def _divergence(p: float, q: float) -> float:
    """Return the relative entropy of two rates, in nats."""
    return p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))


def size_class(tokens: float, edges: Sequence[float] = (64, 256, 1_024, 4_096)) -> int:
    """Return how large a number of tokens is, in steps of four times as many."""
    return bisect_right(edges, tokens)
