"""What a policy can promise: its cost-quality curve, its baselines, and how its knob keeps to it.

All of it is computed from the calibration rows of the artifact, for exactly the candidates of the
policy at their current prices. These rows are predictions on prompts that the predicting router
had not seen, with the outcomes. Costs are predicted output tokens at today's prices.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from app.gateway.policy import Policy
from routers.artifact.calibration import CalibrationRows, cost_usd
from routers.decision.choice import choose_each
from routers.evaluation.bootstrap import Interval, resample
from routers.evaluation.metrics import curve, expected_calibration_error, hull
from routers.models import ModelSpec, Prices
from routers.numeric import FloatArray
from routers.objectives import CostQuality

POSITIONS = tuple(i / 20 for i in range(21))
"""Where on the knob promises are checked."""

_FOLDS = 5
_DRAWS = 400
_MIN_ROWS = 50
"""Rows below which nothing is worth drawing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _World:
    """The candidates that take part: (n_queries, n_models), float64, finite."""

    model_ids: tuple[str, ...]
    columns: tuple[int, ...]
    prices: tuple[Prices, ...]
    predicted: FloatArray
    cost: FloatArray
    quality: FloatArray
    known: FloatArray


def policy_curve(policy: Policy) -> dict[str, Any]:
    """Compute everything that the console draws of one policy, as JSON-ready values.

    Takes some 100 ms: nothing for the event loop.

    Returns
    -------
    dict
        Costs are US dollars per 1000 requests, qualities in [0, 1]. `curve` and the points of
        `knob` are of rows that the knob they are read from was not fitted on (five folds);
        intervals are 95 %, by bootstrap over queries. Where the artifact keeps no outcome of a
        candidate, nothing is verified: `verified` is False, qualities are predictions, and there
        are no shares, no reliability and no errors. Without enough rows, or with fewer than
        two priced candidates, `problem` says so and the lists are empty.
    """
    artifact = policy.artifact
    answer: dict[str, Any] = {
        "policy": policy.name,
        "version": policy.version,
        "artifact": artifact.version,
        "trained_at": artifact.manifest.get("created_at"),
        "strategy": artifact.manifest.get("strategy", {}).get("kind"),
        "n_queries": len(artifact.calibration),
        "problem": None,
        "verified": False,
        "cost_quality": _default_position(policy),
        "singles": [],
        "mix": [],
        "curve": [],
        "knob": [],
        "reliability": [],
        "calibration_error": None,
        "knob_error": None,
        "share_tried": None,
    }
    world = _world(artifact.calibration, policy.candidates, policy.columns)
    if len(artifact.calibration) < _MIN_ROWS:
        return answer | {"problem": "the artifact keeps too few calibration rows to draw from"}
    if len(world.model_ids) < 2:
        return answer | {"problem": "fewer than two candidates have a known price"}
    singles_cost, singles_quality = world.cost.mean(axis=0), world.quality.mean(axis=0)
    swept = curve(world.predicted, world.cost, world.quality, world.cost)
    verified = not bool(np.isnan(world.known).all())
    knob = _knob(artifact.calibration, world)
    if not verified:  # a prediction keeps to itself whatever it promises
        knob = [each | {"share": None} for each in knob]
    errors = [abs(each["share"]["value"] - each["cost_quality"]) for each in knob if each["share"]]
    return answer | {
        "verified": verified,
        "singles": _singles(world, singles_cost, singles_quality),
        "mix": _points(*hull(singles_cost, singles_quality)),
        "curve": _points(*hull(*swept)),
        "knob": knob,
        "reliability": _reliability(world),
        "calibration_error": (
            expected_calibration_error(world.predicted, world.known) if verified else None
        ),
        "knob_error": max(errors, default=None),
        "share_tried": float((~np.isnan(world.known)).mean()),
    }


def of_another_policy(answer: dict[str, Any], policy: Policy) -> dict[str, Any]:
    """Return what `policy_curve` would tell of a policy with the same artifact and candidates."""
    return answer | {
        "policy": policy.name,
        "version": policy.version,
        "cost_quality": _default_position(policy),
    }


def _default_position(policy: Policy) -> float | None:
    """Return where the policy's knob stands; None where it decides by something else."""
    return policy.objective.t if isinstance(policy.objective, CostQuality) else None


