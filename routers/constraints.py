"""The hard constraints that come before any score."""

import math

from routers.types import (
    CandidateEstimate,
    Capability,
    Constraints,
    Demand,
    Exclusion,
    ModelSpec,
    Objective,
    StrongThreshold,
)

_LACKING: dict[Capability, Exclusion] = {
    Capability.VISION: Exclusion.VISION,
    Capability.AUDIO: Exclusion.AUDIO,
    Capability.TOOLS: Exclusion.TOOLS,
    Capability.JSON_SCHEMA: Exclusion.JSON_SCHEMA,
    Capability.STREAMING: Exclusion.STREAMING,
}

Barred = tuple[Exclusion, str]
"""What keeps a candidate out, for machines and for people."""


def hard_constraint(
    spec: ModelSpec,
    estimate: CandidateEstimate,
    demand: Demand,
    constraints: Constraints,
    objective: Objective,
    *,
    price_free: bool,
) -> Barred | None:
    """Return the first hard constraint, health aside, that keeps a candidate out."""
    unwanted = _unwanted(spec.model_id, constraints.allowed_model_ids, objective)
    if unwanted is not None:
        return Exclusion.NOT_ALLOWED, unwanted
    if not demand.capabilities <= spec.capabilities:
        lacking = min(demand.capabilities - spec.capabilities)
        return _LACKING[lacking], f"does not offer {lacking.value}"
    asked, limit = demand.max_output_tokens, spec.max_output_tokens
    output = math.ceil(estimate.output_tokens or 0) if asked is None else asked
    if demand.input_tokens_upper + output > spec.context_window_tokens:
        return _too_long(spec, demand, output)
    if asked is not None and limit is not None and asked > limit:
        return Exclusion.MAX_OUTPUT_TOKENS, f"{asked} output tokens requested, it gives {limit}"
    if price_free:
        return None
    return _too_dear(estimate.cost_usd_upper, constraints.max_cost_usd)


def _unwanted(model_id: str, allowed: frozenset[str] | None, objective: Objective) -> str | None:
    if allowed is not None and model_id not in allowed:
        return "not in the allow-list of this request"
    if isinstance(objective, StrongThreshold) and model_id not in (
        objective.strong,
        objective.weak,
    ):
        return "not one of the two models that the threshold decides between"
    return None


def _too_long(spec: ModelSpec, demand: Demand, output: int) -> Barred:
    kind = "predicted" if demand.max_output_tokens is None else "requested"
    return Exclusion.CONTEXT_WINDOW, (
        f"needs up to {demand.input_tokens_upper + output} tokens "
        f"({demand.input_tokens_upper} of prompt, {output} {kind} of output); "
        f"its context window holds {spec.context_window_tokens}"
    )


def _too_dear(upper_usd: float | None, limit_usd: float | None) -> Barred | None:
    if upper_usd is None:
        return Exclusion.UNKNOWN_PRICE, "its price is unknown and the request weighs costs"
    if limit_usd is not None and upper_usd > limit_usd:
        return Exclusion.MAX_COST, f"may cost ${upper_usd:.6g}, the limit is ${limit_usd:.6g}"
    return None
