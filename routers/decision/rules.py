"""How each objective orders the models that may be chosen, best first."""

from collections.abc import Sequence
from typing import assert_never

from routers.decision.choice import DEAREST, rank, rank_all
from routers.decision.dominance import TIE
from routers.decision.goals import GOALS_KNOB
from routers.decision.knob import KnobCurve
from routers.decision.pairwise import strong_scores
from routers.decisions import CandidateEstimate, Reason
from routers.models import ModelSpec
from routers.objectives import (
    CostQuality,
    MaxQualityLoss,
    MinQuality,
    StrongThreshold,
    UsdPerQuality,
)
from routers.types import Predictions


def known_or_dearest(value: float | None) -> float:
    """Return a value, or what nothing is worse than where it is unknown."""
    return DEAREST if value is None else value


def rank_by_objective(
    eligible: list[CandidateEstimate],
    objective: CostQuality | UsdPerQuality | MaxQualityLoss | MinQuality,
    rate: float | None,
    *,
    usd_per_goal: float | None,
) -> tuple[list[str], Reason]:
    """Order the eligible candidates, best first.

    Parameters
    ----------
    usd_per_goal
        What a unit of goals is worth; None where there are none.
    """
    match objective:
        case CostQuality() | UsdPerQuality():
            rows = [
                (
                    each.model_id,
                    (each.quality or 0.0) - each.penalty,
                    DEAREST if each.cost_usd is None else each.cost_usd + each.surcharge_usd,
                )
                for each in eligible
            ]
            ordered = rank if usd_per_goal is None else rank_all
            return ordered(rows, known_or_dearest(rate)), Reason.KNOB
        case MaxQualityLoss(loss):
            best = max(known_or_dearest(each.quality) for each in eligible)
            return _cheapest_reaching(eligible, best - loss, usd_per_goal)[0], Reason.KNOB
        case MinQuality(quality):
            ranked, reached = _cheapest_reaching(eligible, quality, usd_per_goal)
            return ranked, Reason.KNOB if reached else Reason.MIN_QUALITY_UNMET
        case _:
            assert_never(objective)


def _cheapest_reaching(
    eligible: list[CandidateEstimate], quality: float, usd_per_goal: float | None
) -> tuple[list[str], bool]:
    """Those that reach `quality` by cost and goals, then the others by quality."""
    goal_usd = usd_per_goal or 0.0

    def key(each: CandidateEstimate) -> tuple[bool, float, float, str]:
        q, cost = known_or_dearest(each.quality), known_or_dearest(each.weighed_usd)
        if q >= quality - TIE:
            return False, cost + goal_usd * each.penalty, -q, each.model_id
        return True, -q, cost, each.model_id

    ranked = sorted(eligible, key=key)
    return [each.model_id for each in ranked], not key(ranked[0])[0]


def rank_by_threshold(
    eligible: list[CandidateEstimate],
    objective: StrongThreshold,
    candidates: Sequence[ModelSpec],
    predictions: Predictions,
    knob: KnobCurve,
) -> list[str]:
    """Order the pair of a threshold; where one of them is barred there is only the other."""
    if len(eligible) == 1:
        return [eligible[0].model_id]
    penalty = {each.model_id: each.penalty for each in eligible}
    if any(each.surcharge_usd for each in eligible):
        rate = knob.usd_per_quality_for(GOALS_KNOB)
        for each in eligible:
            penalty[each.model_id] += each.surcharge_usd / rate
    column = {spec.model_id: i for i, spec in enumerate(candidates)}
    pair = [objective.strong, objective.weak]
    score = strong_scores(predictions, strong=column[pair[0]], weak=column[pair[1]])[0]
    score -= penalty[pair[0]] - penalty[pair[1]]
    return pair if score >= objective.threshold else pair[::-1]
