"""From predictions to a decision: constraints first, then one rule of quality against cost."""

import math
from collections.abc import Sequence

import msgspec

from routers.decision.choice import choose, rank_all
from routers.decision.constraints import Barred, hard_constraints
from routers.decision.deadline import bar_late, by_lateness
from routers.decision.dominance import TIE, undominated_rows
from routers.decision.goals import GOALS_KNOB, with_goals
from routers.decision.knob import KnobCurve
from routers.decision.rules import known_or_dearest, rank_by_objective, rank_by_threshold
from routers.decisions import CandidateEstimate, Decision, Exclusion, KnobStep, Reason
from routers.errors import NoEligibleModelError
from routers.models import Demand, ModelSpec
from routers.objectives import (
    Constraints,
    CostQuality,
    Objective,
    StrongThreshold,
    UsdPerQuality,
)
from routers.types import Predictions

__all__ = ["choose", "decide", "decide_without_predictions", "knob_steps"]

_ANY_OBJECTIVE = CostQuality(1.0)
"""Stands where no objective narrows the candidates."""
_UNHEALTHY: Barred = Exclusion.UNHEALTHY, "its upstream fails or is throttled at present"
_DEMOTED: Barred = Exclusion.DEMOTED, "it has changed for the worse; see /admin/watch"

_UNMET = frozenset({Reason.MIN_QUALITY_UNMET, Reason.LATENCY_UNMET})
"""Told of a single candidate, too."""


def decide(
    *,
    candidates: Sequence[ModelSpec],
    predictions: Predictions,
    demand: Demand,
    constraints: Constraints,
    objective: Objective,
    knob: KnobCurve,
    estimates: list[CandidateEstimate] | None = None,
) -> Decision:
    """Choose among `candidates` for one request.

    Parameters
    ----------
    predictions
        One row, columns aligned with `candidates`.
    knob
        The calibrated curve of these candidates at their current prices.
    estimates
        What `estimate_each` makes of the predictions, for who has asked for it already.

    Raises
    ------
    NoEligibleModelError
        If every candidate breaks a hard constraint. Health alone never causes it: where all
        that could serve are unhealthy, they are tried all the same.

    Notes
    -----
    Costs count the prompt once and the output `n_answers` times; output tokens never exceed the
    request's or the model's own limit. The upper cost, which `max_cost_usd` is held against,
    uses the cautious estimates of both.

    Goals (`constraints.wishes`) take what they cost, in units of quality, off what a candidate is
    worth; what limits quality or cost is held against quality and cost alone. Where the objective
    is a least quality, those that reach it are weighed by cost and goals, at the rate of the knob's
    position `GOALS_KNOB`; where it is a threshold, what goals cost moves the score. Where quality
    counts nothing, at the knob's 0, goals only part those of equal cost.

    Surcharges (`constraints.surcharges_usd`) count as costs wherever candidates are compared by
    cost, dominance included; limits are held against the price alone. A threshold has no rate:
    there they move the score, at the rate of the knob's position `GOALS_KNOB`.

    Who may be late by `constraints.max_latency_s` or `max_ttft_s` is kept out like who costs too
    much, health first. Where everybody may be late, whoever is predicted to be it by least is
    taken, whatever the objective.
    """
    rate = _rate(objective, knob)
    price_free = _ignores_cost(objective, rate) and constraints.max_cost_usd is None
    if estimates is None:
        estimates = estimate_each(candidates, predictions, demand)
    estimates = _of_the_moment(estimates, constraints)
    usd_per_goal: float | None = None
    if constraints.wishes is not None and constraints.wishes.weights:
        estimates = with_goals(estimates, candidates, predictions, demand, constraints.wishes)
        usd_per_goal = knob.usd_per_quality_for(GOALS_KNOB) if rate is None else rate
    barred = hard_constraints(
        candidates, estimates, demand, constraints, objective, price_free=price_free
    )
    if constraints.unhealthy_model_ids or constraints.demoted_model_ids:
        _bar_where_others_serve(candidates, barred, constraints.unhealthy_model_ids, _UNHEALTHY)
        _bar_where_others_serve(candidates, barred, constraints.demoted_model_ids, _DEMOTED)
    in_time = not constraints.has_deadline or bar_late(estimates, barred, constraints)
    listed = eligible = estimates
    if any(barred):
        listed = [
            estimate if why is None else _exclude(estimate, why)
            for estimate, why in zip(estimates, barred, strict=True)
        ]
        eligible = [estimate for estimate in listed if estimate.exclusion is None]
    if not eligible:
        raise _nobody(listed)
    if not in_time:
        ranked = [each.model_id for each in by_lateness(eligible, constraints)]
        reason = Reason.LATENCY_UNMET
    elif isinstance(objective, StrongThreshold):
        ranked = rank_by_threshold(eligible, objective, candidates, predictions, knob)
        reason = Reason.THRESHOLD
    else:
        ranked, reason = rank_by_objective(eligible, objective, rate, usd_per_goal=usd_per_goal)
    category = None if predictions.categories is None else predictions.categories.of(0)
    if category is not None and category.name is None and reason is Reason.KNOB:
        reason = Reason.UNCERTAIN
    if len(ranked) == 1 and reason not in _UNMET:
        reason = Reason.ONLY_ELIGIBLE
    return Decision(
        model_id=ranked[0],
        fallbacks=tuple(ranked[1:]),
        candidates=tuple(listed),
        reason=reason,
        usd_per_quality=rate,
        category=category,
        usd_per_goal=None if usd_per_goal == rate else usd_per_goal,
    )


