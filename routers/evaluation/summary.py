"""Every number of one router on one frame, with intervals."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from routers.data.support import Support
from routers.evaluation.bootstrap import Interval
from routers.evaluation.compare import neighbours_apgr
from routers.evaluation.frame import Frame, Series
from routers.evaluation.metrics import (
    arena_score,
    brier_score,
    coverage,
    expected_calibration_error,
    hull,
    incremental_benefit,
    match_cost,
    model_recall,
)
from routers.evaluation.pair import apgr, apgr_draws, cpt, gap_curve
from routers.evaluation.promises import Promises, verdict
from routers.numeric import FloatArray
from routers.types import UPPER_QUANTILE

_UNKNOWN = Interval(value=float("nan"), low=float("nan"), high=float("nan"))

MIDDLE = 0.5
"""The knob position at which single numbers of an artifact are reported."""


def pair_of(frame: Frame, best: int) -> tuple[int, int]:
    """Return the two models that APGR is about: the cheapest and the best single one.

    Where these are the same model, the strong one is the dearest.
    """
    cost, _ = frame.singles
    weak = int(cost.argmin())
    return weak, best if best != weak else int(cost.argmax())


def measure(
    series: Series,
    frame: Frame,
    *,
    best: int,
    zero: tuple[float, FloatArray],
    oracle: Series,
) -> dict[str, Any]:
    """Measure one router.

    Parameters
    ----------
    best
        Column of the best single model.
    zero
        `Frame.fair_area` of the ZeroRouter.

    Returns
    -------
    dict
        Plain values. Areas and shares carry their 95 % interval; what is undefined is None. A
        router with a single setting has no area.
    """
    points = frame.points(series.picks)
    single_cost, single_quality = frame.singles
    result: dict[str, Any] = {
        "name": series.name,
        "kind": series.kind,
        "version": series.version,
        "note": series.note,
        "aiq": None,
        "aiq_over_zero": None,
        "auc_log_cost": None,
        "hull_apgr": None,
        "best_quality": _plain(points[1].max()),
        "best_quality_usd_per_1000": _plain(1000 * points[0][points[1].argmax()]),
        "match_cost_share": _match(series, frame, best),
        "oracle_gap": _plain(frame.points(oracle.picks)[1].max() - points[1].max()),
        "model_recall": _plain(model_recall(frame.rows.quality, series.picks[-1])),
        "arena_score_best": _plain(arena_score(points[1], 1000 * points[0]).max()),
        "curve": _curve(*points),
    }
    if len(series.picks) > 1:
        draws = frame.aiq_draws(series.picks)
        value = frame.aiq(series.picks)
        result["aiq"] = Interval.of(value, draws).to_dict()
        log_area = frame.log_area(series.picks), frame.log_area_draws(series.picks)
        result["auc_log_cost"] = Interval.of(*log_area).to_dict()
        fair, fair_draws = frame.fair_area(series.picks)
        result["aiq_over_zero"] = Interval.of(fair - zero[0], fair_draws - zero[1]).to_dict()
    weak, strong = pair_of(frame, best)
    neighbours = neighbours_apgr(series, frame)
    if neighbours is not None:
        result["hull_apgr"] = Interval.of(*neighbours).to_dict()
    if series.predictions is not None:
        result |= _predictive(series, frame, weak, strong)
    if series.knob is not None:
        positions, picks = series.knob
        middle = int(np.abs(positions - MIDDLE).argmin())
        cost, quality = (float(each[middle]) for each in frame.points(picks))
        result["knob"], result["knob_no_share"] = _knob(positions, picks, frame)
        result["knob_error"] = max(
            (
                abs(step["share_of_gap"]["value"] - step["cost_quality"])
                for step in result["knob"]
                if step["share_of_gap"]["value"] is not None
            ),
            default=None,
        )
        result["at_middle"] = {
            "cost_quality": float(positions[middle]),
            "quality": _plain(quality),
            "usd_per_1000": _plain(1000 * cost),
            "arena_score": _plain(arena_score(quality, 1000 * cost)),
            "incremental_benefit_percent": _plain(
                incremental_benefit(
                    quality=quality,
                    cost=cost,
                    weak=(float(single_quality[weak]), float(single_cost[weak])),
                    strong=(float(single_quality[strong]), float(single_cost[strong])),
                )
            ),
            "shares": _shares(picks[middle], frame.rows.models),
        }
    return result


def reportable(measured: dict[str, Any], support: Support, *, oracle: bool) -> dict[str, Any]:
    """Leave out what the outcomes cannot tell: it becomes None.

    Parameters
    ----------
    oracle
        Whether it is the oracle that was measured.
    """
    if support.complete:
        return measured
    left_out: tuple[str, ...] = ("oracle_gap", "model_recall")
    if oracle or not support.comparable:
        left_out = _COMPARED
    found = {name: None if name in left_out else value for name, value in measured.items()}
    if left_out is _COMPARED:
        found["curve"] = {"points": [], "hull": []}
        for name in ("knob", "knob_no_share", "at_middle"):
            found.pop(name, None)
    return found


_COMPARED = (
    "aiq",
    "aiq_over_zero",
    "auc_log_cost",
    "hull_apgr",
    "best_quality",
    "best_quality_usd_per_1000",
    "match_cost_share",
    "oracle_gap",
    "model_recall",
    "arena_score_best",
    "apgr",
    "cpt50",
    "cpt80",
    "knob_error",
)


def _match(series: Series, frame: Frame, best: int) -> dict[str, Any]:
    """Lowest cost that reaches the best single model's quality, as a share of its cost."""
    single_cost, single_quality = frame.singles
    cost, quality = frame.points(series.picks)
    value = match_cost(cost, quality, target=float(single_quality[best])) / single_cost[best]
    costs, qualities = frame.draws(series.picks)
    best_cost, best_quality = (draws[:, best] for draws in frame.single_draws)
    reached = qualities >= best_quality[:, None] - 1e-9
    draws = np.where(reached, costs, np.inf).min(axis=1) / best_cost
    return Interval.of(float(value), draws).to_dict()


