"""How far a number may be off because the queries are a sample: the bootstrap over queries."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routers.numeric import FloatArray

LEVEL = 0.95

_BLOCK_FLOATS = 4_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A value with its percentile interval; the ends are NaN where no draw tells them.

    References
    ----------
    Efron 1979, Bootstrap methods.
    """

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, value: float, draws: FloatArray) -> "Interval":
        """Summarise the draws of a statistic."""
        known = draws[~np.isnan(draws)]
        if len(known) == 0:
            return cls(value=float(value), low=float("nan"), high=float("nan"))
        tail = (1 - LEVEL) / 2
        # No interpolation: a draw may be infinite (never reached).
        low, high = np.quantile(known, [tail, 1 - tail], method="nearest")
        return cls(value=float(value), low=float(low), high=float(high))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; what is not finite becomes None."""
        return {
            name: number if np.isfinite(number) else None
            for name, number in (("value", self.value), ("low", self.low), ("high", self.high))
        }


_POWER_ERRORS = 1.959964 + 0.841621
"""Standard errors between zero and a difference whose 95 % interval leaves out zero in 80 % of
samples: the 0.975 and 0.8 quantiles of the normal distribution."""


def detectable(draws: FloatArray) -> float:
    """Return how large a difference has to be to be seen with 80 % power on as many queries.

    Parameters
    ----------
    draws
        Of the difference, by resampling.
    """
    known = draws[~np.isnan(draws)]
    return float(_POWER_ERRORS * known.std()) if len(known) else float("nan")


def resample(n: int, n_draws: int, *, seed: int) -> FloatArray:
    """Return how often each of `n` queries is drawn: float64 (n_draws, n), rows sum to n."""
    rng = np.random.default_rng(seed)
    weights = np.empty((n_draws, n))
    for row in weights:
        row[:] = np.bincount(rng.integers(0, n, n), minlength=n)
    return weights


def weighted_means(values: NDArray[np.floating], weights: FloatArray) -> FloatArray:
    """Average known values under every draw.

    Parameters
    ----------
    values
        (n_points, n); NaN where unknown.
    weights
        (n_draws, n).

    Returns
    -------
    FloatArray
        (n_draws, n_points); NaN where a draw holds no known value of a point.
    """
    known = ~np.isnan(values)
    total = weights @ np.where(known, values, 0).T.astype(np.float64)
    if known.all():
        return np.asarray(total / weights.sum(axis=1, keepdims=True))
    mass = weights @ known.T.astype(np.float64)
    return np.where(mass > 0, total / np.where(mass > 0, mass, 1), np.nan)


def mean_draws(values: FloatArray, *, n_draws: int, seed: int) -> FloatArray:
    """Return means under resampling, (n_draws, n_points), of values without gaps, (n_points, n).

    In bounded memory, whatever the number of queries.
    """
    n = values.shape[1]
    step = max(1, _BLOCK_FLOATS // n)
    blocks = [
        resample(n, min(step, n_draws - start), seed=seed + start) @ values.T / n
        for start in range(0, n_draws, step)
    ]
    return np.concatenate(blocks)
