"""OpenAI's chat request, told in Bedrock's Converse.

References
----------
AWS, "Converse" and "Inference request parameters", docs.aws.amazon.com/bedrock.
"""

import re
from typing import Any

import msgspec

from app.providers.converse.turns import (
    VENDOR,
    BedrockSpeech,
    TextOfTools,
    cache_point,
    messages,
)
from app.providers.translation.claude import claude_thinking
from app.providers.translation.fields import (
    JSON_ONLY,
    Fields,
    Tool,
    check_known,
    one_of,
    output_limit,
    response_format,
    stop_sequences,
    tools,
    unsupported_field,
    value,
)
from app.providers.translation.history import encode_turns
from app.providers.translation.parts import NULL

_NATIVE = ("guardrailConfig", "performanceConfig", "requestMetadata", "promptVariables")
"""Passed on as they are: Converse's own, sent by clients that know whom they talk to."""

_TRANSLATED = frozenset(
    {"messages", "max_tokens", "max_completion_tokens", "temperature", "top_p", "top_k", "stop"}
    | {"tools", "tool_choice", "parallel_tool_calls", "response_format", "service_tier"}
    | {"reasoning_effort", "thinking", "additionalModelRequestFields"}
    # Without a counterpart, and without a say in the answer.
    | {"user", "safety_identifier", "cache_control"}
    | set(_NATIVE)
)
_SERVICE_TIERS = {"default": "default", "flex": "flex", "priority": "priority"}
_NOVA_EFFORTS = {"low": "low", "medium": "medium", "high": "high", "minimal": "low"}
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_ANY_OBJECT = msgspec.Raw(b'{"type":"object","properties":{}}')

_BLOCKS = BedrockSpeech()
_WORDS = TextOfTools()
_encode = msgspec.json.Encoder().encode


def encode_converse_request(fields: Fields, *, model: str) -> bytes:
    """Return the body to send; model, and whether it streams, are said by the address.

    Raises
    ------
    UpstreamUnsupportedError
        If a field has no counterpart, or is not shaped as OpenAI's API has it.
    """
    check_known(fields, translated=_TRANSLATED, vendor=VENDOR)
    tool_config = _tool_config(fields)
    speech = _WORDS if tool_config is None else _BLOCKS
    system, turns = encode_turns(fields.get("messages", b"null"), speech)
    body: dict[str, Any] = {"messages": messages(turns)}
    if system:
        body["system"] = system
    if tool_config is not None:
        body["toolConfig"] = tool_config
    for key in _NATIVE:
        if value(fields, key) is not None:
            body[key] = msgspec.Raw(fields[key])
    tier = value(fields, "service_tier")
    if tier not in (None, "auto"):
        told = one_of(_SERVICE_TIERS, tier, "service_tier", vendor=VENDOR)
        body["serviceTier"] = {"type": told}
    _add_inference(body, fields, model)
    _add_format(body, fields)
    return _encode(body)


def _tool_config(fields: Fields) -> dict[str, Any] | None:
    """Return the tools; None where there are none, or none may be called: it has no such choice."""
    offered = tools(fields)
    choice = value(fields, "tool_choice")
    if not offered or choice == "none":
        return None
    specs: list[dict[str, Any]] = []
    for i, tool in enumerate(offered):
        specs.append({"toolSpec": _tool_spec(tool, f"tools[{i}]")})
        specs += [cache_point(mark) for mark in _marks(tool) if mark != NULL][:1]
    config: dict[str, Any] = {"tools": specs}
    if choice is not None:
        config["toolChoice"] = _tool_choice(choice)
    return config


def _marks(tool: Tool) -> tuple[msgspec.Raw, ...]:
    return (tool.cache_control, *(() if tool.function is None else (tool.function.cache_control,)))


def _tool_spec(tool: Tool, where: str) -> dict[str, Any]:
    function = tool.function
    if tool.type != "function" or function is None:
        raise unsupported_field(
            f"{where}: tools of type {tool.type} are not supported by {VENDOR}", "tools"
        )
    if not _NAME.fullmatch(function.name):
        raise unsupported_field(
            f"{where}: {VENDOR} take names of letters, digits, _ and -, 64 at most, "
            f"not {function.name[:80]!r}",
            "tools",
        )
    schema = _ANY_OBJECT if function.parameters in (NULL, b"{}") else function.parameters
    spec: dict[str, Any] = {"name": function.name, "inputSchema": {"json": schema}}
    if function.description:
        spec["description"] = function.description
    if function.strict:
        spec["strict"] = True
    return spec


