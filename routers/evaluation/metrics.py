"""What a router is worth: cost-quality curves, their hulls and areas, and calibration.

A curve is a pair of arrays (cost in US dollars per query, quality in [0, 1]), one point per
setting of the knob.
"""

import numpy as np
from numpy.typing import NDArray

from routers.decision import choose
from routers.numeric import FloatArray, nan_mean

_SWEEP = 121


def sweep_rates(quality: NDArray[np.floating], cost_usd: NDArray[np.floating]) -> FloatArray:
    """Return exchange rates from always cheapest to always best, geometrically spaced.

    Parameters
    ----------
    quality, cost_usd
        (n_queries, n_models), predicted.
    """
    del quality  # the rates are scaled by what can be spent
    scale = float(np.median(cost_usd.max(axis=1)))
    inner = np.geomspace(1e-3, 1e4, _SWEEP - 2) * max(scale, 1e-12)
    return np.concatenate([[0.0], inner, [np.inf]])


def curve(
    quality_predicted: NDArray[np.floating],
    cost_usd_predicted: NDArray[np.floating],
    quality: NDArray[np.floating],
    cost_usd: NDArray[np.floating],
    *,
    rates: FloatArray | None = None,
) -> tuple[FloatArray, FloatArray]:
    """Return mean realised cost and quality of the router's choices, one point per rate."""
    if rates is None:
        rates = sweep_rates(quality_predicted, cost_usd_predicted)
    rows = np.arange(len(quality))
    costs, qualities = [], []
    for rate in rates:
        at = choose(quality_predicted, cost_usd_predicted, float(rate))
        costs.append(np.nanmean(cost_usd[rows, at]))
        qualities.append(np.nanmean(quality[rows, at]))
    return np.asarray(costs), np.asarray(qualities)


def single_models(
    quality: NDArray[np.floating], cost_usd: NDArray[np.floating]
) -> tuple[FloatArray, FloatArray]:
    """Return mean cost and quality of always calling one model, one point per model."""
    return nan_mean(cost_usd, default=np.nan), nan_mean(quality, default=np.nan)


def hull(cost: FloatArray, quality: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the upper concave, non-decreasing hull of points, by ascending cost.

    On the hull of single models lies what mixing two of them at random achieves: the
    ZeroRouter, which a router has to beat.

    References
    ----------
    Hu et al. 2024, RouterBench, arXiv:2403.12031.
    """
    order = np.lexsort((-quality, cost))
    kept: list[tuple[float, float]] = []
    for point in zip(cost[order].tolist(), quality[order].tolist(), strict=True):
        if kept and point[1] <= kept[-1][1]:
            continue
        while len(kept) > 1 and _above(kept[-2], kept[-1], point):
            kept.pop()
        kept.append(point)
    array = np.asarray(kept, dtype=np.float64)
    return array[:, 0], array[:, 1]


def _above(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> bool:
    """Whether the chord from a to c passes over b."""
    return (b[1] - a[1]) * (c[0] - a[0]) <= (c[1] - a[1]) * (b[0] - a[0])


def area_under_hull(cost: FloatArray, quality: FloatArray, *, low: float, high: float) -> float:
    """Return the mean quality of the hull over costs from `low` to `high` (AIQ).

    Left of its cheapest point a curve counts as that point, right of its dearest likewise.

    References
    ----------
    Hu et al. 2024, RouterBench, arXiv:2403.12031 (average improvement in quality).
    """
    x, y = hull(cost, quality)
    if high <= low:
        return float(y[-1])
    inside = x[(x > low) & (x < high)]
    at = np.concatenate([[low], inside, [high]])
    return float(np.trapezoid(np.interp(at, x, y), at) / (high - low))


def expected_calibration_error(
    predicted: NDArray[np.floating], realised: NDArray[np.floating], *, n_bins: int = 10
) -> float:
    """Return the mean gap between predicted and realised quality over equal-mass bins.

    Unknown outcomes (NaN) are left out; 0 where nothing is known.
    """
    known = ~np.isnan(realised)
    p, y = predicted[known].astype(np.float64), realised[known].astype(np.float64)
    if len(p) == 0:
        return 0.0
    order = np.argsort(p, kind="stable")
    gaps = [
        abs(p[part].mean() - y[part].mean()) * len(part)
        for part in np.array_split(order, min(n_bins, len(p)))
    ]
    return float(sum(gaps) / len(p))
