"""OpenAI's chat request, told in Anthropic's Messages API.

References
----------
Anthropic, "Create a Message", platform.claude.com/docs/en/api/messages/create.
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from app.providers.messages.content import VENDOR
from app.providers.messages.tools import encode_choice, encode_tool, is_forced
from app.providers.messages.turns import AnthropicSpeech
from app.providers.translation.claude import claude_thinking
from app.providers.translation.fields import (
    JSON_ONLY,
    Fields,
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

DEFAULT_MAX_TOKENS = 16_384
"""Sent where the client names no limit: Anthropic demands one. Thinking counts into it, and every
model that Anthropic serves takes at least twice as much."""

_NATIVE = ("top_k", "top_p", "cache_control")
"""Passed on as they are: Anthropic's own, sent by clients that know whom they talk to."""

_TRANSLATED = frozenset(
    {"messages", "max_tokens", "max_completion_tokens", "temperature", "stop", "tools"}
    | {"tool_choice", "parallel_tool_calls", "response_format", "reasoning_effort"}
    | {"thinking", "service_tier", "user", "safety_identifier"}
    | set(_NATIVE)
)
_SERVICE_TIERS: Mapping[str, str] = {"auto": "auto", "default": "standard_only"}
_UNSAID: Mapping[str, tuple[object, ...]] = {"top_p": (None, 1)}
"""Values that mean what leaving the field out does; present models refuse `top_p` beside
`temperature`."""
_SAMPLING = ("temperature", "top_p", "top_k")
_PHONE_NUMBER = re.compile(r"[+(]?[\d\s()./-]{6,}")
_MAX_USER_ID_CHARS = 256

_SPEECH = AnthropicSpeech()
_encode = msgspec.json.Encoder().encode


def encode_messages_request(fields: Fields, *, model: str, stream: bool) -> bytes:
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
    check_known(fields, translated=_TRANSLATED, vendor=VENDOR)
    system, turns = encode_turns(fields.get("messages", b"null"), _SPEECH)
    limit = output_limit(fields)
    body: dict[str, Any] = {
        "model": model,
        "max_tokens": DEFAULT_MAX_TOKENS if limit is None else limit,
    }
    if system:
        body["system"] = system
    body["messages"] = [{"role": role, "content": content} for role, content in turns]
    if stream:
        body["stream"] = True
    for key in _NATIVE:
        if value(fields, key) not in _UNSAID.get(key, (None,)):
            body[key] = msgspec.Raw(fields[key])
    temperature = value(fields, "temperature")
    if isinstance(temperature, int | float) and temperature < 1:
        # OpenAI's scale ends at 2, Anthropic's at 1, its default: what is above counts as 1, as in
        # Anthropic's own compatibility layer. Scaling would change every other value. The default
        # is not sent, since present models refuse the field.
        body["temperature"] = temperature
    stop = _stop_sequences(fields)
    if stop:
        body["stop_sequences"] = stop
    for key in ("safety_identifier", "user"):
        user = value(fields, key)
        if user and "metadata" not in body:
            body["metadata"] = {"user_id": _user_id(user, key)}
    tier = value(fields, "service_tier")
    if tier is not None:
        body["service_tier"] = one_of(_SERVICE_TIERS, tier, "service_tier", vendor=VENDOR)
    _add_tools(body, fields)
    _add_thinking(body, fields)
    _add_format(body, fields)
    return _encode(body)


def _stop_sequences(fields: Fields) -> list[object]:
    sequences = stop_sequences(fields)
    for each in sequences:
        if not isinstance(each, str) or not each.strip():
            raise unsupported_field("Anthropic models do not stop at white space alone", "stop")
    return sequences


def _add_tools(body: dict[str, Any], fields: Fields) -> None:
    offered = tools(fields)
    if not offered:
        return
    body["tools"] = [encode_tool(tool, f"tools[{i}]") for i, tool in enumerate(offered)]
    choice = encode_choice(value(fields, "tool_choice"))
    if value(fields, "parallel_tool_calls") is False and choice != {"type": "none"}:
        choice = {**(choice or {"type": "auto"}), "disable_parallel_tool_use": True}
    if choice is not None:
        body["tool_choice"] = choice


def _add_thinking(body: dict[str, Any], fields: Fields) -> None:
    """Say whether to think; beside thinking Anthropic takes neither forced tools nor sampling."""
    thinking = claude_thinking(
        fields,
        forced=is_forced(body.get("tool_choice")),
        max_tokens=body["max_tokens"],
        vendor=VENDOR,
    )
    if thinking.effort is not None:
        body["output_config"] = {"effort": thinking.effort}
    if thinking.config is not None:
        body["thinking"] = thinking.config
    if thinking.thinks:
        for key in _SAMPLING:
            body.pop(key, None)


def _add_format(body: dict[str, Any], fields: Fields) -> None:
    wanted = response_format(fields)
    if wanted is None:
        return
    if wanted.type == "json_object":
        body["system"] = [*body.get("system", ()), {"type": "text", "text": JSON_ONLY}]
    elif wanted.type == "json_schema" and wanted.json_schema is not None:
        schema = wanted.json_schema.schema
        body.setdefault("output_config", {})["format"] = {"type": "json_schema", "schema": schema}
    else:
        raise unsupported_field(
            f"response_format {wanted.type} is not supported by Anthropic models; json_schema is",
            "response_format",
        )


def _user_id(user: object, key: str) -> str:
    """Return who asks, as something opaque: Anthropic refuses addresses and numbers of people."""
    if not isinstance(user, str):
        raise unsupported_field(f"{key} must be a string", key)
    if len(user) > _MAX_USER_ID_CHARS or "@" in user or _PHONE_NUMBER.fullmatch(user):
        return hashlib.sha256(user.encode()).hexdigest()
    return user