def _tool_choice(choice: object) -> dict[str, Any]:
    if choice == "auto":
        return {"auto": {}}
    if choice == "required":
        return {"any": {}}
    function = choice.get("function") if isinstance(choice, dict) else None
    if not isinstance(function, dict):
        raise unsupported_field(f"this tool_choice is not supported by {VENDOR}", "tool_choice")
    return {"tool": {"name": function.get("name")}}


def _add_inference(body: dict[str, Any], fields: Fields, model: str) -> None:
    """Add how the answer is to be made: its limit, sampling, thinking."""
    config: dict[str, Any] = {}
    limit = output_limit(fields)
    if limit is not None:
        config["maxTokens"] = limit
    stop = stop_sequences(fields)
    if stop:
        config["stopSequences"] = stop
    own = value(fields, "additionalModelRequestFields")
    additional: dict[str, Any] = {}
    claude = "anthropic" in model
    thinks = (
        _add_claude_thinking(body, additional, fields, limit)
        if claude
        else _add_effort(additional, fields, model)
    )
    if not (claude and thinks):
        config |= _sampling(fields, claude=claude)
        additional |= _top_k(fields, claude=claude)
    if isinstance(own, dict):
        additional |= own
    if config:
        body["inferenceConfig"] = config
    if additional:
        body["additionalModelRequestFields"] = additional


def _sampling(fields: Fields, *, claude: bool) -> dict[str, Any]:
    told: dict[str, Any] = {}
    temperature = value(fields, "temperature")
    if isinstance(temperature, int | float) and not (claude and temperature >= 1):
        # The scale ends at 1, OpenAI's at 2. It is Claude's default, and present ones refuse it.
        told["temperature"] = min(temperature, 1)
    top_p = value(fields, "top_p")
    if top_p not in (None, 1):
        told["topP"] = top_p
    return told


def _top_k(fields: Fields, *, claude: bool) -> dict[str, Any]:
    top_k = value(fields, "top_k")
    if top_k is None:
        return {}
    if not claude:
        raise unsupported_field(f"top_k is not supported by these {VENDOR}", "top_k")
    return {"top_k": top_k}


def _add_claude_thinking(
    body: dict[str, Any], additional: dict[str, Any], fields: Fields, limit: int | None
) -> bool:
    forced = not {"any", "tool"}.isdisjoint(body.get("toolConfig", {}).get("toolChoice", {}))
    thinking = claude_thinking(fields, forced=forced, max_tokens=limit, vendor=VENDOR)
    if thinking.effort is not None:
        body["outputConfig"] = {"effort": thinking.effort}
    if thinking.config is not None:
        additional["thinking"] = thinking.config
    return thinking.thinks


def _add_effort(additional: dict[str, Any], fields: Fields, model: str) -> bool:
    """Say in the words of a family of models how hard to think; Converse has none of its own."""
    if value(fields, "thinking") is not None:
        raise unsupported_field(f"thinking is not supported by these {VENDOR}", "thinking")
    effort = value(fields, "reasoning_effort")
    if effort in (None, "none"):
        return False
    if "nova" in model:
        told = one_of(_NOVA_EFFORTS, effort, "reasoning_effort", vendor=VENDOR)
        additional["reasoningConfig"] = {"type": "enabled", "maxReasoningEffort": told}
    elif "openai" in model:
        additional["reasoning_effort"] = effort
    else:
        raise unsupported_field(
            f"reasoning_effort is not supported by these {VENDOR}", "reasoning_effort"
        )
    return True


def _add_format(body: dict[str, Any], fields: Fields) -> None:
    wanted = response_format(fields)
    if wanted is None:
        return
    if wanted.type == "json_object":
        body["system"] = [*body.get("system", ()), {"text": JSON_ONLY}]
    elif wanted.type == "json_schema" and wanted.json_schema is not None:
        described = wanted.json_schema
        schema: dict[str, Any] = {"schema": bytes(described.schema).decode(errors="replace")}
        if described.name:
            schema["name"] = described.name
        if described.description:
            schema["description"] = described.description
        body.setdefault("outputConfig", {})["textFormat"] = {
            "type": "json_schema",
            "structure": {"jsonSchema": schema},
        }
    else:
        raise unsupported_field(
            f"response_format {wanted.type} is not supported by {VENDOR}; json_schema is",
            "response_format",
        )
