"""The hard constraints that come before any score."""

import math
from collections.abc import Sequence

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
    Capability.VIDEO: Exclusion.VIDEO,
    Capability.FILE: Exclusion.FILE,
    Capability.TOOLS: Exclusion.TOOLS,
    Capability.JSON_SCHEMA: Exclusion.JSON_SCHEMA,
    Capability.STREAMING: Exclusion.STREAMING,
}

Barred = tuple[Exclusion, str]
"""What keeps a candidate out, for machines and for people."""


def hard_constraints(
    candidates: Sequence[ModelSpec],
    estimates: Sequence[CandidateEstimate],
    demand: Demand,
    constraints: Constraints,
    objective: Objective,
    *,
    price_free: bool,
) -> list[Barred | None]:
    """Return, for each candidate, the first hard constraint, health aside, that keeps it out."""
    allowed, limit_usd = constraints.allowed_model_ids, constraints.max_cost_usd
    anyone = allowed is None and not isinstance(objective, StrongThreshold)
    needed, asked, prompt = demand.capabilities, demand.max_output_tokens, demand.input_tokens_upper
    found: list[Barred | None] = []
    for spec, estimate in zip(candidates, estimates, strict=True):
        why: Barred | None = None
        limit = spec.max_output_tokens
        unwanted = None if anyone else _unwanted(spec.model_id, allowed, objective)
        output = math.ceil(estimate.output_tokens or 0) if asked is None else asked
        if unwanted is not None:
            why = Exclusion.NOT_ALLOWED, unwanted
        elif not needed <= spec.capabilities:
            lacking = min(needed - spec.capabilities)
            why = _LACKING[lacking], f"does not offer {lacking.value}"
        elif prompt + output > spec.context_window_tokens:
            why = _too_long(spec, demand, output)
        elif asked is not None and limit is not None and asked > limit:
            why = (
                Exclusion.MAX_OUTPUT_TOKENS,
                f"{asked} output tokens requested, it gives {limit}",
            )
        elif not price_free and (limit_usd is not None or estimate.cost_usd_upper is None):
            why = _too_dear(estimate.cost_usd_upper, limit_usd)
        found.append(why)
    return found


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
