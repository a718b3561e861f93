"""What models cost by the goals of a request: nothing of it is computed for requests without any.

References
----------
Hari and Thomson 2023, Tryage, arXiv:2308.11601: of the predicted losses and weighted constraints,
the least sum.
"""

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from routers.decisions import CandidateEstimate
from routers.models import Demand, ModelSpec
from routers.numeric import FloatArray
from routers.types import Predictions
from routers.wishes import PROPRIETARY, Goal, Traits, Wishes, is_permissive

UNKNOWN = 1.0
"""What a model costs of which nobody knows: as much as the worst."""

GOALS_KNOB = 0.8
"""By which position of the knob goals and US dollars are weighed where the request names a least
quality, and so no rate between the two."""

_LEAST_B, _DECADES = 0.1, 4.0
_MOST_YEARS_BEHIND = 4.0
_DAYS = 365.25
_BEST_READ = 100.0


def goal_costs(
    goal: Goal, traits: Sequence[Traits], output_tokens: NDArray[np.floating]
) -> FloatArray:
    """Return what every model costs by one goal on every query, (n_queries, n_models) in [0, 1].

    Ten times as many parameters, and an answer ten times as long, cost a quarter (from 0.1 to
    1,000 billions, and from one token to 10,000); each year behind the newest of the models, too;
    ten points of Flesch's reading ease a tenth; a licence nothing where it is permissive, a half
    where its weights come with conditions, and 1 where nobody gets them. What nobody knows of a
    model counts as the worst.

    Parameters
    ----------
    output_tokens
        (n_queries, n_models), how long answers are expected to be.
    """
    if goal is Goal.VERBOSITY:
        tokens = np.maximum(np.asarray(output_tokens, np.float64), 1.0)
        return np.asarray(np.clip(np.log10(tokens) / _DECADES, 0, 1))
    costs = [UNKNOWN] * len(traits)
    newest = max((each.released for each in traits if each.released is not None), default=None)
    for column, each in enumerate(traits):
        if goal is Goal.SIZE and each.parameters_b is not None:
            costs[column] = float(np.log10(each.parameters_b / _LEAST_B)) / _DECADES
        elif goal is Goal.RECENCY and each.released is not None and newest is not None:
            costs[column] = (newest - each.released).days / _DAYS / _MOST_YEARS_BEHIND
        elif goal is Goal.LICENCE and each.licence is not None:
            costs[column] = _licence_cost(each.licence)
        elif goal is Goal.READABILITY and each.readability is not None:
            costs[column] = 1 - each.readability / _BEST_READ
    row = np.clip(np.asarray(costs, np.float64), 0, 1)
    return np.broadcast_to(row, np.shape(output_tokens))


def _licence_cost(licence: str) -> float:
    if is_permissive(licence):
        return 0.0
    return 1.0 if licence == PROPRIETARY else 0.5


def knows(goal: Goal, traits: Sequence[Traits]) -> bool:
    """Return whether anything is known of any of some models by which a goal tells them apart."""
    fact = {Goal.SIZE: "parameters_b", Goal.RECENCY: "released"}.get(goal, goal.value)
    return goal is Goal.VERBOSITY or any(getattr(each, fact) is not None for each in traits)


def penalties(
    wishes: Wishes, traits: Sequence[Traits], output_tokens: NDArray[np.floating]
) -> FloatArray:
    """Return the weighted sum of all goals, (n_queries, n_models), in units of quality."""
    total = np.zeros(np.shape(output_tokens))
    for goal, weight in wishes.weights:
        total += weight * goal_costs(goal, traits, output_tokens)
    return total


def with_goals(
    estimates: Sequence[CandidateEstimate],
    candidates: Sequence[ModelSpec],
    predictions: Predictions,
    demand: Demand,
    wishes: Wishes,
) -> list[CandidateEstimate]:
    """Return the estimates of one request with what its goals make of each candidate.

    An answer counts as no longer than the request allows.
    """
    tokens = np.asarray(predictions.output_tokens[:1], np.float64)
    if demand.max_output_tokens is not None:
        tokens = np.minimum(tokens, demand.max_output_tokens)
    traits = [spec.traits for spec in candidates]
    costs = {goal: goal_costs(goal, traits, tokens)[0].tolist() for goal, _ in wishes.weights}
    return [
        msgspec.structs.replace(
            estimate,
            goal_costs={goal.value: costs[goal][column] for goal in costs},
            penalty=sum(weight * costs[goal][column] for goal, weight in wishes.weights),
        )
        for column, estimate in enumerate(estimates)
    ]