def _bar_where_others_serve(
    candidates: Sequence[ModelSpec],
    barred: list[Barred | None],
    model_ids: frozenset[str],
    why: Barred,
) -> None:
    """Keep some models out, where somebody else may serve."""
    able = [spec.model_id for spec, other in zip(candidates, barred, strict=True) if not other]
    if all(model_id in model_ids for model_id in able):
        return
    for i, spec in enumerate(candidates):
        if spec.model_id in model_ids and barred[i] is None:
            barred[i] = why


def decide_without_predictions(
    *,
    candidates: Sequence[ModelSpec],
    demand: Demand,
    constraints: Constraints,
    default_model_id: str,
    reason: Reason,
) -> Decision:
    """Choose when the router cannot: the default model, or the first that may take the request.

    The hard constraints hold here too. A cost limit is checked against the most that a model may
    write (the request's limit, else the model's own); a model without either is excluded.

    Raises
    ------
    NoEligibleModelError
        If every candidate breaks a hard constraint.
    """
    estimates = unpredicted(candidates, demand)
    limit_usd = constraints.max_cost_usd
    estimates = _of_the_moment(estimates, constraints)
    barred = hard_constraints(
        candidates, estimates, demand, constraints, _ANY_OBJECTIVE, price_free=limit_usd is None
    )
    in_time = True
    if constraints.has_deadline:
        _bar_where_others_serve(candidates, barred, constraints.unhealthy_model_ids, _UNHEALTHY)
        in_time = bar_late(estimates, barred, constraints)
    listed = [
        estimate if why is None else _exclude(estimate, why)
        for estimate, why in zip(estimates, barred, strict=True)
    ]
    able = [each for each in listed if each.eligible]
    if not able:
        raise _nobody(listed)
    if in_time:
        eligible = [each.model_id for each in able]
        healthy = [each for each in eligible if each not in constraints.unhealthy_model_ids]
        demoted = constraints.demoted_model_ids
        trusted = [each for each in healthy or eligible if each not in demoted]
        ranked = sorted(
            trusted or healthy or eligible, key=lambda model_id: model_id != default_model_id
        )
    else:
        ranked = [each.model_id for each in by_lateness(able, constraints)]
    return Decision(
        model_id=ranked[0],
        fallbacks=tuple(ranked[1:]),
        candidates=tuple(listed),
        reason=reason,
        usd_per_quality=None,
    )


