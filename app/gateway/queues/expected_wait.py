"""How long somebody who comes now waits for its turn."""

import math
from typing import NamedTuple

_P90 = 1.2816
"""So many standard deviations above the mean nine of ten stay below, of a sum of many."""

LATEST = 0.1
"""The weight of the latest one in what is known of turns."""

_DOUBT = LATEST / (2 - LATEST)
"""By how much of its variance a mean that forgets so fast is off."""


class Turns(NamedTuple):
    """How many turns it takes until it is somebody's.

    Attributes
    ----------
    n_before
        How many of those that wait go before it.
    mean
        Its own turn and those of who may come later and go before it included.
    variance
        Of that.
    """

    n_before: int
    mean: float
    variance: float

    def sooner(self) -> "Turns":
        """Return what is left after the first of them."""
        return self._replace(mean=self.mean - 1)


class ExpectedWait(NamedTuple):
    """How long somebody who comes now waits: in the mean, and what nine of ten stay below."""

    seconds: float
    seconds_upper: float


class Outlook(NamedTuple):
    """What a request would meet before the gateway, as far as that is told beforehand.

    Attributes
    ----------
    at
        When it is taken to come, by the gateway's clock.
    n_waiting, n_before
        How many wait, and how many of them go before it.
    wait
        None where it would not wait, or nobody was seen to as yet.
    """

    at: float
    n_waiting: int
    n_before: int
    wait: ExpectedWait | None


def expected_turns(n_before: int, n_own: int, apart: float | None) -> Turns:
    """Return how many turns it takes until it is somebody's.

    Parameters
    ----------
    n_before
        How many of those that wait go before it.
    n_own
        How many of those are of its key.
    apart
        How many turns there were lately to each of its key's; None where that is not known.

    Notes
    -----
    Who comes later may go before it, too, as others have gone before its key's requests of late.
    Turns to each of its key's are taken to be geometric.
    """
    if apart is None:
        return Turns(n_before, n_before + 1, 0.0)
    n = n_own + 1
    variance = apart * (apart - 1) * (n + n * n * _DOUBT)
    return Turns(n_before, max(n_before + 1, n * apart), variance)


def expected_wait(turns: Turns, gap_s: float) -> ExpectedWait:
    """Return how long so many turns take.

    Parameters
    ----------
    gap_s
        How far apart they came of late, in seconds.

    Notes
    -----
    Times between turns are taken to be exponential and independent: of n of them the variance is n
    times the square of one, and what is known of one is off by chance as well.
    """
    mean = turns.mean
    deviation = math.sqrt(mean + mean * mean * _DOUBT + turns.variance)
    return ExpectedWait(mean * gap_s, (mean + _P90 * deviation) * gap_s)
