"""Which models may answer a request of a batch, and what is predicted of each."""

from collections.abc import Mapping

from app.batches.door import Candidate
from app.gateway.decide import decide_now
from app.gateway.money.paid import DEFAULT_OUTPUT_TOKENS
from app.gateway.request import RouteRequest
from routers.models import ModelSpec
from routers.objectives import Constraints


def candidates_for(request: RouteRequest, specs: Mapping[str, ModelSpec]) -> tuple[Candidate, ...]:
    """Return what is predicted of the models that may answer a request.

    Raises
    ------
    NoEligibleModelError
        If none may.
    """
    if request.pinned_model_id is not None or request.policy is None:
        return _pinned(request, specs)
    return _routed(request)


def _routed(request: RouteRequest) -> tuple[Candidate, ...]:
    """Return what a policy predicts of a request.

    Health is not looked at: what is down now may be up when it is asked.
    """
    policy = request.policy
    assert policy is not None  # noqa: S101  (it is routed)
    decision = decide_now(
        request,
        policy,
        Constraints(
            output_limit=policy.output_limit,
            allowed_model_ids=request.allowed_model_ids,
            max_cost_usd=request.max_cost_usd,
            wishes=request.wishes,
        ),
    )
    return tuple(
        Candidate(
            model=each.model_id,
            quality=each.quality,
            cost_usd=each.cost_usd,
            cost_usd_upper=each.cost_usd if each.cost_usd_upper is None else each.cost_usd_upper,
        )
        for each in decision.candidates
        if each.eligible and each.cost_usd is not None
    )


def _pinned(request: RouteRequest, specs: Mapping[str, ModelSpec]) -> tuple[Candidate, ...]:
    """Return the one model that a request names, with what it will probably cost."""
    model_id = request.pinned_model_id
    spec = None if model_id is None else specs.get(model_id)
    if spec is None:
        return ()
    demand, prices = request.demand, spec.prices
    limits = (demand.max_output_tokens, spec.max_output_tokens, DEFAULT_OUTPUT_TOKENS)
    output_tokens = min(each for each in limits if each is not None) * demand.n_answers
    rest_usd = prices.usd_per_answer * demand.n_answers
    rest_usd += output_tokens * (prices.output_usd_per_mtok or 0.0) / 1e6
    cost_usd, upper_usd = (
        rest_usd + tokens * (prices.input_usd_per_mtok or 0.0) / 1e6
        for tokens in demand.input_of(spec)
    )
    return (
        Candidate(model=spec.model_id, quality=None, cost_usd=cost_usd, cost_usd_upper=upper_usd),
    )
