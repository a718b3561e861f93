"""Which models a request is tried on, in which order."""

from app.gateway.request import RouteRequest
from routers.types import Decision


def models_to_try(
    request: RouteRequest, decision: Decision
) -> tuple[tuple[str, ...], float | None]:
    """Return the models in order, and after how long the second is started beside the first.

    Fallbacks are candidates of the decision, so they passed its constraints (allowed models, cost
    limit) too. A request that is pinned, locked or wants none stays with the one model.
    """
    policy = request.policy
    if policy is None or request.locked or not request.fallback:
        return (decision.model_id,), None
    model_ids = (decision.model_id, *decision.fallbacks)[: policy.max_attempts]
    hedge_after_s = policy.hedge_after_s
    if hedge_after_s is not None and not _may_hedge(request, decision, model_ids):
        hedge_after_s = None
    return model_ids, hedge_after_s


def _may_hedge(request: RouteRequest, decision: Decision, model_ids: tuple[str, ...]) -> bool:
    """Return whether any two of the models together stay within what the request may cost."""
    if request.max_cost_usd is None:
        return True
    estimates = [decision.estimate(model_id) for model_id in model_ids]
    upper = [each.cost_usd_upper for each in estimates if each is not None]
    known = [cost for cost in upper if cost is not None]
    return len(known) == len(model_ids) and sum(sorted(known)[-2:]) <= request.max_cost_usd
