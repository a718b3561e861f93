"""OpenAI's chat request, told in Anthropic's Messages API.

What has no counterpart there is refused, with the field's name, and never dropped: the answer
would not be the one that was asked for. The exceptions are fields without a say in the answer
(`_WITHOUT_EFFECT`) and fields set to what they are by default (`_NEUTRAL`).

References
----------
Anthropic, "Create a Message", platform.claude.com/docs/en/api/messages/create.
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Any, NoReturn

import msgspec

from app.errors import UpstreamUnsupportedError
from app.providers.messages.content import MAX_TOLD_CHARS
from app.providers.messages.tools import Tool, encode_choice, encode_tool, is_forced
from app.providers.messages.turns import encode_turns

DEFAULT_MAX_TOKENS = 16_384
"""Sent where the client names no limit: Anthropic demands one. Thinking counts into it, and every
model that Anthropic serves takes at least twice as much."""

_Fields = Mapping[str, bytes]

_NATIVE = ("top_k", "top_p", "cache_control")
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
    | {"thinking", "service_tier", "user", "safety_identifier"}
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
_UNSAID: Mapping[str, tuple[object, ...]] = {"top_p": (None, 1)}
"""Values that mean what leaving the field out does; present models refuse `top_p` beside
`temperature`."""
_SAMPLING = ("temperature", "top_p", "top_k")
_JSON_ONLY = "Answer with one JSON object and nothing else: no prose around it, no code fence."
_PHONE_NUMBER = re.compile(r"[+(]?[\d\s()./-]{6,}")
_MAX_USER_ID_CHARS = 256
_MIN_THINKING_TOKENS = 1024
"""Anthropic takes no smaller budget."""
_DECODE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class _JsonSchema(msgspec.Struct):
    schema: msgspec.Raw = msgspec.Raw(b"null")


class _ResponseFormat(msgspec.Struct):
    type: str
    json_schema: _JsonSchema | None = None


_decode_tools = msgspec.json.Decoder(list[Tool] | None)
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
        if _value(fields, key) not in _UNSAID.get(key, (None,)):
            body[key] = msgspec.Raw(fields[key])
    temperature = _value(fields, "temperature")
    if isinstance(temperature, int | float) and temperature < 1:
        # OpenAI's scale ends at 2, Anthropic's at 1, its default: what is above counts as 1, as in
        # Anthropic's own compatibility layer. Scaling would change every other value. The default
        # is not sent, since present models refuse the field.
        body["temperature"] = temperature
    stop = _stop_sequences(_value(fields, "stop"))
    if stop:
        body["stop_sequences"] = stop
    for key in ("safety_identifier", "user"):
        user = _value(fields, key)
        if user and "metadata" not in body:
            body["metadata"] = {"user_id": _user_id(user, key)}
    tier = _value(fields, "service_tier")
    if tier is not None:
        body["service_tier"] = _one_of(_SERVICE_TIERS, tier, "service_tier")
    _add_tools(body, fields)
    _add_thinking(body, fields)
    _add_format(body, fields)
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
    body["tools"] = [encode_tool(tool, f"tools[{i}]") for i, tool in enumerate(tools)]
    choice = encode_choice(_value(fields, "tool_choice"))
    if _value(fields, "parallel_tool_calls") is False and choice != {"type": "none"}:
        choice = {**(choice or {"type": "auto"}), "disable_parallel_tool_use": True}
    if choice is not None:
        body["tool_choice"] = choice


def _add_thinking(body: dict[str, Any], fields: _Fields) -> None:
    """Say whether to think; beside thinking Anthropic takes neither forced tools nor sampling."""
    own = _value(fields, "thinking")
    effort = _value(fields, "reasoning_effort")
    if effort is not None and effort != "none":
        effort = _one_of(_EFFORTS, effort, "reasoning_effort")
        body["output_config"] = {"effort": effort}
    forced = is_forced(body.get("tool_choice"))
    if own is not None:
        thinks = isinstance(own, dict) and own.get("type") not in (None, "disabled")
        if thinks and forced:
            _refuse(
                "Anthropic models cannot think where a tool must be called; leave out thinking or "
                "tool_choice",
                "tool_choice",
            )
        body["thinking"] = _bounded_thinking(own, body["max_tokens"]) if thinks else own
        thinks = thinks and body["thinking"]["type"] != "disabled"
    elif effort == "none":
        thinks = False
        body["thinking"] = {"type": "disabled"}
    else:
        # An effort is what OpenAI's reasoning models are steered by; a budget in tokens, the older
        # way, is refused by the present models. A tool that must be called comes first: its
        # arguments are what the client reads.
        thinks = effort is not None and not forced
        if thinks:
            body["thinking"] = {"type": "adaptive"}
    if thinks:
        for key in _SAMPLING:
            body.pop(key, None)


def _bounded_thinking(own: dict[str, Any], max_tokens: int) -> dict[str, Any]:
    """Return what a client says of thinking, such that it fits into the answer.

    Anthropic refuses a budget that is not below `max_tokens`, which may be the gateway's word.
    """
    budget = own.get("budget_tokens")
    if not isinstance(budget, int | float) or budget < max_tokens:
        return own
    if max_tokens <= _MIN_THINKING_TOKENS:
        return {"type": "disabled"}
    return {**own, "budget_tokens": max_tokens - 1}


def _add_format(body: dict[str, Any], fields: _Fields) -> None:
    wanted = _decode(_decode_format, fields, "response_format")
    if wanted is None or wanted.type == "text":
        return
    if wanted.type == "json_object":
        # There is no such mode; clients of OpenAI's have to ask for JSON in words as well.
        body["system"] = [*body.get("system", ()), {"type": "text", "text": _JSON_ONLY}]
    elif wanted.type == "json_schema" and wanted.json_schema is not None:
        schema = wanted.json_schema.schema
        body.setdefault("output_config", {})["format"] = {"type": "json_schema", "schema": schema}
    else:
        _refuse(
            f"response_format {wanted.type} is not supported by Anthropic models; json_schema is",
            "response_format",
        )


def _user_id(user: object, key: str) -> str:
    """Return who asks, as something opaque: Anthropic refuses addresses and numbers of people."""
    if not isinstance(user, str):
        _refuse(f"{key} must be a string", key)
    if len(user) > _MAX_USER_ID_CHARS or "@" in user or _PHONE_NUMBER.fullmatch(user):
        return hashlib.sha256(user.encode()).hexdigest()
    return user


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
    raise UpstreamUnsupportedError(message[:MAX_TOLD_CHARS], param=param[:MAX_TOLD_CHARS])
