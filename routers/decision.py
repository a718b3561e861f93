"""From predictions to a decision: constraints first, then one rule of quality against cost."""

import itertools
import math
from collections.abc import Sequence
from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from routers.constraints import Barred, hard_constraint
from routers.errors import NoEligibleModelError
from routers.knob import TIE, KnobCurve
from routers.pairwise import strong_scores
from routers.types import (
    CandidateEstimate,
    Constraints,
    CostQuality,
    Decision,
    Demand,
    Exclusion,
    KnobStep,
    MaxQualityLoss,
    MinQuality,
    ModelSpec,
    Objective,
    Predictions,
    Reason,
    StrongThreshold,
    UsdPerQuality,
)

_ANY_OBJECTIVE = CostQuality(1.0)
"""Stands where no objective narrows the candidates."""

_DEAREST = 1e300
"""Stands for an unknown cost where costs only break ties."""


def choose(
    quality: NDArray[np.floating],
    cost_usd: NDArray[np.floating],
    usd_per_quality: float,
    *,
    model_ids: Sequence[str] | None = None,
) -> NDArray[np.intp]:
    """Return the column that maximises quality - cost / usd_per_quality, row by row.

    This one function serves calibration, batches and live requests, so that what was calibrated
    is what happens.

    Parameters
    ----------
    quality, cost_usd
        (n_queries, n_models). Costs may be NaN or infinite (unknown) only where
        `usd_per_quality` is infinite.
    usd_per_quality
        What one unit of quality is worth, in US dollars: 0 takes the cheapest (of equal costs
        the one of higher quality), infinity the highest quality.
    model_ids
        Names of the columns. Utilities within 1e-9 (in quality units) are a tie: the cheaper
        one wins, then the lexicographically first id, or the first column without ids.

    References
    ----------
    Somerstep et al. 2025, CARROT, arXiv:2502.03261 (the plug-in rule).
    """
    q = np.asarray(quality, dtype=np.float64)
    cost = np.asarray(cost_usd, dtype=np.float64)
    order: NDArray[np.intp] | None = None
    winner: NDArray[np.intp]
    if model_ids is not None and any(a > b for a, b in itertools.pairwise(model_ids)):
        order = np.asarray(sorted(range(len(model_ids)), key=model_ids.__getitem__))
        q, cost = q[:, order], cost[:, order]
    if usd_per_quality == 0:
        cheapest = cost <= cost.min(axis=1, keepdims=True)
        q = np.where(cheapest, q, -np.inf)
        winner = (q >= q.max(axis=1, keepdims=True) - TIE).argmax(axis=1)
    else:
        if math.isinf(usd_per_quality):
            cost = np.fmin(cost, _DEAREST)
            utility, tie = q, TIE
        else:
            # The same rule times the rate: at small rates cost / rate would drown the quality.
            utility, tie = usd_per_quality * q - cost, TIE * usd_per_quality
        tied = utility >= utility.max(axis=1, keepdims=True) - tie
        winner = np.where(tied, cost, np.inf).argmin(axis=1)
    return winner if order is None else np.asarray(order[winner])