def unpredicted(candidates: Sequence[ModelSpec], demand: Demand) -> list[CandidateEstimate]:
    """Return what is known of each candidate for a request of which nothing is predicted."""
    estimates: list[CandidateEstimate] = []
    for spec in candidates:
        n_input, n_input_upper = demand.input_of(spec)
        limits = [n for n in (demand.max_output_tokens, spec.max_output_tokens) if n is not None]
        longest = min(limits) if limits else None
        estimates.append(
            CandidateEstimate(
                model_id=spec.model_id,
                quality=None,
                quality_std=None,
                input_tokens=n_input,
                output_tokens=None,
                output_tokens_upper=longest,
                cost_usd=None,
                cost_usd_upper=None
                if longest is None
                else _with_sound_usd(
                    spec, demand, n_input_upper, demand.audio_of(spec)[1], longest
                ),
            )
        )
    return estimates


def knob_steps(decision: Decision, knob: KnobCurve) -> tuple[KnobStep, ...]:
    """Return which candidate wins in which range of the cost-quality knob.

    The ranges cover [0, 1] in order; a range of zero width stands only at 0 or 1, where the
    winner of the exact end (cheapest, best) is not that of its neighbourhood. Candidates that
    were excluded, or whose cost is unknown, take no part. Where nobody is in time, the fastest
    answers wherever the knob stands.
    """
    if decision.reason is Reason.LATENCY_UNMET:
        return (_step(0.0, 1.0, decision.model_id),)
    priced = [each for each in decision.candidates if each.eligible and each.cost_usd is not None]
    if not priced:
        return (_step(0.0, 1.0, decision.model_id),)
    with_goals_too = any(each.goal_costs is not None for each in priced)
    rows = [
        (
            each.model_id,
            known_or_dearest(each.quality) - each.penalty,
            known_or_dearest(each.weighed_usd),
        )
        for each in priced
    ]
    sound = rows if with_goals_too else undominated_rows(rows)
    points = [(quality, cost, model_id) for model_id, quality, cost in sound]
    at = min(points, key=lambda point: (point[1], -point[0], point[2]))
    steps: list[KnobStep] = []
    start = 0.0
    while True:
        moves = [
            ((cost - at[1]) / (quality - at[0]), -quality, cost, model_id)
            for quality, cost, model_id in points
            if quality - at[0] > TIE
        ]
        if not moves:
            break
        rate, negative_quality, cost, model_id = min(moves)
        to = max(start, knob.cost_quality_for(rate))
        if to > start or (to == 0.0 and not steps):
            steps.append(_step(start, to, at[2]))
        start, at = to, (-negative_quality, cost, model_id)
    steps.append(_step(start, 1.0, at[2]))
    # At 1 quality alone counts, be the gain ever so small.
    best = rank_all(rows, math.inf)[0]
    if best != at[2]:
        steps.append(_step(1.0, 1.0, best))
    return tuple(steps)


def _step(start: float, to: float, model_id: str) -> KnobStep:
    return KnobStep(from_cost_quality=start, to_cost_quality=to, model_id=model_id)


def _rate(objective: Objective, knob: KnobCurve) -> float | None:
    if isinstance(objective, CostQuality):
        return knob.usd_per_quality_for(objective.t)
    return objective.usd_per_quality if isinstance(objective, UsdPerQuality) else None


def _ignores_cost(objective: Objective, rate: float | None) -> bool:
    return isinstance(objective, StrongThreshold) or rate == math.inf


def _with_sound_usd(
    spec: ModelSpec, demand: Demand, n_input: float, n_heard: float, n_output: float
) -> float | None:
    """Price a prompt of which `n_heard` tokens are recordings, and answers that may be spoken."""
    said = n_output * demand.n_answers
    return spec.prices.cost_usd(
        input_tokens=n_input,
        output_tokens=said,
        audio_input_tokens=n_heard,
        audio_output_tokens=said if demand.is_spoken else 0,
    )


