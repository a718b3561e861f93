"""What is told of a name that clients may send, for every kind of reader in one object.

OpenAI's clients read `id`, `created` and `owned_by`; Anthropic's `display_name`, `created_at` and
`max_input_tokens`; agents and chat windows OpenRouter's `context_length`, `pricing` and
`supported_parameters`; Codex a card of its own; whoever knows LiteLLM its `model_info`.
"""

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.access.guard import Caller
from app.config import LoadedConfig
from app.gateway.names import A_THRESHOLD, Names
from app.state import ActiveConfig
from app.wire.chat_changes import EFFORTS
from app.wire.parameters import ParameterRules
from routers.models import CHAT, Capability, ModelSpec
from routers.objectives import CostQuality, Objective, StrongThreshold

CREATED = 1_700_000_000
"""OpenAI's clients require a creation time; a configured name has none worth telling."""
CREATED_AT = dt.datetime.fromtimestamp(CREATED, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

_MODALITIES = {
    Capability.VISION: "image",
    Capability.AUDIO: "audio",
    Capability.VIDEO: "video",
    Capability.FILE: "file",
}
_PARAMETERS = (
    *("max_tokens", "max_completion_tokens", "temperature", "top_p", "stop", "seed"),
    *("frequency_penalty", "presence_penalty"),
)
_OF_TOOLS = ("tools", "tool_choice", "parallel_tool_calls")
_OF_SCHEMAS = ("response_format", "structured_outputs")
_NO = {"supported": False}
_MODES = {
    "embeddings": "embedding",
    "moderations": "moderation",
    "images": "image_generation",
}
"""What LiteLLM calls kinds of models, where that is another word."""
_CODEX_INSTRUCTIONS = (
    "You are Codex, a coding agent that works in the user's terminal and repository. Find out "
    "what there is before you change it: read files and search with the shell (rg, where it is "
    "there). Make the smallest change that does what was asked for, in the style of the code "
    "around it, and edit files with apply_patch where that tool is offered. Do not touch what you "
    "were not asked about, never undo changes that are not yours, and ask before anything that "
    "destroys data. Go on until the task is done: run the tests or the program to see that it "
    "works, and mend what fails. Keep the user informed in a few words, and end with what you "
    "changed, where, and what is left open."
)
"""Codex takes a model's instructions from its card, and sends none where the card has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is true of whatever may answer to a name.

    Attributes
    ----------
    kind
        `model`, `policy` or `threshold`.
    stands_for
        What an alias stands for; else None.
    specs
        The models that may answer, as far as the caller may use them.
    """

    name: str
    kind: str
    stands_for: str | None
    specs: tuple[ModelSpec, ...]
    rules: tuple[ParameterRules, ...] = ()
    """What has to be done to requests, at every place where any of them is served."""
    objective: Objective | None
    tasks: tuple[str, ...] = ()
    """What requests may name as `task`: the vocabulary of a policy."""
    recognises_tasks: bool = False
    """Whether the task of a prompt is looked for where none is named."""

    @property
    def context_tokens(self) -> int:
        """How much prompt and answer may have together; a longer one goes to whom it fits."""
        return max(spec.context_window_tokens for spec in self.specs)

    @property
    def output_tokens(self) -> int:
        """The longest answer that anybody gives."""
        return max(spec.max_output_tokens or spec.context_window_tokens for spec in self.specs)

    @property
    def offers(self) -> frozenset[Capability]:
        """What requests may need: somebody offers it."""
        return frozenset[Capability]().union(*(spec.capabilities for spec in self.specs))

    @property
    def inputs(self) -> list[str]:
        """What messages may hold."""
        offers = self.offers
        return ["text", *(word for each, word in _MODALITIES.items() if each in offers)]

    @property
    def parameters(self) -> list[str]:
        """The fields of requests that have an effect, of models that chat."""
        if any(spec.kind != CHAT for spec in self.specs):
            return []
        offers = self.offers
        tools = _OF_TOOLS if Capability.TOOLS in offers else ()
        schemas = _OF_SCHEMAS if Capability.JSON_SCHEMA in offers else ()
        effort = ("reasoning_effort",) if self.efforts else ()
        refused = [rules.refused for rules in self.rules]
        useless = frozenset.intersection(*refused) if refused else frozenset[str]()
        return [each for each in (*_PARAMETERS, *tools, *schemas, *effort) if each not in useless]

    @property
    def efforts(self) -> tuple[str, ...]:
        """The levels of `reasoning_effort` that somebody knows, as far as that is known."""
        known = {effort for rules in self.rules for effort in rules.efforts or ()}
        return tuple(each for each in EFFORTS if each in known)

    @property
    def thinking(self) -> frozenset[str]:
        """The ways in which somebody takes Anthropic's `thinking`, as far as that is known."""
        return frozenset(kind for rules in self.rules for kind in rules.thinking or ())

    @property
    def is_of_anthropics(self) -> bool:
        """Whether somebody is a model of Anthropic's that its own API serves."""
        return Capability.MESSAGES_API in self.offers and any(
            rules.thinking is not None for rules in self.rules
        )


def listed_facts(names: Names, serving: ActiveConfig, caller: Caller) -> Iterator[Facts]:
    """Yield what is told of every name that is listed to a caller; patterns are not."""
    for name in names.listed():
        if not name.endswith(A_THRESHOLD) and "*" not in name:
            yield facts_of(name, names, serving, caller)


def facts_of(name: str, names: Names, serving: ActiveConfig, caller: Caller) -> Facts:
    """Return what is told of one name, whether it is listed or not (`auto:0.7`).

    Raises
    ------
    ModelNotFoundError, InvalidRequestError
        If it is none.
    """
    meant, config = names.meant(name), serving.config
    kind, objective = "policy", None
    tasks: tuple[str, ...] = ()
    recognises = False
    if meant.name in names.model_ids:
        kind, specs = "model", [config.specs[meant.name]]
    elif meant.name.startswith("router-"):
        pair = names.pairs.get(meant.name.removeprefix("router-").partition("-")[0])
        if pair is None:
            raise names.not_found(name)
        kind, specs = "threshold", [config.specs[each] for each in (pair.strong, pair.weak)]
    else:
        policy = names.policies[meant.policy or names.default_policy]
        specs, objective = list(policy.candidates), policy.objective
        tasks, recognises = tuple(sorted(policy.tasks or ())), policy.recogniser is not None
        if meant.policy is None and names.default_objective is not None:
            objective = names.default_objective
        if meant.cost_quality is not None:
            objective = CostQuality(meant.cost_quality)
    allowed = None if caller.key is None else caller.key.models
    usable = [spec for spec in specs if allowed is None or spec.model_id in allowed]
    if not usable:
        raise names.not_found(name)
    aliased = None if name in names.model_ids else names.aliases.target(name)
    return Facts(
        name=name,
        kind=kind,
        stands_for=None if aliased is None else aliased.name,
        specs=tuple(usable),
        rules=tuple(
            place.parameters for spec in usable for place in serving.deployments[spec.model_id]
        ),
        objective=objective,
        tasks=tasks,
        recognises_tasks=recognises,
    )


def card(facts: Facts, config: LoadedConfig) -> dict[str, Any]:
    """Return a name as OpenAI's, Anthropic's and OpenRouter's clients read it."""
    return {
        "id": facts.name,
        "object": "model",
        "created": CREATED,
        "owned_by": "upstream" if facts.name == facts.specs[0].model_id else "steelyard",
        "type": "model",
        "display_name": facts.name,
        "created_at": CREATED_AT,
        "lifecycle": "active",
        "max_input_tokens": facts.context_tokens,
        "max_tokens": facts.output_tokens,
        "capabilities": _capabilities(facts),
        "context_length": facts.context_tokens,
        "max_model_len": facts.context_tokens,
        "max_output_tokens": facts.output_tokens,
        "architecture": {
            "modality": f"{'+'.join(facts.inputs)}->text",
            "input_modalities": facts.inputs,
            "output_modalities": ["text"],
        },
        "pricing": _pricing(facts.specs[0]) if facts.kind == "model" else None,
        "supported_parameters": facts.parameters,
        "steelyard": _own(facts, config),
    }


def _capabilities(facts: Facts) -> dict[str, Any]:
    """Return Anthropic's table; what a translated upstream may not have is not claimed."""
    offers = facts.offers

    def supports(needed: Capability) -> dict[str, bool]:
        return {"supported": needed in offers}

    efforts, thinking = facts.efforts, facts.thinking | {"disabled"}
    kinds = ("adaptive", "between_tools", "disabled", "enabled")
    native = {"supported": facts.is_of_anthropics}
    return {
        "batch": _NO,
        **dict.fromkeys(("citations", "code_execution", "context_management"), native),
        "effort": {
            **{level: {"supported": level in efforts} for level in EFFORTS[2:]},
            "supported": bool(efforts),
        },
        "image_input": supports(Capability.VISION),
        "pdf_input": supports(Capability.FILE),
        "server_tools": {**native, "code_execution": native, "web_search": native},
        "structured_outputs": supports(Capability.JSON_SCHEMA),
        "thinking": {
            "supported": thinking != {"disabled"},
            "types": {kind: {"supported": kind in thinking} for kind in kinds},
        },
    }


def _pricing(spec: ModelSpec) -> dict[str, str] | None:
    """Return OpenRouter's table, in US dollars per token, written out; None where not known."""
    prices = spec.prices
    known = {
        "prompt": prices.input_usd_per_mtok,
        "completion": prices.output_usd_per_mtok,
        "input_cache_read": prices.cached_input_usd_per_mtok,
        "input_cache_write": prices.cache_write_usd_per_mtok,
        "internal_reasoning": prices.reasoning_usd_per_mtok,
        "audio": prices.audio_input_usd_per_mtok,
    }
    if known["prompt"] is None or known["completion"] is None:
        return None
    return {name: _per_token(usd) for name, usd in known.items() if usd is not None}


def _per_token(usd_per_mtok: float) -> str:
    return f"{usd_per_mtok / 1e6:.15f}".rstrip("0").rstrip(".")


def _own(facts: Facts, config: LoadedConfig) -> dict[str, Any]:
    """Return what nobody else's words say: who may answer, by which knob, at which prices."""
    told: dict[str, Any] = {"kind": facts.kind}
    if facts.stands_for is not None:
        told["stands_for"] = facts.stands_for
    if isinstance(facts.objective, CostQuality):
        told["cost_quality"] = facts.objective.t
    elif isinstance(facts.objective, StrongThreshold):
        told["threshold"] = facts.objective.threshold
    if facts.kind != "model":
        told["candidates"] = [spec.model_id for spec in facts.specs]
    if facts.tasks:
        told["tasks"] = {"names": list(facts.tasks), "recognised": facts.recognises_tasks}
    told["prices_usd_per_mtok"] = {
        name: _range(getattr(spec.prices, f"{name}_usd_per_mtok") for spec in facts.specs)
        for name in ("input", "output")
    }
    if facts.kind == "model":
        model = config.gateway.models[facts.specs[0].model_id]
        prices = config.catalogue.models[model.spec or facts.specs[0].model_id].prices
        told["prices_from"] = {"source": prices.source, "date": prices.date.isoformat()}
    return told


def _range(prices: Iterator[float | None]) -> dict[str, float] | None:
    known = [usd for usd in prices if usd is not None]
    return {"least": min(known), "most": max(known)} if known else None


def codex_card(facts: Facts, *, priority: int) -> dict[str, Any]:
    """Return a name as Codex' catalogue of models has it."""
    return {
        "slug": facts.name,
        "display_name": facts.name,
        "description": f"{facts.kind} of this gateway",
        "default_reasoning_level": "medium" if "medium" in facts.efforts else None,
        "supported_reasoning_levels": [
            {"effort": each, "description": f"{each} effort"} for each in facts.efforts
        ],
        "shell_type": "shell_command",
        "visibility": "list",
        "supported_in_api": True,
        "priority": priority,
        "additional_speed_tiers": [],
        "availability_nux": None,
        "upgrade": None,
        "base_instructions": _CODEX_INSTRUCTIONS,
        "model_messages": None,
        "supports_reasoning_summaries": False,
        "default_reasoning_summary": "auto",
        "support_verbosity": False,
        "default_verbosity": None,
        "apply_patch_tool_type": None,
        "web_search_tool_type": "text",
        "truncation_policy": {"mode": "bytes", "limit": 10_000},
        "supports_parallel_tool_calls": Capability.TOOLS in facts.offers,
        "supports_image_detail_original": False,
        "context_window": facts.context_tokens,
        "max_context_window": facts.context_tokens,
        "auto_compact_token_limit": None,
        "effective_context_window_percent": 95,
        "experimental_supported_tools": [],
        "input_modalities": [each for each in facts.inputs if each in ("text", "image")],
        "supports_search_tool": False,
    }


def litellm_entry(facts: Facts) -> dict[str, Any]:
    """Return a name as LiteLLM's `/model/info` has it; prices where one model answers."""
    offers = facts.offers
    info: dict[str, Any] = {
        "id": facts.name,
        "mode": _MODES.get(facts.specs[0].kind, facts.specs[0].kind),
        "max_tokens": facts.output_tokens,
        "max_input_tokens": facts.context_tokens,
        "max_output_tokens": facts.output_tokens,
        **_litellm_prices(facts),
        "supports_function_calling": Capability.TOOLS in offers,
        "supports_parallel_function_calling": Capability.TOOLS in offers,
        "supports_tool_choice": Capability.TOOLS in offers,
        "supports_response_schema": Capability.JSON_SCHEMA in offers,
        "supports_vision": Capability.VISION in offers,
        "supports_pdf_input": Capability.FILE in offers,
        "supports_audio_input": Capability.AUDIO in offers,
        "supports_native_streaming": Capability.STREAMING in offers,
        "supports_system_messages": True,
        "supported_openai_params": facts.parameters,
    }
    return {"model_name": facts.name, "model_info": info}


def _litellm_prices(facts: Facts) -> Mapping[str, float]:
    if facts.kind != "model":
        return {}
    prices = facts.specs[0].prices
    known = {
        "input_cost_per_token": prices.input_usd_per_mtok,
        "output_cost_per_token": prices.output_usd_per_mtok,
        "cache_read_input_token_cost": prices.cached_input_usd_per_mtok,
        "cache_creation_input_token_cost": prices.cache_write_usd_per_mtok,
        "cache_creation_input_token_cost_above_1hr": prices.cache_write_1h_usd_per_mtok,
        "output_cost_per_reasoning_token": prices.reasoning_usd_per_mtok,
        "input_cost_per_audio_token": prices.audio_input_usd_per_mtok,
        "output_cost_per_audio_token": prices.audio_output_usd_per_mtok,
    }
    return {name: usd / 1e6 for name, usd in known.items() if usd is not None}


def page(
    ids: Sequence[str], *, limit: int | None, after: int | None, before: int | None
) -> tuple[range, bool]:
    """Return which entries a page holds, and whether there are more in its direction.

    Parameters
    ----------
    limit
        How many at most; None for all.
    after, before
        The position of the entry that the page begins after, or ends before.
    """
    start, end = (0 if after is None else after + 1), (len(ids) if before is None else before)
    size = len(ids) if limit is None else limit
    if before is not None:
        first = max(start, end - size)
        return range(first, end), first > start
    last = min(end, start + size)
    return range(start, last), last < end