def decide(
    *,
    candidates: Sequence[ModelSpec],
    predictions: Predictions,
    demand: Demand,
    constraints: Constraints,
    objective: Objective,
    knob: KnobCurve,
) -> Decision:
    """Choose among `candidates` for one request.

    Parameters
    ----------
    predictions
        One row, columns aligned with `candidates`.
    knob
        The calibrated curve of these candidates at their current prices.

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
    """
    rate = _rate(objective, knob)
    price_free = _ignores_cost(objective, rate) and constraints.max_cost_usd is None
    estimates = _estimates(candidates, predictions, demand)
    barred = [
        hard_constraint(spec, estimate, demand, constraints, objective, price_free=price_free)
        for spec, estimate in zip(candidates, estimates, strict=True)
    ]
    unhealthy = constraints.unhealthy_model_ids
    if unhealthy:
        able = [spec.model_id for spec, why in zip(candidates, barred, strict=True) if not why]
        if any(model_id not in unhealthy for model_id in able):
            for i, spec in enumerate(candidates):
                if spec.model_id in unhealthy and barred[i] is None:
                    barred[i] = (
                        Exclusion.UNHEALTHY,
                        "its upstream fails or is throttled at present",
                    )
    eligible: list[CandidateEstimate] = []
    listed: list[CandidateEstimate] = []
    for estimate, why in zip(estimates, barred, strict=True):
        each = estimate if why is None else _exclude(estimate, why)
        listed.append(each)
        if why is None:
            eligible.append(each)
    if not eligible:
        raise NoEligibleModelError({each.model_id: each.exclusion_detail or "" for each in listed})
    if isinstance(objective, StrongThreshold):
        ranked = _by_threshold(
            [each.model_id for each in eligible], objective, candidates, predictions
        )
        reason = Reason.THRESHOLD
    else:
        ranked, reason = _rank(eligible, objective, rate)
    if len(ranked) == 1 and reason is not Reason.MIN_QUALITY_UNMET:
        reason = Reason.ONLY_ELIGIBLE
    return Decision(
        model_id=ranked[0],
        fallbacks=tuple(ranked[1:]),
        candidates=tuple(listed),
        reason=reason,
        usd_per_quality=rate,
    )


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
    listed: list[CandidateEstimate] = []
    limit_usd = constraints.max_cost_usd
    for spec in candidates:
        limits = [n for n in (demand.max_output_tokens, spec.max_output_tokens) if n is not None]
        longest = min(limits) if limits else None
        estimate = CandidateEstimate(
            model_id=spec.model_id,
            quality=None,
            quality_std=None,
            input_tokens=demand.input_tokens,
            output_tokens=None,
            output_tokens_upper=longest,
            cost_usd=None,
            cost_usd_upper=None
            if longest is None
            else spec.prices.cost_usd(
                input_tokens=demand.input_tokens_upper, output_tokens=longest * demand.n_answers
            ),
        )
        why = hard_constraint(
            spec, estimate, demand, constraints, _ANY_OBJECTIVE, price_free=limit_usd is None
        )
        listed.append(estimate if why is None else _exclude(estimate, why))
    eligible = [each.model_id for each in listed if each.eligible]
    if not eligible:
        raise NoEligibleModelError({each.model_id: each.exclusion_detail or "" for each in listed})
    healthy = [each for each in eligible if each not in constraints.unhealthy_model_ids]
    ranked = sorted(healthy or eligible, key=lambda model_id: model_id != default_model_id)
    return Decision(
        model_id=ranked[0],
        fallbacks=tuple(ranked[1:]),
        candidates=tuple(listed),
        reason=reason,
        usd_per_quality=None,
    )


def knob_steps(decision: Decision, knob: KnobCurve) -> tuple[KnobStep, ...]:
    """Return which candidate wins in which range of the cost-quality knob.

    The ranges cover [0, 1] in order; a range of zero width stands only at 0 or 1, where the
    winner of the exact end (cheapest, best) is not that of its neighbourhood. Candidates that
    were excluded, or whose cost is unknown, take no part.
    """
    priced = [each for each in decision.candidates if each.eligible and each.cost_usd is not None]
    if not priced:
        return (_step(0.0, 1.0, decision.model_id),)
    points = [(_known(each.quality), _known(each.cost_usd), each.model_id) for each in priced]
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
    return tuple(steps)


def _step(start: float, to: float, model_id: str) -> KnobStep:
    return KnobStep(from_cost_quality=start, to_cost_quality=to, model_id=model_id)


def _rate(objective: Objective, knob: KnobCurve) -> float | None:
    match objective:
        case CostQuality(t):
            return knob.usd_per_quality_for(t)
        case UsdPerQuality(usd_per_quality):
            return usd_per_quality
        case MaxQualityLoss() | MinQuality() | StrongThreshold():
            return None
        case _:
            assert_never(objective)


def _ignores_cost(objective: Objective, rate: float | None) -> bool:
    return isinstance(objective, StrongThreshold) or rate == math.inf


