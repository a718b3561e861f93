"""The trade-off of quality and cost in the words of CARROT, and in ours.

CARROT chooses the model of highest (1 - mu) q - mu kappa c, for q in [0, 1] and c in US dollars.
That is q - c / rate, with the rate (1 - mu) / (mu kappa) in US dollars per unit of quality: what is
called lambda here (`x-route-lambda`, `UsdPerQuality`). The lambda of the literature is mostly its
inverse, quality per dollar.
"""

import math

from routers.objectives import CostQuality, UsdPerQuality

KAPPA = 100.0
"""What a US dollar weighs, as published: answers cost thousandths, qualities differ by tenths."""

_DEAREST_USD = 1e6
"""From such a rate on nothing but quality counts."""


def usd_per_quality_of(mu: float, *, kappa: float = KAPPA) -> float:
    """Return the exchange rate of a mu in [0, 1]: infinite at 0, 0 at 1.

    References
    ----------
    Somerstep et al. 2025, CARROT, arXiv:2502.03261.
    """
    if mu <= 0:
        return math.inf
    # Divided one by one: the product may be too small for a float.
    return (1 - mu) / mu / kappa


def mu_of(usd_per_quality: float, *, kappa: float = KAPPA) -> float:
    """Return the mu of an exchange rate, from 0 (infinite) to 1 (zero)."""
    return 1 / (1 + usd_per_quality * kappa)


def objective_of_mu(mu: float, *, kappa: float = KAPPA) -> CostQuality | UsdPerQuality:
    """Return what to decide by for a mu in [0, 1]; at 0 it is the highest predicted quality."""
    rate = usd_per_quality_of(mu, kappa=kappa)
    return CostQuality(1.0) if rate > _DEAREST_USD else UsdPerQuality(rate)
