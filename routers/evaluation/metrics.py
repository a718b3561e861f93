"""What a router is worth: cost-quality curves, their hulls and areas, and calibration.

A curve is a pair of arrays (cost in US dollars per query, quality in [0, 1]), one point per
setting of the knob.
"""

import numpy as np
from numpy.typing import NDArray

from routers.decision.choice import choose_each
from routers.decision.dominance import TIE
from routers.numeric import FloatArray, nan_mean, upper_hull

_SWEEP = 121

_ARENA_BETA, _ARENA_LOW, _ARENA_HIGH = 0.1, 0.0044, 200.0
"""RouterArena's weight, and its cheapest and dearest US dollars per 1000 queries."""


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
    for at in choose_each(quality_predicted, cost_usd_predicted, rates):
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
    at = upper_hull(cost, quality)
    return (
        np.asarray(cost, np.float64)[at],
        np.asarray(quality, np.float64)[at],
    )


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


def area_over_log_cost(cost: FloatArray, quality: FloatArray, *, low: float, high: float) -> float:
    """Return the mean quality of the same hull over the *logarithm* of cost.

    Over cost itself most of the axis lies below the dearest model; here every doubling counts
    alike. NaN where the cheapest costs nothing.
    """
    x, y = hull(cost, quality)
    if high <= low:
        return float(y[-1])
    if low <= 0:
        return float("nan")
    at = np.concatenate([[low], x[(x > low) & (x < high)], [high]])
    height = np.interp(at, x, y)
    run = np.diff(at)
    slope = np.diff(height) / np.where(run > 0, run, 1.0)
    # Of a straight piece a + b c over log c: a log(c1 / c0) + b (c1 - c0).
    log_run = np.log(at[1:] / at[:-1])
    area = ((height[:-1] - slope * at[:-1]) * log_run + slope * run).sum()
    return float(area / np.log(high / low))


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


def match_cost(cost: FloatArray, quality: FloatArray, *, target: float) -> float:
    """Return the lowest cost of a curve's points whose quality reaches `target`; inf for never.

    The point is chosen on the curve itself, so the figure is optimistic where the curve was
    measured on few queries.
    """
    reached = quality >= target - TIE
    return float(cost[reached].min()) if reached.any() else float("inf")


def arena_score(
    accuracy: NDArray[np.floating] | float, usd_per_1000: NDArray[np.floating] | float
) -> FloatArray:
    """Return the RouterArena score of accuracy in [0, 1] and US dollars per 1000 queries.

    The harmonic mean of accuracy and a logarithmic cost score, with the weight 0.1 on accuracy.

    References
    ----------
    Lu et al. 2025, RouterArena, arXiv:2510.00202.
    """
    a = np.asarray(accuracy, np.float64)
    c = np.clip(np.asarray(usd_per_1000, np.float64), _ARENA_LOW, _ARENA_HIGH)
    thrift = (np.log2(_ARENA_HIGH) - np.log2(c)) / (np.log2(_ARENA_HIGH) - np.log2(_ARENA_LOW))
    below = _ARENA_BETA * a + thrift
    return np.asarray((1 + _ARENA_BETA) * a * thrift / np.where(below > 0, below, 1.0))


def incremental_benefit(
    *,
    quality: float,
    cost: float,
    weak: tuple[float, float],
    strong: tuple[float, float],
) -> float:
    """Return AutoMix's relative gain of slope over mixing two models, in percent.

    Parameters
    ----------
    weak, strong
        (quality, cost) of always calling one of them.

    Returns
    -------
    float
        NaN where one of the two slopes is undefined (no difference of costs, or no gain).

    References
    ----------
    Aggarwal et al. 2023, AutoMix, arXiv:2310.12963.
    """
    if cost == weak[1] or strong[1] == weak[1] or strong[0] == weak[0]:
        return float("nan")
    base = (strong[0] - weak[0]) / (strong[1] - weak[1])
    return 100 * ((quality - weak[0]) / (cost - weak[1]) - base) / base


def model_recall(quality: NDArray[np.floating], chosen: NDArray[np.intp]) -> float:
    """Return how often a rare solver was found: the weak point of learned routers.

    Of the queries that exactly one or two models solve (quality above a half), the share where
    one of these was chosen; NaN where there is no such query. Pools of fewer than three models
    count those that exactly one solves.
    """
    solved = np.nan_to_num(quality, nan=0.0) > 0.5
    count = solved.sum(axis=1)
    rare = (count >= 1) & (count <= (2 if quality.shape[1] > 2 else 1))
    if not rare.any():
        return float("nan")
    return float(solved[np.flatnonzero(rare), chosen[rare]].mean())


def brier_score(predicted: NDArray[np.floating], realised: NDArray[np.floating]) -> float:
    """Return the mean squared difference of known outcomes; NaN where nothing is known."""
    known = ~np.isnan(realised)
    if not known.any():
        return float("nan")
    return float(((predicted[known].astype(np.float64) - realised[known]) ** 2).mean())


def coverage(upper: NDArray[np.floating], realised: NDArray[np.floating]) -> float:
    """Return the share of known values that do not exceed their upper estimate; NaN for none."""
    known = ~np.isnan(realised)
    return float((realised[known] <= upper[known]).mean()) if known.any() else float("nan")
