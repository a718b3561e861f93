"""What the dispatcher carries out for a request: a value, made of its decision."""

from dataclasses import dataclass

from app.gateway.request import RouteRequest
from routers.types import Decision


@dataclass(frozen=True, slots=True)
class FirstOf:
    """Try models one after the other; the first that begins to answer serves."""

    models: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Hedged:
    """As `FirstOf`, with the second model beside the first once that is silent for `after_s`."""

    models: tuple[str, ...]
    after_s: float


Plan = FirstOf | Hedged


def plan_for(request: RouteRequest, decision: Decision) -> Plan:
    """Return how a request is answered.

    Fallbacks are candidates of the decision, so they passed its constraints (allowed models, cost
    limit) too. A request that is pinned, locked or wants none stays with the one model.
    """
    policy = request.policy
    if policy is None or request.locked or not request.fallback:
        return FirstOf((decision.model_id,))
    models = (decision.model_id, *decision.fallbacks)[: policy.max_attempts]
    if (
        policy.hedge_after_s is None
        or len(models) == 1
        or not _may_hedge(request, decision, models)
    ):
        return FirstOf(models)
    return Hedged(models, policy.hedge_after_s)


def _may_hedge(request: RouteRequest, decision: Decision, models: tuple[str, ...]) -> bool:
    """Return whether any two of the models together stay within what the request may cost."""
    if request.max_cost_usd is None:
        return True
    estimates = [decision.estimate(model_id) for model_id in models]
    upper = [each.cost_usd_upper for each in estimates if each is not None]
    known = [cost for cost in upper if cost is not None]
    return len(known) == len(models) and sum(sorted(known)[-2:]) <= request.max_cost_usd
