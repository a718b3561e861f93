"""How long a call waits for its turn, before a model that takes only so many at once."""

import math
from typing import NamedTuple

_P90 = 1.2816
"""So many standard deviations above the mean nine of ten stay below, of a sum of many."""


class ExpectedWait(NamedTuple):
    """How long somebody who comes now waits: in the mean, and what nine of ten stay below."""

    seconds: float
    seconds_upper: float


def expected_wait(
    *, n_ahead: int, n_places: int, held_s: float, gap_s: float | None
) -> ExpectedWait:
    """Return how long one waits with so many before it, while all places are taken.

    Parameters
    ----------
    n_ahead
        Who waits and goes first.
    n_places
        How many calls run at once.
    held_s
        How long a call usually takes: places become free so many times in that while.
    gap_s
        How far apart turns came of late, in seconds; None where nobody had to wait as yet.

    Notes
    -----
    Times between turns are taken to be exponential and independent, so that a sum of n of them has
    the standard deviation of one times the root of n.
    """
    turns = n_ahead + 1
    each_s = held_s / n_places if gap_s is None else gap_s
    mean_s = turns * each_s
    return ExpectedWait(mean_s, mean_s + _P90 * math.sqrt(turns) * each_s)
