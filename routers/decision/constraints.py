"""The hard constraints that come before any score."""

import math
from collections.abc import Sequence

from routers.decisions import CandidateEstimate, Exclusion
from routers.models import Capability, Demand, ModelSpec
from routers.objectives import Constraints, Objective, OutputLimit, StrongThreshold

_LACKING: dict[Capability, Exclusion] = {
    Capability.VISION: Exclusion.VISION,
    Capability.AUDIO: Exclusion.AUDIO,
    Capability.VIDEO: Exclusion.VIDEO,
    Capability.FILE: Exclusion.FILE,
    Capability.TOOLS: Exclusion.TOOLS,
    Capability.JSON_SCHEMA: Exclusion.JSON_SCHEMA,
    Capability.STREAMING: Exclusion.STREAMING,
    Capability.MESSAGES_API: Exclusion.MESSAGES_API,
}

_MEANING = {
    Capability.MESSAGES_API: ": the request has what only Anthropic's servers know (tools such as "
    "web search, code execution, computer use or memory, MCP servers, a container); it takes a "
    "model with an upstream of kind anthropic"
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
    wishes, limit_usd = constraints.wishes, constraints.max_cost_usd
    anyone = constraints.allowed_model_ids is None and not isinstance(objective, StrongThreshold)
    anyone = anyone and (wishes is None or not wishes.demands)
    needed, media = demand.capabilities, demand.media
    by_model = demand.differs_by_model
    n_images = 0 if media is None else len(media.pictures)
    asked, unpayable = demand.max_output_tokens, constraints.unpayable
    found: list[Barred | None] = []
    for spec, estimate in zip(candidates, estimates, strict=True):
        why: Barred | None = None
        unwanted = None if anyone else _unwanted(spec, constraints, objective)
        output = math.ceil(estimate.output_tokens or 0)
        prompt = demand.input_tokens_upper
        if by_model or spec.prompt_tokens:
            prompt = demand.input_of(spec)[1]
        if unwanted is not None:
            why = unwanted
        elif spec.model_id in constraints.over_share:
            # Before what it cannot do: a chain may yet give it a task that needs less.
            why = Exclusion.SHARE, constraints.over_share[spec.model_id]
        elif not needed <= spec.capabilities or n_images > (spec.max_images or n_images):
            why = _unable(spec, needed, n_images)
        elif prompt + output > spec.context_window_tokens:
            why = _too_long(spec, demand, output)
        elif spec.model_id in unpayable:
            why = Exclusion.UNKNOWN_PRICE, unpayable[spec.model_id]
        elif not price_free and (limit_usd is not None or estimate.cost_usd_upper is None):
            why = _too_dear(estimate.cost_usd_upper, limit_usd)
        found.append(why)
    rule = constraints.output_limit
    if asked is None or rule is OutputLimit.CUT:
        return found
    return _whole_answers(candidates, demand, asked, found, rule)


def _whole_answers(
    candidates: Sequence[ModelSpec],
    demand: Demand,
    asked: int,
    found: list[Barred | None],
    rule: OutputLimit,
) -> list[Barred | None]:
    """Keep out who gives less output than was asked for, if somebody who may serve gives it all.

    Where nobody does, clients get what there is, unless the rule refuses them: many ask for more
    than any model gives, and cannot know how much that is.
    """
    less = [
        _gives_less(spec, demand, asked) if why is None else None
        for spec, why in zip(candidates, found, strict=True)
    ]
    if rule is OutputLimit.PREFER and all(
        each is not None for each, why in zip(less, found, strict=True) if why is None
    ):
        return found
    return [why or each for why, each in zip(found, less, strict=True)]


def _gives_less(spec: ModelSpec, demand: Demand, asked: int) -> Barred | None:
    limit = spec.max_output_tokens
    if limit is not None and asked > limit:
        return (
            Exclusion.MAX_OUTPUT_TOKENS,
            f"{asked} output tokens requested, it gives {limit}",
        )
    if demand.input_of(spec)[1] + asked > spec.context_window_tokens:
        return _too_long(spec, demand, asked)
    return None


def _unwanted(spec: ModelSpec, constraints: Constraints, objective: Objective) -> Barred | None:
    allowed, model_id = constraints.allowed_model_ids, spec.model_id
    if allowed is not None and model_id not in allowed:
        return Exclusion.NOT_ALLOWED, "not in the allow-list of this request"
    if isinstance(objective, StrongThreshold) and model_id not in (
        objective.strong,
        objective.weak,
    ):
        why = "not one of the two models that the threshold decides between"
        return Exclusion.NOT_ALLOWED, why
    unmet = None if constraints.wishes is None else constraints.wishes.unmet(spec.traits)
    return None if unmet is None else (Exclusion.WISHES, unmet)


def _unable(spec: ModelSpec, needed: frozenset[Capability], n_images: int) -> Barred:
    lacking = min(needed - spec.capabilities, default=None)
    if lacking is None:
        return Exclusion.MAX_IMAGES, (
            f"takes at most {spec.max_images} images, the request has {n_images}"
        )
    return _LACKING[lacking], f"does not offer {lacking.value}{_MEANING.get(lacking, '')}"


def _too_long(spec: ModelSpec, demand: Demand, output: int) -> Barred:
    kind = "requested" if output == demand.max_output_tokens else "predicted"
    prompt = demand.input_of(spec)[1]
    return Exclusion.CONTEXT_WINDOW, (
        f"needs up to {prompt + output} tokens "
        f"({prompt} of prompt, {output} {kind} of output); "
        f"its context window holds {spec.context_window_tokens}"
    )


def _too_dear(upper_usd: float | None, limit_usd: float | None) -> Barred | None:
    if upper_usd is None:
        return Exclusion.UNKNOWN_PRICE, "its price is unknown and the request weighs costs"
    if limit_usd is not None and upper_usd > limit_usd:
        return Exclusion.MAX_COST, f"may cost ${upper_usd:.6g}, the limit is ${limit_usd:.6g}"
    return None
