"""What the load of a tier costs in quality: a curve over how much of its room is waited for."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

PRESSURES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Shares of a tier's room that are waited for, at which a price is fitted."""


@dataclass(frozen=True, slots=True)
class LoadPrice:
    """Prices between knots, linear; the same for every tier, 0 for the lowest.

    A full tier is closed by the deadline alone. Before that, what waits there is waited for by all
    that come later, so that requests for which another tier is about as good had better go there:
    the fuller a tier, the more a request must gain by it. (The queue is a multiple of the shadow
    price of the tier's capacity: Neely 2010, Stochastic Network Optimization, drift plus penalty.)

    Attributes
    ----------
    prices
        In quality at each of `PRESSURES`, ascending from 0.
    n_tiers
        The last of them costs nothing.
    """

    prices: Sequence[float]
    n_tiers: int

    def of(self, tier: int, pressure: float) -> float:
        """Return the price, in quality, of a tier that has some share of its room waited for."""
        if tier == self.n_tiers - 1:
            return 0.0
        pressures, prices = PRESSURES, self.prices
        i = bisect_right(pressures, pressure)
        if i == 0:
            return prices[0]
        if i == len(pressures):
            return prices[-1]
        share = (pressure - pressures[i - 1]) / (pressures[i] - pressures[i - 1])
        return prices[i - 1] + share * (prices[i] - prices[i - 1])


FITTED = partial(LoadPrice, (0.0, 0.008, 0.145, 0.191, 0.317))
"""By `python -m loadtest.sim.fit_load_price`: on one mix of tasks, and as good on another."""