def estimate_each(
    candidates: Sequence[ModelSpec], predictions: Predictions, demand: Demand
) -> list[CandidateEstimate]:
    """Return what is known of each candidate for one request, one row of predictions."""
    # Plain floats: for some ten candidates they beat arrays by far.
    quality = predictions.quality[0].tolist()
    std = predictions.quality_std[0].tolist()
    expected = predictions.output_tokens[0].tolist()
    upper = predictions.output_tokens_upper[0].tolist()
    asked = math.inf if demand.max_output_tokens is None else float(demand.max_output_tokens)
    n = demand.n_answers
    alike = demand.input_tokens, demand.input_tokens_upper
    by_model = demand.differs_by_model
    sounds = demand.is_spoken or (demand.media is not None and bool(demand.media.recordings))
    estimates = []
    for i, spec in enumerate(candidates):
        differs = by_model or spec.prompt_tokens
        n_input, n_input_upper = demand.input_of(spec) if differs else alike
        cap = asked
        if spec.max_output_tokens is not None and spec.max_output_tokens < cap:
            cap = float(spec.max_output_tokens)
        tokens = min(expected[i] + spec.reasoning_tokens, cap)
        tokens_upper = min(max(upper[i] + spec.reasoning_tokens, tokens), cap)
        usd_in, usd_out = spec.prices.input_usd_per_mtok, spec.prices.output_usd_per_mtok
        cost = cost_upper = None
        if usd_in is not None and usd_out is not None:
            # `Prices.cost_usd` of uncached, unreasoned tokens: two calls per candidate were a
            # third of a decision's time.
            cost = (n_input * usd_in + tokens * n * usd_out) / 1e6
            cost_upper = (n_input_upper * usd_in + tokens_upper * n * usd_out) / 1e6
            if sounds:
                heard, heard_upper = demand.audio_of(spec)
                cost = _with_sound_usd(spec, demand, n_input, heard, tokens)
                cost_upper = _with_sound_usd(spec, demand, n_input_upper, heard_upper, tokens_upper)
        estimates.append(
            CandidateEstimate(
                model_id=spec.model_id,
                quality=quality[i],
                quality_std=std[i],
                input_tokens=n_input,
                output_tokens=tokens,
                output_tokens_upper=tokens_upper,
                cost_usd=cost,
                cost_usd_upper=cost_upper,
            )
        )
    return estimates


def _of_the_moment(
    estimates: list[CandidateEstimate], constraints: Constraints
) -> list[CandidateEstimate]:
    """Return the estimates with what models cost and take at the moment."""
    usd, latencies = constraints.surcharges_usd, constraints.latencies
    if not usd and not latencies:
        return estimates
    return [
        msgspec.structs.replace(
            each,
            surcharge_usd=usd.get(each.model_id, 0.0),
            latency=latencies.get(each.model_id),
        )
        for each in estimates
    ]


def _exclude(estimate: CandidateEstimate, why: Barred) -> CandidateEstimate:
    return CandidateEstimate(
        model_id=estimate.model_id,
        quality=estimate.quality,
        quality_std=estimate.quality_std,
        input_tokens=estimate.input_tokens,
        output_tokens=estimate.output_tokens,
        output_tokens_upper=estimate.output_tokens_upper,
        cost_usd=estimate.cost_usd,
        cost_usd_upper=estimate.cost_usd_upper,
        exclusion=why[0],
        exclusion_detail=why[1],
        penalty=estimate.penalty,
        goal_costs=estimate.goal_costs,
        surcharge_usd=estimate.surcharge_usd,
        latency=estimate.latency,
    )


def _nobody(listed: Sequence[CandidateEstimate]) -> NoEligibleModelError:
    return NoEligibleModelError(
        {each.model_id: each.exclusion_detail or "" for each in listed},
        too_long=any(each.exclusion is Exclusion.CONTEXT_WINDOW for each in listed),
    )
