"""What a key may ask for: applied to a request that is otherwise understood."""

from collections.abc import Collection

from msgspec.structs import replace

from app.access.guard import Caller
from app.errors import ForbiddenError
from app.gateway.images import with_arms
from app.gateway.policy import Policy
from app.gateway.request import RouteRequest
from app.keys import KeyRecord
from routers.objectives import CostQuality, Objective


def permit(request: RouteRequest, caller: Caller, *, guarded: Collection[str] = ()) -> RouteRequest:
    """Return the request as far as its caller's key allows it.

    A routed request is narrowed to the models of the key. A knob that the client asked for is
    taken or refused, never moved in silence; one that it left open is moved into the key's range.

    Parameters
    ----------
    guarded
        Names of policies with a guard. A key that may use no others cannot go around it by naming a
        model.

    Raises
    ------
    ForbiddenError
        `model_not_allowed`, `policy_not_allowed` or `knob_out_of_range`, with what is allowed.
    """
    key = caller.key
    if key is None:
        return request
    policy, pinned = request.policy, request.pinned_model_id
    if pinned is not None or policy is None:
        if key.models is not None and pinned not in key.models:
            raise _model_not_allowed(key, request.requested_model)
        if key.policies and all(each in guarded for each in key.policies):
            raise ForbiddenError(
                "this key names policies only, which guard what is asked: "
                + _listed(frozenset(f"auto:{each}" for each in key.policies)),
                param="model",
                code="model_not_allowed",
            )
        return request
    if key.policies is not None and policy.name not in key.policies:
        raise ForbiddenError(
            f"this key may not use the policy {policy.name!r}; it may use: {_listed(key.policies)}",
            param="model",
            code="policy_not_allowed",
        )
    allowed = _allowed_models(request, policy, key)
    objective = _objective(request, key)
    if allowed is request.allowed_model_ids and objective is request.objective:
        return request
    return replace(request, allowed_model_ids=allowed, objective=objective)


def may_move_knob(key: KeyRecord) -> bool:
    """Return whether the key's range of the knob is the whole one."""
    return key.least_cost_quality <= 0 and key.most_cost_quality >= 1


def _allowed_models(request: RouteRequest, policy: Policy, key: KeyRecord) -> frozenset[str] | None:
    if key.models is None:
        return request.allowed_model_ids
    usable = with_arms(policy, key.models)
    candidates = frozenset(spec.model_id for spec in policy.candidates)
    asked = candidates if request.allowed_model_ids is None else request.allowed_model_ids
    if asked <= usable:
        return request.allowed_model_ids  # so that keys alike share one curve of the knob
    allowed = candidates & asked & usable
    if not allowed:
        raise _model_not_allowed(key, request.requested_model)
    return allowed


def _model_not_allowed(key: KeyRecord, model: str) -> ForbiddenError:
    return ForbiddenError(
        f"this key may not use the model {model[:80]!r}; it may use: {_listed(key.models)}",
        param="model",
        code="model_not_allowed",
    )


def _objective(request: RouteRequest, key: KeyRecord) -> Objective | None:
    objective = request.objective
    if may_move_knob(key):
        return objective
    least, most = key.least_cost_quality, key.most_cost_quality
    if isinstance(objective, CostQuality):
        if least <= objective.t <= most:
            return objective
        if request.objective_param is None:
            return CostQuality(min(max(objective.t, least), most))
    elif request.objective_param is None:
        return objective  # the operator's own threshold, which has no position
    raise ForbiddenError(
        f"this key may set x-cost-quality from {least:g} to {most:g} and no other knob",
        param=request.objective_param,
        code="knob_out_of_range",
    )


def _listed(names: frozenset[str] | None) -> str:
    return ", ".join(sorted(names or ()))
