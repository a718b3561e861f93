"""What a training run may claim: metrics on predictions that were held out."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from routers.artifact.calibration import CalibrationRows, cost_usd
from routers.base import DEFAULT_OUTPUT_TOKENS
from routers.data.dataset import OutcomeTable
from routers.data.support import Support
from routers.decision.choice import choose_each
from routers.evaluation.bootstrap import Interval, mean_draws
from routers.evaluation.frame import Frame, Rows, sweep
from routers.evaluation.metrics import (
    area_under_hull,
    curve,
    expected_calibration_error,
    single_models,
)
from routers.evaluation.promises import Promises, verdict
from routers.models import PriceTable
from routers.numeric import FloatArray, nan_mean
from routers.types import UPPER_QUANTILE, Predictions

PROMISES = (0.2, 0.4, 0.6, 0.8)

_DRAWS = 1000
_AREA_DRAWS = 200
"""Resamplings behind the interval of an area, which costs more than a mean."""


def predicted_costs(
    input_tokens: np.ndarray, output_tokens: np.ndarray, models: tuple[str, ...], prices: PriceTable
) -> np.ndarray:
    """Price predicted answers: float64 (n_queries, n_models), USD."""
    columns = [
        cost_usd(input_tokens, output_tokens[:, column], prices[model])
        for column, model in enumerate(models)
    ]
    return np.stack(columns, axis=1)


def realised_costs(table: OutcomeTable, predictions: Predictions, prices: PriceTable) -> np.ndarray:
    """Return recorded costs; where there are none, prices times recorded or predicted tokens."""
    tokens = np.where(np.isnan(table.output_tokens), predictions.output_tokens, table.output_tokens)
    columns = [
        cost_usd(table.input_tokens, tokens[:, column], prices[model])
        for column, model in enumerate(table.models)
    ]
    return np.where(np.isnan(table.cost_usd), np.stack(columns, axis=1), table.cost_usd)


def mean_costs(table: OutcomeTable, prices: PriceTable) -> FloatArray:
    """Return what an answer of each model costs on average, (n_models,): recorded, else priced."""
    tokens = nan_mean(table.output_tokens, default=DEFAULT_OUTPUT_TOKENS)
    input_tokens = np.asarray(table.input_tokens.mean())
    priced = [
        float(cost_usd(input_tokens, tokens[column], prices[model]))
        for column, model in enumerate(table.models)
    ]
    recorded = nan_mean(table.cost_usd, default=np.nan)
    return np.where(np.isnan(recorded), priced, recorded)


def assess(
    table: OutcomeTable,
    predictions: Predictions,
    *,
    folds: np.ndarray,
    prices: PriceTable,
) -> dict[str, Any]:
    """Measure cross-fitted predictions.

    Returns
    -------
    dict
        Plain values: `aiq` of the router's choices, of the ZeroRouter (`aiq_zero_router`) and of
        an oracle; quality of the best single model and the best that the router reached; the
        calibration error of quality; the coverage of the upper token estimates; and what the
        knob promised and kept, with 95 % intervals, or why no share of a gap is told
        (`knob_no_share`). These areas are flattered by a hull that is chosen on the rows it is
        measured on; `aiq_over_zero` is not, it is the area above mixing single models at settings
        chosen on other rows, with its interval. Curves are over the queries that all models were
        tried on, where there are enough. What the data cannot tell, as `support` says, is None.
    """
    support = Support.of(table.quality)
    knob, no_share = knob_record(table, predictions, folds=folds, prices=prices, support=support)
    tokens_known = ~np.isnan(table.output_tokens)
    covered = table.output_tokens[tokens_known] <= predictions.output_tokens_upper[tokens_known]
    return {
        "support": support.to_dict(),
        **_compared(table, predictions, prices=prices, support=support),
        "quality_calibration_error": expected_calibration_error(predictions.quality, table.quality),
        "quality_mean_squared_error": float(np.nanmean((predictions.quality - table.quality) ** 2)),
        "upper_tokens_target": UPPER_QUANTILE,
        "upper_tokens_coverage": float(covered.mean()) if covered.size else None,
        "knob": knob,
        "knob_no_share": no_share,
    }


def _compared(
    table: OutcomeTable, predictions: Predictions, *, prices: PriceTable, support: Support
) -> dict[str, Any]:
    """Compare the router with single models, their mixtures and an oracle."""
    rows = np.arange(len(table))
    if support.complete:
        rows = np.flatnonzero(~np.isnan(table.quality).any(axis=1))
    quality = table.quality[rows]
    spent = realised_costs(table, predictions, prices)[rows]
    single_cost, single_quality = single_models(quality, spent)
    found: dict[str, Any] = {
        "n_queries": len(rows),
        "single_models": {
            model: {
                "quality": float(single_quality[column]),
                "n": int((~np.isnan(quality[:, column])).sum()),
            }
            for column, model in enumerate(table.models)
        },
    }
    compared = (
        "aiq",
        "aiq_zero_router",
        "aiq_over_zero",
        "aiq_oracle",
        "best_single_model",
        "best_single_quality",
        "best_routed_quality",
    )
    if not support.comparable:
        return found | dict.fromkeys(compared)
    cost = predicted_costs(table.input_tokens, predictions.output_tokens, table.models, prices)
    low, high = float(single_cost.min()), float(single_cost.max())
    frame = frame_of(table, rows, spent)
    picks = sweep(predictions.quality[rows].astype(np.float64), cost[rows])
    mine, zero = frame.fair_area(picks), frame.fair_area(frame.every_single)
    oracle = curve(quality, cost[rows], quality, spent) if support.complete else None
    return found | {
        "aiq": frame.aiq(picks),
        "aiq_zero_router": area_under_hull(single_cost, single_quality, low=low, high=high),
        "aiq_over_zero": Interval.of(mine[0] - zero[0], mine[1] - zero[1]).to_dict(),
        "aiq_oracle": None if oracle is None else area_under_hull(*oracle, low=low, high=high),
        "best_single_model": table.models[int(single_quality.argmax())],
        "best_single_quality": float(single_quality.max()),
        "best_routed_quality": float(np.nanmax(frame.points(picks)[1])),
    }


def frame_of(table: OutcomeTable, rows: np.ndarray, spent: FloatArray) -> Frame:
    """Return some rows of a table to compare routers on, with what their answers cost."""
    return Frame(
        rows=Rows(
            models=table.models,
            conversations=tuple(table.conversations[i] for i in rows),
            groups=tuple(table.groups[i] for i in rows),
            input_tokens=table.input_tokens[rows],
            quality=table.quality[rows].astype(np.float64),
            output_tokens=table.output_tokens[rows].astype(np.float64),
            cost_usd=spent,
        ),
        n_draws=_AREA_DRAWS,
    )


def knob_record(
    table: OutcomeTable,
    predictions: Predictions,
    *,
    folds: np.ndarray,
    prices: PriceTable,
    support: Support,
) -> tuple[list[dict[str, Any]], str | None]:
    """Return what the knob promised and what it kept, on queries it was not calibrated on.

    The curve of each fold is fitted on the cross-fitted rows of the others. Quality is None where
    the data cannot tell it, the share of the gap where there is none: the second value says why.
    Intervals are 95 %, over queries; they do not hold what other folds would have calibrated.
    """
    positions = (0.0, *PROMISES, 1.0)
    known = np.empty((len(positions), 0))
    if support.comparable:
        realised = _realised(table, predictions, positions, folds=folds, prices=prices)
        # Queries whose every choice was tried: a mean over others would compare different queries.
        known = realised[:, ~np.isnan(realised).any(axis=0)]
    n = known.shape[1]
    if n == 0:
        return [_step(t, None, None, n) for t in positions], None
    mean = known.mean(axis=1)
    draws = mean_draws(known, n_draws=_DRAWS, seed=0)
    kept = Promises.of(mean, draws, n_models=len(table.models))
    shares = kept.shares or (None,) * len(positions)
    steps = [
        _step(t, float(quality), share, n)
        for t, quality, share in zip(positions, mean, shares, strict=True)
    ]
    return steps, kept.no_share


def _step(t: float, quality: float | None, share: Interval | None, n: int) -> dict[str, Any]:
    return {
        "cost_quality": t,
        "quality": quality,
        "share_of_gap": None if share is None else share.value,
        "share_of_gap_interval": None if share is None else [share.low, share.high],
        "promise": verdict(t, share),
        "n": n,
    }


def _realised(
    table: OutcomeTable,
    predictions: Predictions,
    positions: Sequence[float],
    *,
    folds: np.ndarray,
    prices: PriceTable,
) -> np.ndarray:
    """Return the quality of the choice at every position on every query, NaN where unknown."""
    cost = predicted_costs(table.input_tokens, predictions.output_tokens, table.models, prices)
    realised = np.full((len(positions), len(table)), np.nan)
    price_list = [prices[model] for model in table.models]
    for fold in range(int(folds.max()) + 1):
        train, test = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        calibration = CalibrationRows.collect(
            predictions.rows(train),
            input_tokens=table.input_tokens[train],
            quality=table.quality[train],
            rng=np.random.default_rng(fold),
        )
        knob = calibration.curve(range(len(table.models)), price_list)
        picks = choose_each(
            predictions.quality[test],
            cost[test],
            map(knob.usd_per_quality_for, positions),
            model_ids=table.models,
        )
        realised[:, test] = table.quality[test, picks]
    return realised
