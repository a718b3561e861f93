"""Raise the tier of a task that does not get on, and keep what is done beside it cheap."""

from collections.abc import Sequence

from msgspec.structs import replace

from app.gateway.policy import StallRule
from app.gateway.request import RouteRequest
from app.wire.moves import moves_of
from app.wire.turns import Turn
from routers.objectives import CostQuality
from routers.text.housekeeping import Housekeeping, housekeeping_of
from routers.text.stalls import stall_of

_LIKE_ANY_OTHER = frozenset({Housekeeping.SUMMARY})
"""The work goes on with nothing but the summary: it is not raised, and not lowered."""


def heed_stalls(request: RouteRequest, turns: Sequence[Turn]) -> RouteRequest:
    """Return the request with the knob that its task has come to.

    Only the policy's own knob is moved: what a client asks for by itself stands, as do the limits
    of costs, budgets and models.
    """
    policy, knob = request.policy, request.objective
    if policy is None or policy.stalls is None or request.pinned_model_id is not None:
        return request
    if request.objective_param is not None or not isinstance(knob, CostQuality):
        return request
    rule = policy.stalls
    # Declared documents are told before what is asked, which is then read beneath them.
    conversation = request.conversation
    housekeeping = housekeeping_of(conversation) or housekeeping_of(request.routed_by)
    if housekeeping is not None:
        return _kept_cheap(request, knob, rule, housekeeping)
    stall = stall_of(moves_of(turns))
    if not stall.level:
        return request
    raised = rule.cost_quality[min(stall.level, len(rule.cost_quality)) - 1]
    return replace(request, stall=stall, objective=CostQuality(max(knob.t, raised)))


def _kept_cheap(
    request: RouteRequest, knob: CostQuality, rule: StallRule, housekeeping: Housekeeping
) -> RouteRequest:
    if rule.housekeeping_cost_quality is None or housekeeping in _LIKE_ANY_OTHER:
        return replace(request, housekeeping=housekeeping)
    lowered = min(knob.t, rule.housekeeping_cost_quality)
    return replace(request, housekeeping=housekeeping, objective=CostQuality(lowered))
