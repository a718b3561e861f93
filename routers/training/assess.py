"""What a training run may claim: metrics on predictions that were held out."""

from typing import Any

import numpy as np

from routers.calibration import CalibrationRows, cost_usd
from routers.decision import choose
from routers.evaluation.metrics import (
    area_under_hull,
    curve,
    expected_calibration_error,
    single_models,
)
from routers.training.dataset import OutcomeTable
from routers.types import UPPER_QUANTILE, Predictions, PriceTable

PROMISES = (0.2, 0.4, 0.6, 0.8)


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
        knob promised and kept. Curves are over the queries that all models were tried on, where
        there are enough.
    """
    cost = predicted_costs(table.input_tokens, predictions.output_tokens, table.models, prices)
    spent = realised_costs(table, predictions, prices)
    full = ~np.isnan(table.quality).any(axis=1)
    rows = np.flatnonzero(full) if full.sum() >= max(50, len(table) // 5) else np.arange(len(table))
    quality = table.quality[rows]
    single_cost, single_quality = single_models(quality, spent[rows])
    low, high = float(single_cost.min()), float(single_cost.max())
    routed = curve(predictions.quality[rows], cost[rows], quality, spent[rows])
    known = np.nan_to_num(quality, nan=0.0)
    oracle = curve(known, cost[rows], quality, spent[rows])
    tokens_known = ~np.isnan(table.output_tokens)
    covered = table.output_tokens[tokens_known] <= predictions.output_tokens_upper[tokens_known]
    return {
        "n_queries": len(rows),
        "aiq": area_under_hull(*routed, low=low, high=high),
        "aiq_zero_router": area_under_hull(single_cost, single_quality, low=low, high=high),
        "aiq_oracle": area_under_hull(*oracle, low=low, high=high),
        "best_single_model": table.models[int(single_quality.argmax())],
        "best_single_quality": float(single_quality.max()),
        "best_routed_quality": float(routed[1].max()),
        "quality_calibration_error": expected_calibration_error(predictions.quality, table.quality),
        "quality_mean_squared_error": float(np.nanmean((predictions.quality - table.quality) ** 2)),
        "upper_tokens_target": UPPER_QUANTILE,
        "upper_tokens_coverage": float(covered.mean()) if covered.size else None,
        "knob": knob_record(table, predictions, folds=folds, prices=prices),
    }


def knob_record(
    table: OutcomeTable, predictions: Predictions, *, folds: np.ndarray, prices: PriceTable
) -> list[dict[str, float]]:
    """Return what the knob promised and what it kept, on queries it was not calibrated on.

    The curve of each fold is fitted on the cross-fitted rows of the others.
    """
    cost = predicted_costs(table.input_tokens, predictions.output_tokens, table.models, prices)
    positions = (0.0, *PROMISES, 1.0)
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
        for i, t in enumerate(positions):
            rate = knob.usd_per_quality_for(t)
            at = choose(predictions.quality[test], cost[test], rate, model_ids=table.models)
            realised[i, test] = table.quality[test, at]
    # Queries whose every choice was tried: a mean over others would compare different queries.
    mean = realised[:, ~np.isnan(realised).any(axis=0)].mean(axis=1)
    gap = float(mean[-1] - mean[0])
    return [
        {
            "cost_quality": t,
            "quality": float(mean[i]),
            "share_of_gap": float((mean[i] - mean[0]) / gap) if abs(gap) > 1e-9 else float(t),
        }
        for i, t in enumerate(positions)
    ]