def _predictive(series: Series, frame: Frame, weak: int, strong: int) -> dict[str, Any]:
    predictions, rows = series.predictions, frame.rows
    assert predictions is not None  # noqa: S101  (the caller looked)
    out: dict[str, Any] = {
        "ece": expected_calibration_error(predictions.quality, rows.quality),
        "brier": _plain(brier_score(predictions.quality, rows.quality)),
        "upper_tokens_target": UPPER_QUANTILE,
        "upper_tokens_coverage": _plain(
            coverage(predictions.output_tokens_upper, rows.output_tokens)
        ),
        "per_model": [
            {
                "model": model,
                "ece": expected_calibration_error(predictions.quality[:, i], rows.quality[:, i]),
                "brier": _plain(brier_score(predictions.quality[:, i], rows.quality[:, i])),
                "upper_tokens_coverage": _plain(
                    coverage(predictions.output_tokens_upper[:, i], rows.output_tokens[:, i])
                ),
            }
            for i, model in enumerate(rows.models)
        ],
    }
    known = ~np.isnan(rows.quality[:, [weak, strong]]).any(axis=1)
    low, high = rows.quality[known, weak], rows.quality[known, strong]
    score = (predictions.quality[:, strong] - predictions.quality[:, weak])[known]
    if known.any() and high.mean() > low.mean():
        curve = gap_curve(score, low, high)
        draws = apgr_draws(score, low, high, frame.weights[:, known])
        out["apgr"] = Interval.of(apgr(*curve), draws).to_dict()
        out["cpt50"], out["cpt80"] = (_plain(cpt(*curve, level=level)) for level in (0.5, 0.8))
    return out


def _knob(
    positions: FloatArray, picks: np.ndarray, frame: Frame
) -> tuple[list[dict[str, Any]], str | None]:
    """Return what every position realised, and why no shares of the gap are told, if none are."""
    cost, quality = frame.points(picks)
    kept = Promises.of(quality, frame.draws(picks)[1], n_models=len(frame.rows.models))
    shares = kept.shares or (None,) * len(positions)
    steps = [
        {
            "cost_quality": float(t),
            "quality": _plain(quality[i]),
            "usd_per_1000": _plain(1000 * cost[i]),
            "share_of_gap": (share or _UNKNOWN).to_dict(),
            "promise": verdict(float(t), share),
        }
        for i, (t, share) in enumerate(zip(positions, shares, strict=True))
    ]
    return steps, kept.no_share


def _curve(cost: FloatArray, quality: FloatArray) -> dict[str, list[list[float]]]:
    """Points and hull as [US dollars per 1000 queries, quality], by ascending cost."""
    known = np.isfinite(cost) & np.isfinite(quality)
    cost, quality = cost[known], quality[known]
    if len(cost) == 0:
        return {"points": [], "hull": []}
    order = np.lexsort((quality, cost))
    points = np.stack([1000 * cost[order], quality[order]], axis=1)
    x, y = hull(cost, quality)
    return {"points": points.tolist(), "hull": np.stack([1000 * x, y], axis=1).tolist()}


def _shares(picks: np.ndarray, models: Sequence[str]) -> dict[str, float]:
    return {
        model: float(share) for i, model in enumerate(models) if (share := (picks == i).mean()) > 0
    }


def _plain(value: float | np.floating | FloatArray) -> float | None:
    return float(value) if np.isfinite(value) else None