def _estimates(
    candidates: Sequence[ModelSpec], predictions: Predictions, demand: Demand
) -> list[CandidateEstimate]:
    # Plain floats: for some ten candidates they beat arrays by far.
    quality = predictions.quality[0].tolist()
    std = predictions.quality_std[0].tolist()
    expected = predictions.output_tokens[0].tolist()
    upper = predictions.output_tokens_upper[0].tolist()
    asked = math.inf if demand.max_output_tokens is None else float(demand.max_output_tokens)
    n = demand.n_answers
    estimates = []
    for i, spec in enumerate(candidates):
        cap = asked
        if spec.max_output_tokens is not None and spec.max_output_tokens < cap:
            cap = float(spec.max_output_tokens)
        tokens = min(expected[i], cap)
        tokens_upper = min(max(upper[i], tokens), cap)
        prices = spec.prices
        estimates.append(
            CandidateEstimate(
                model_id=spec.model_id,
                quality=quality[i],
                quality_std=std[i],
                input_tokens=demand.input_tokens,
                output_tokens=tokens,
                output_tokens_upper=tokens_upper,
                cost_usd=prices.cost_usd(
                    input_tokens=demand.input_tokens, output_tokens=tokens * n
                ),
                cost_usd_upper=prices.cost_usd(
                    input_tokens=demand.input_tokens_upper, output_tokens=tokens_upper * n
                ),
            )
        )
    return estimates


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
    )


def _known(value: float | None) -> float:
    return _DEAREST if value is None else value


def _rank(
    eligible: list[CandidateEstimate],
    objective: CostQuality | UsdPerQuality | MaxQualityLoss | MinQuality,
    rate: float | None,
) -> tuple[list[str], Reason]:
    """Order the eligible candidates, best first."""
    match objective:
        case CostQuality() | UsdPerQuality():
            return _by_rate(eligible, _known(rate)), Reason.KNOB
        case MaxQualityLoss(loss):
            best = max(_known(each.quality) for each in eligible)
            return _cheapest_reaching(eligible, best - loss)[0], Reason.KNOB
        case MinQuality(quality):
            ranked, reached = _cheapest_reaching(eligible, quality)
            return ranked, Reason.KNOB if reached else Reason.MIN_QUALITY_UNMET
        case _:
            assert_never(objective)


def _by_rate(eligible: list[CandidateEstimate], rate: float) -> list[str]:
    rows = [(each.model_id, _known(each.quality), _known(each.cost_usd)) for each in eligible]
    if len(rows) == 1:
        return [rows[0][0]]
    rows.sort()
    table = np.array([[row[1] for row in rows], [row[2] for row in rows]])
    winner = rows.pop(int(choose(table[:1], table[1:], rate)[0]))
    if rate == 0:
        rows.sort(key=lambda row: (row[2], -row[1]))
    elif rate == math.inf:
        rows.sort(key=lambda row: (-row[1], row[2]))
    else:
        rows.sort(key=lambda row: (row[2] - rate * row[1], row[2]))
    return [winner[0], *(row[0] for row in rows)]


def _cheapest_reaching(eligible: list[CandidateEstimate], quality: float) -> tuple[list[str], bool]:
    """Those that reach `quality` by cost, then the others by quality."""

    def key(each: CandidateEstimate) -> tuple[bool, float, float, str]:
        q, cost = _known(each.quality), _known(each.cost_usd)
        if q >= quality - TIE:
            return False, cost, -q, each.model_id
        return True, -q, cost, each.model_id

    ranked = sorted(eligible, key=key)
    return [each.model_id for each in ranked], not key(ranked[0])[0]


def _by_threshold(
    eligible: list[str],
    objective: StrongThreshold,
    candidates: Sequence[ModelSpec],
    predictions: Predictions,
) -> list[str]:
    if len(eligible) == 1:
        return eligible
    column = {spec.model_id: i for i, spec in enumerate(candidates)}
    pair = [objective.strong, objective.weak]
    score = strong_scores(predictions, strong=column[pair[0]], weak=column[pair[1]])[0]
    return pair if score >= objective.threshold else pair[::-1]
