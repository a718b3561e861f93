"""Artifacts beside each other, and benchmark by benchmark: what one number over all hides."""

from collections.abc import Sequence
from itertools import combinations, pairwise
from typing import Any

import numpy as np

from routers.evaluation.bootstrap import Interval, weighted_means
from routers.evaluation.frame import Frame, Series
from routers.evaluation.metrics import hull
from routers.evaluation.pair import apgr, apgr_draws, gap_curve
from routers.numeric import FloatArray, nan_mean

_FEWEST = 8
"""Queries of a benchmark below which a mean says next to nothing."""

Draws = tuple[float, FloatArray]
"""A number and its draws."""


def hull_neighbours(frame: Frame) -> list[tuple[int, int]]:
    """Return the pairs (weak, strong) of models that stand beside each other on the hull."""
    cost, quality = frame.singles
    on = list(zip(*(each.tolist() for each in hull(cost, quality)), strict=True))
    points = list(zip(cost.tolist(), quality.tolist(), strict=True))
    columns = [points.index(point) for point in on]
    return list(pairwise(columns))


def neighbours_apgr(series: Series, frame: Frame) -> Draws | None:
    """Return the gap recovered between neighbours on the hull of single models, and its draws.

    The mean over the pairs, weighted by their gaps of quality: an area that is linear in cost is
    nearly all about the dearest pair, this counts every step on the way. None where there is no
    pair, no prediction, or not every outcome is known.
    """
    rows, pairs = frame.rows, hull_neighbours(frame)
    if series.predictions is None or not pairs or np.isnan(rows.quality).any():
        return None
    predicted = series.predictions.quality
    value, total = 0.0, 0.0
    draws, totals = np.zeros(len(frame.weights)), np.zeros(len(frame.weights))
    for weak, strong in pairs:
        score = predicted[:, strong] - predicted[:, weak]
        low, high = rows.quality[:, weak], rows.quality[:, strong]
        gap = float((high - low).mean())
        gaps = weighted_means((high - low)[None], frame.weights)[:, 0]
        value += gap * apgr(*gap_curve(score, low, high))
        draws += np.nan_to_num(gaps * apgr_draws(score, low, high, frame.weights))
        total, totals = total + gap, totals + gaps
    return value / total, draws / np.where(totals > 0, totals, np.nan)


def paired(frame: Frame, artifacts: Sequence[Series]) -> list[dict[str, Any]]:
    """Return the differences, first minus second, of every two artifacts on the same draws.

    `area` is at settings that were chosen on other queries; where the interval of a difference
    holds zero, these queries do not tell the two apart.
    """
    measured = [
        {
            "area": frame.fair_area(each.picks),
            "auc_log_cost": (frame.log_area(each.picks), frame.log_area_draws(each.picks)),
            "hull_apgr": neighbours_apgr(each, frame),
        }
        for each in artifacts
    ]
    found = []
    for a, b in combinations(range(len(artifacts)), 2):
        one: dict[str, Any] = {"first": artifacts[a].name, "second": artifacts[b].name}
        for name, first in measured[a].items():
            second = measured[b][name]
            one[name] = None
            if first is not None and second is not None:
                one[name] = Interval.of(first[0] - second[0], first[1] - second[1]).to_dict()
        found.append(one)
    return found


def by_benchmark(frame: Frame, artifacts: Sequence[Series], best: int) -> list[dict[str, Any]]:
    """Return what the middle of the knob realised on every benchmark, beside single models.

    Empty where the rows tell of one benchmark only, or of none.
    """
    rows = frame.rows
    names = np.array(["/".join(group.split("/")[:2]) for group in rows.groups])
    told, counts = np.unique(names, return_counts=True)
    told = told[counts >= _FEWEST]
    if len(told) < 2:
        return []
    cheapest = int(frame.singles[0].argmin())
    found = []
    for name in told:
        here = names == name
        quality = nan_mean(rows.quality[here], default=np.nan)
        cost = nan_mean(rows.cost_usd[here], default=np.nan)
        found.append(
            {
                "benchmark": str(name),
                "n": int(here.sum()),
                "cheapest_quality": _plain(quality[cheapest]),
                "best_single_quality": _plain(quality[best]),
                "routers": [
                    {"name": each.name, **_at_middle(frame, each, here, float(cost[best]))}
                    for each in artifacts
                ],
            }
        )
    return found


def _at_middle(
    frame: Frame, series: Series, here: np.ndarray, single_usd: float
) -> dict[str, float | None]:
    assert series.knob is not None  # noqa: S101  (artifacts have one)
    positions, picks = series.knob
    middle = int(np.abs(positions - 0.5).argmin())
    cost, quality = frame.realised(picks[middle : middle + 1])
    usd = float(np.nanmean(cost[0, here]))
    known = quality[0, here]
    return {
        "quality": None if np.isnan(known).all() else float(np.nanmean(known)),
        "cost_share": _plain(usd / single_usd) if single_usd > 0 else None,
    }


def _plain(value: float | np.floating) -> float | None:
    return float(value) if np.isfinite(value) else None
