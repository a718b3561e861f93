"""What a goal costs in quality: a router's choices as the goal weighs more and more.

References
----------
Hari and Thomson 2023, Tryage, arXiv:2308.11601: sweeping the weight of a constraint traces the
Pareto front between the loss and what is constrained.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routers.decision.choice import choose_each
from routers.decision.goals import goal_costs, knows
from routers.errors import DataError
from routers.evaluation.assess import predicted_costs
from routers.evaluation.bootstrap import Interval
from routers.evaluation.frame import Frame, Rows
from routers.evaluation.metrics import hull
from routers.evaluation.replay import Arena
from routers.models import ModelSpec
from routers.numeric import FloatArray, nan_mean
from routers.types import Predictions
from routers.wishes import Goal, Traits

WEIGHTS = (0.0, *(float(each) for each in np.geomspace(0.01, 10.0, 25).round(6)))
"""Of the goal that is swept."""

ORACLE, MIXING = "oracle", "mixing single models"
_LONG_CONTEXT = 2**31 - 1
_FACTS = {
    Goal.SIZE: ("parameters_b", "billions of parameters"),
    Goal.RECENCY: ("released", "years behind the newest"),
    Goal.LICENCE: ("licence", "share not under a permissive licence"),
    Goal.VERBOSITY: ("output_tokens", "output tokens"),
    Goal.READABILITY: ("readability", "Flesch reading ease"),
}


def sweep_goal(
    arena: Arena, goal: Goal, traits: Mapping[str, Traits], *, cost_quality: float = 1.0
) -> dict[str, Any]:
    """Return what the arena's artifacts choose as a goal weighs more, as plain values for JSON.

    Parameters
    ----------
    traits
        What is known of the models; who is not there counts as the worst.
    cost_quality
        The position of each artifact's knob: at 1 costs count nothing, as in the paper.

    Raises
    ------
    DataError
        If nothing is known by which the goal tells the models apart.
    """
    rows = arena.frame.rows
    known = [traits.get(model, Traits()) for model in rows.models]
    if not knows(goal, known):
        raise DataError(
            f"nothing is known of the {_FACTS[goal][0]} of any of {', '.join(rows.models)}; give a "
            "catalogue that says it (--catalogue)"
        )
    facts = _facts(goal, known, rows)
    frame = Frame(
        rows=replace(rows, cost_usd=goal_costs(goal, known, _realised_tokens(rows)).copy()),
        n_draws=arena.frame.n_draws,
        seed=arena.frame.seed,
    )
    mixing = frame.fair_area(frame.every_single)
    routers = []
    artifacts = [each for each in arena.series if each.kind == "artifact"]
    for series, artifact in zip(artifacts, arena.artifacts, strict=True):
        assert series.predictions is not None  # noqa: S101  (an artifact predicts)
        specs = [
            ModelSpec(
                model_id=model,
                predicted_as=model,
                prices=arena.prices[model],
                context_window_tokens=_LONG_CONTEXT,
            )
            for model in rows.models
        ]
        rate = artifact.knob_curve(specs).usd_per_quality_for(cost_quality)
        cost = predicted_costs(
            rows.input_tokens, series.predictions.output_tokens, rows.models, arena.prices
        )
        picks = _picks(series.predictions, cost, rate, goal, traits=known, models=rows.models)
        area = frame.fair_area(picks)
        routers.append(
            {
                "name": series.name,
                "kind": "artifact",
                "area": Interval.of(*area).to_dict(),
                "over_mixing": Interval.of(area[0] - mixing[0], area[1] - mixing[1]).to_dict(),
                "points": _points(picks, frame, rows, facts),
            }
        )
    best = np.nan_to_num(rows.quality, nan=-1.0)
    told = frame.rows.cost_usd
    oracle = np.stack([(best - weight * told).argmax(axis=1) for weight in WEIGHTS])
    routers.append({"name": ORACLE, "kind": "bound", "points": _points(oracle, frame, rows, facts)})
    singles = frame.singles
    on_hull = set(zip(*(each.tolist() for each in hull(*singles)), strict=True))
    spent = nan_mean(rows.cost_usd, default=np.nan)
    return {
        "goal": goal.value,
        "fact": _FACTS[goal][1],
        "cost_quality": cost_quality,
        "n_queries": len(rows),
        "n_draws": len(frame.weights),
        "seed": frame.seed,
        "data": list(arena.files),
        "mixing_area": mixing[0],
        "models": [
            {
                "model": model,
                "quality": float(singles[1][column]),
                "goal_cost": float(singles[0][column]),
                "fact": _plain(np.nanmean(facts[:, column]))
                if not np.isnan(facts[:, column]).all()
                else None,
                "usd_per_1000": float(1000 * spent[column]),
                "on_hull": (float(singles[0][column]), float(singles[1][column])) in on_hull,
            }
            for column, model in enumerate(rows.models)
        ],
        "routers": routers,
        "notes": _notes(goal, known, rows, arena),
    }


def _picks(
    predictions: Predictions,
    cost: FloatArray,
    rate: float,
    goal: Goal,
    *,
    traits: Sequence[Traits],
    models: Sequence[str],
) -> NDArray[np.intp]:
    """Return the choices at every weight, (n_weights, n_queries)."""
    quality = predictions.quality.astype(np.float64)
    costs = goal_costs(goal, traits, predictions.output_tokens)
    return np.concatenate(
        [
            choose_each(
                quality - weight * costs, cost, [rate], model_ids=models, weigh_all=weight > 0
            )
            for weight in WEIGHTS
        ]
    )


def _points(
    picks: NDArray[np.intp], frame: Frame, rows: Rows, facts: FloatArray
) -> list[dict[str, Any]]:
    at = np.arange(len(rows))
    goal_cost, quality = frame.points(picks)
    front = pareto(goal_cost, quality)
    return [
        {
            "weight": weight,
            "quality": _plain(quality[i]),
            "goal_cost": _plain(goal_cost[i]),
            "fact": _mean_known(facts[at, picks[i]]),
            "usd_per_1000": _plain(1000 * np.nanmean(rows.cost_usd[at, picks[i]])),
            "on_front": bool(front[i]),
            "shares": {
                model: float(share)
                for column, model in enumerate(rows.models)
                if (share := (picks[i] == column).mean()) > 0
            },
        }
        for i, weight in enumerate(WEIGHTS)
    ]


def pareto(cost: FloatArray, quality: FloatArray) -> NDArray[np.bool_]:
    """Return which points no other one beats in both, or in one at equal values of the other."""
    better = (cost[None] <= cost[:, None]) & (quality[None] >= quality[:, None])
    strictly = (cost[None] < cost[:, None]) | (quality[None] > quality[:, None])
    return np.asarray(~(better & strictly).any(axis=1))


def _realised_tokens(rows: Rows) -> FloatArray:
    assumed = nan_mean(rows.output_tokens, default=256.0)
    return np.where(np.isnan(rows.output_tokens), assumed, rows.output_tokens)


def _facts(goal: Goal, traits: Sequence[Traits], rows: Rows) -> FloatArray:
    """Return the goal's fact in the unit that people know, (n_queries, n_models); NaN: unknown."""
    if goal is Goal.VERBOSITY:
        return rows.output_tokens
    newest = max((each.released for each in traits if each.released is not None), default=None)
    row = np.full(len(traits), np.nan)
    for column, each in enumerate(traits):
        if goal is Goal.SIZE and each.parameters_b is not None:
            row[column] = each.parameters_b
        elif goal is Goal.RECENCY and each.released is not None and newest is not None:
            row[column] = (newest - each.released).days / 365.25
        elif goal is Goal.READABILITY and each.readability is not None:
            row[column] = each.readability
    if goal is Goal.LICENCE:
        row = (goal_costs(goal, traits, np.zeros((1, len(traits))))[0] > 0).astype(np.float64)
    return np.broadcast_to(row, rows.quality.shape)


def _notes(goal: Goal, traits: Sequence[Traits], rows: Rows, arena: Arena) -> list[str]:
    about = (
        "Areas are mean quality under the front, over the range of what single models cost by the "
        "goal; weights are chosen on other queries than measured on."
    )
    notes = [about, *arena.notes]
    fact = _FACTS[goal][0]
    unknown = [
        model
        for model, each in zip(rows.models, traits, strict=True)
        if goal is not Goal.VERBOSITY and getattr(each, fact) is None
    ]
    if unknown:
        names = ", ".join(unknown)
        notes.insert(0, f"Nobody knows the {fact} of {names}: they count as the worst.")
    return notes


def _mean_known(values: FloatArray) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None


def _plain(value: float | np.floating) -> float | None:
    return float(value) if np.isfinite(value) else None
