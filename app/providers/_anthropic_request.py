"""OpenAI's chat request, told in Anthropic's Messages API.

What has no counterpart there is refused, with the field's name, and never dropped: the answer
would not be the one that was asked for. The exceptions are fields without a say in the answer
(`_WITHOUT_EFFECT`) and fields set to what they are by default (`_NEUTRAL`).

References
----------
Anthropic, "Create a Message", platform.claude.com/docs/en/api/messages/create.
"""

from collections.abc import Mapping
from typing import Any, NoReturn

import msgspec

from app.errors import UpstreamUnsupportedError
from app.providers._anthropic_turns import encode_turns

DEFAULT_MAX_TOKENS = 16_384
"""Sent where the client names no limit: Anthropic demands one. Thinking counts into it, and every
model that Anthropic serves takes at least twice as much."""

_Fields = Mapping[str, bytes]

_NATIVE = ("thinking", "top_k", "top_p", "cache_control")
"""Passed on as they are: Anthropic's own, sent by clients that know whom they talk to."""

_WITHOUT_EFFECT = frozenset(
    {"metadata", "prediction", "prompt_cache_key", "prompt_cache_retention", "store"}
    | {"stream", "stream_options", "model", "session_id"}
)
_NEUTRAL: Mapping[str, tuple[object, ...]] = {
    "audio": (None,),
    "frequency_penalty": (None, 0),
    "function_call": (None,),
    "functions": (None, []),
    "logit_bias": (None, {}),
    "logprobs": (None, False),
    "modalities": (None, ["text"]),
    "n": (None, 1),
    "presence_penalty": (None, 0),
    "seed": (None,),
    "top_logprobs": (None, 0),
    "verbosity": (None, "medium"),
    "web_search_options": (None,),
}
_TRANSLATED = frozenset(
    {"messages", "max_tokens", "max_completion_tokens", "temperature", "stop", "tools"}
    | {"tool_choice", "parallel_tool_calls", "response_format", "reasoning_effort"}
    | {"service_tier", "user", "safety_identifier"}
)
_EFFORTS: Mapping[object, str] = {
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "xhigh",
    "max": "max",
}
_SERVICE_TIERS: Mapping[object, str] = {"auto": "auto", "default": "standard_only"}
_TOOL_CHOICES: Mapping[str, str] = {"auto": "auto", "none": "none", "required": "any"}
_DECODE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class _Function(msgspec.Struct):
    name: str
    description: str | None = None
    parameters: msgspec.Raw = msgspec.Raw(b"null")
    strict: bool | None = None


class _Tool(msgspec.Struct):
    type: str
    function: _Function | None = None
    cache_control: msgspec.Raw = msgspec.Raw(b"null")


class _JsonSchema(msgspec.Struct):
    schema: msgspec.Raw = msgspec.Raw(b"null")


class _ResponseFormat(msgspec.Struct):
    type: str
    json_schema: _JsonSchema | None = None


_decode_tools = msgspec.json.Decoder(list[_Tool] | None)
_decode_format = msgspec.json.Decoder(_ResponseFormat | None)
_encode = msgspec.json.Encoder().encode


def encode_messages_request(fields: _Fields, *, model: str, stream: bool) -> bytes:
    """Return the body to send.

    Parameters
    ----------
    fields
        Of the client's body: top-level key → JSON bytes.

    Raises
    ------
    UpstreamUnsupportedError
        If a field has no counterpart, or is not shaped as OpenAI's API has it.
    """
    _check_known(fields)
    system, messages = encode_turns(fields.get("messages", b"null"))
    body: dict[str, Any] = {"model": model, "max_tokens": _max_tokens(fields)}
    if system:
        body["system"] = system
    body["messages"] = messages
    if stream:
        body["stream"] = True
    for key in _NATIVE:
        if _value(fields, key) is not None:
            body[key] = msgspec.Raw(fields[key])
    temperature = _value(fields, "temperature")
    if isinstance(temperature, int | float):
        # OpenAI's scale ends at 2, Anthropic's at 1: what is above is sent as 1, as in
        # Anthropic's own compatibility layer. Scaling would change every other value.
        body["temperature"] = min(temperature, 1)
    stop = _stop_sequences(_value(fields, "stop"))
    if stop:
        body["stop_sequences"] = stop
    user = _value(fields, "safety_identifier") or _value(fields, "user")
    if user:
        body["metadata"] = {"user_id": user}
    tier = _value(fields, "service_tier")
    if tier is not None:
        body["service_tier"] = _one_of(_SERVICE_TIERS, tier, "service_tier")
    _add_tools(body, fields)
    _add_output_config(body, fields)
    return _encode(body)


