"""A client's effort picks among the variants of each model: they differ in it alone."""

from collections.abc import Sequence

import msgspec

from app.gateway.policy import Policy
from app.wire.body import Body
from app.wire.chat_changes import EFFORTS
from app.wire.decoding import DECODE_ERRORS
from routers.models import ModelSpec

_FIELD = "reasoning_effort"


def allowed_by_effort(
    policy: Policy, body: Body, allowed: frozenset[str] | None
) -> frozenset[str] | None:
    """Return the models that may serve, without variants of another effort than the client names.

    Where no variant of a model has it, the one that comes nearest stays. Models without variants
    take the effort as it is.
    """
    variants = [spec for spec in policy.candidates if spec.effort is not None]
    if not variants:
        return allowed
    effort = _named(body)
    if effort is None:
        return allowed
    by_model: dict[str, list[ModelSpec]] = {}
    for spec in variants:
        if allowed is None or spec.model_id in allowed:
            by_model.setdefault(spec.variant_of or spec.model_id, []).append(spec)
    out = {
        spec.model_id
        for group in by_model.values()
        for spec in group
        if spec.effort != _nearest(effort, group)
    }
    if not out:
        return allowed
    before = {spec.model_id for spec in policy.candidates} if allowed is None else allowed
    return frozenset(before - out)


def _named(body: Body) -> str | None:
    raw = body.chat().get(_FIELD)
    if raw is None:
        return None
    try:
        effort = msgspec.json.decode(raw)
    except DECODE_ERRORS:
        return None
    return effort if effort in EFFORTS else None


def _nearest(effort: str, variants: Sequence[ModelSpec]) -> str | None:
    def distance(spec: ModelSpec) -> tuple[int, int]:
        at = EFFORTS.index(spec.effort or "none")
        return abs(at - EFFORTS.index(effort)), -at

    return min(variants, key=distance).effort