def _world(
    rows: CalibrationRows, candidates: tuple[ModelSpec, ...], columns: tuple[int, ...]
) -> _World:
    priced = [
        (spec, column)
        for spec, column in zip(candidates, columns, strict=True)
        if spec.prices.input_usd_per_mtok is not None
        and spec.prices.output_usd_per_mtok is not None
    ]
    picked = [column for _, column in priced]
    predicted = rows.quality_predicted[:, picked].astype(np.float64)
    known = rows.quality_realised[:, picked].astype(np.float64)
    costs = [
        cost_usd(rows.input_tokens, rows.output_tokens[:, column], spec.prices)
        for spec, column in priced
    ]
    return _World(
        model_ids=tuple(spec.model_id for spec, _ in priced),
        columns=tuple(picked),
        prices=tuple(spec.prices for spec, _ in priced),
        predicted=predicted,
        cost=np.stack(costs, axis=1) if costs else np.empty((len(rows), 0)),
        # A model that was not tried on a query counts as predicted there, as in the knob's fit.
        quality=np.where(np.isnan(known), predicted, known),
        known=known,
    )


def _singles(world: _World, cost: FloatArray, quality: FloatArray) -> list[dict[str, Any]]:
    roles = {
        "cheapest": int(cost.argmin()),
        "dearest": int(cost.argmax()),
        "best": int(quality.argmax()),
    }
    return [
        {
            "model": model_id,
            "usd_per_1000": float(1000 * cost[i]),
            "quality": float(quality[i]),
            "roles": [role for role, column in roles.items() if column == i],
        }
        for i, model_id in enumerate(world.model_ids)
    ]


def _points(cost: FloatArray, quality: FloatArray) -> list[list[float]]:
    return [[float(1000 * c), float(q)] for c, q in zip(cost, quality, strict=True)]


def _knob(rows: CalibrationRows, world: _World) -> list[dict[str, Any]]:
    """Return cost, quality and share of the gap at every position, on held-out rows."""
    n, positions = len(rows), POSITIONS
    fold = np.random.default_rng(0).permutation(n) % _FOLDS
    quality, cost = np.empty((len(positions), n)), np.empty((len(positions), n))
    for held_out in range(_FOLDS):
        test, train = np.flatnonzero(fold == held_out), np.flatnonzero(fold != held_out)
        knob = _rows(rows, train).curve(world.columns, world.prices)
        picks = choose_each(
            world.predicted[test],
            world.cost[test],
            map(knob.usd_per_quality_for, positions),
            model_ids=world.model_ids,
        )
        quality[:, test], cost[:, test] = world.quality[test, picks], world.cost[test, picks]
    weights = resample(n, _DRAWS, seed=0) / n
    draws = weights @ quality.T  # (n_draws, n_positions)
    means = quality.mean(axis=1)
    gap, gap_draws = means[-1] - means[0], draws[:, -1] - draws[:, 0]
    answer = []
    for i, t in enumerate(positions):
        share = None
        if gap > 1e-3:  # with less there is nothing to share out
            with np.errstate(divide="ignore", invalid="ignore"):
                shares = np.where(gap_draws > 0, (draws[:, i] - draws[:, 0]) / gap_draws, np.nan)
            share = Interval.of((means[i] - means[0]) / gap, shares).to_dict()
        answer.append(
            {
                "cost_quality": t,
                "usd_per_1000": float(1000 * cost[i].mean()),
                "quality": Interval.of(means[i], draws[:, i]).to_dict(),
                "share": share,
            }
        )
    return answer


def _rows(rows: CalibrationRows, index: np.ndarray) -> CalibrationRows:
    return CalibrationRows(
        quality_predicted=rows.quality_predicted[index],
        output_tokens=rows.output_tokens[index],
        input_tokens=rows.input_tokens[index],
        quality_realised=rows.quality_realised[index],
    )


def _reliability(world: _World, n_bins: int = 10) -> list[dict[str, float]]:
    """Return predicted against realised quality over bins of equal mass."""
    tried = ~np.isnan(world.known)
    predicted, realised = world.predicted[tried], world.known[tried]
    order = np.argsort(predicted, kind="stable")
    return [
        {
            "predicted": float(predicted[part].mean()),
            "realised": float(realised[part].mean()),
            "n": len(part),
        }
        for part in np.array_split(order, n_bins)
        if len(part)
    ]