def _check_known(fields: _Fields) -> None:
    for key in fields:
        if key in _TRANSLATED or key in _NATIVE or key in _WITHOUT_EFFECT:
            continue
        if key not in _NEUTRAL:
            _refuse(f"{key} is not supported by Anthropic models", key)
        if _value(fields, key) not in _NEUTRAL[key]:
            usual = " or ".join(_encode(each).decode() for each in _NEUTRAL[key][1:])
            _refuse(
                f"{key} is not supported by Anthropic models"
                + (f", except as {usual}" if usual else ""),
                key,
            )


def _max_tokens(fields: _Fields) -> int:
    for key in ("max_completion_tokens", "max_tokens"):
        limit = _value(fields, key)
        if isinstance(limit, int | float):
            return int(limit)
    return DEFAULT_MAX_TOKENS


def _stop_sequences(stop: object) -> list[object]:
    sequences = [stop] if isinstance(stop, str) else stop
    if not isinstance(sequences, list):
        return []
    for each in sequences:
        if not isinstance(each, str) or not each.strip():
            _refuse("Anthropic models do not stop at white space alone", "stop")
    return sequences


def _add_tools(body: dict[str, Any], fields: _Fields) -> None:
    tools = _decode(_decode_tools, fields, "tools")
    if not tools:
        return
    body["tools"] = [_tool(tool) for tool in tools]
    choice = _tool_choice(_value(fields, "tool_choice"))
    if _value(fields, "parallel_tool_calls") is False and choice != {"type": "none"}:
        choice = {**(choice or {"type": "auto"}), "disable_parallel_tool_use": True}
    if choice is not None:
        body["tool_choice"] = choice


def _tool(tool: _Tool) -> dict[str, Any]:
    if tool.type != "function" or tool.function is None:
        _refuse(f"tools of type {tool.type} are not supported by Anthropic models", "tools")
    function = tool.function
    schema = function.parameters
    if bytes(schema) == b"null":
        schema = msgspec.Raw(b'{"type":"object","properties":{}}')
    translated: dict[str, Any] = {"name": function.name}
    if function.description is not None:
        translated["description"] = function.description
    translated["input_schema"] = schema
    if function.strict:
        translated["strict"] = True
    if bytes(tool.cache_control) != b"null":
        translated["cache_control"] = tool.cache_control
    return translated


def _tool_choice(choice: object) -> dict[str, Any] | None:
    if choice is None:
        return None
    if isinstance(choice, str) and choice in _TOOL_CHOICES:
        return {"type": _TOOL_CHOICES[choice]}
    function = choice.get("function") if isinstance(choice, dict) else None
    if not isinstance(function, dict):
        _refuse("this tool_choice is not supported by Anthropic models", "tool_choice")
    return {"type": "tool", "name": function.get("name")}


def _add_output_config(body: dict[str, Any], fields: _Fields) -> None:
    config: dict[str, Any] = {}
    effort = _value(fields, "reasoning_effort")
    if effort == "none":
        body.setdefault("thinking", {"type": "disabled"})
    elif effort is not None:
        # An effort is what OpenAI's reasoning models are steered by; a budget in tokens, the older
        # way, is refused by the present models.
        body.setdefault("thinking", {"type": "adaptive"})
        config["effort"] = _one_of(_EFFORTS, effort, "reasoning_effort")
    wanted = _decode(_decode_format, fields, "response_format")
    if wanted is not None and wanted.type == "json_schema" and wanted.json_schema is not None:
        config["format"] = {"type": "json_schema", "schema": wanted.json_schema.schema}
    elif wanted is not None and wanted.type != "text":
        _refuse(
            f"response_format {wanted.type} is not supported by Anthropic models; json_schema is",
            "response_format",
        )
    if config:
        body["output_config"] = config


def _one_of(known: Mapping[object, str], value: object, key: str) -> str:
    found = known.get(value) if isinstance(value, str) else None
    if found is None:
        _refuse(f"this {key} is not supported by Anthropic models", key)
    return found


def _value(fields: _Fields, key: str) -> Any:
    raw = fields.get(key)
    if raw is None:
        return None
    try:
        return msgspec.json.decode(raw)
    except _DECODE_ERRORS:
        _refuse(f"{key} cannot be read", key)


def _decode(decoder: msgspec.json.Decoder[Any], fields: _Fields, key: str) -> Any:
    try:
        return decoder.decode(fields.get(key, b"null"))
    except _DECODE_ERRORS as error:
        raise UpstreamUnsupportedError(f"{key} cannot be read: {error}", param=key) from error


def _refuse(message: str, param: str) -> NoReturn:
    raise UpstreamUnsupportedError(message, param=param)
