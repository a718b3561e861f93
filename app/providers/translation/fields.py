"""The fields of OpenAI's chat request: read one by one, and refused where an API has none like it.

What has no counterpart is refused, with the field's name, and never dropped: the answer would not
be the one that was asked for. The exceptions are fields without a say in the answer
(`WITHOUT_EFFECT`) and fields set to what they are by default (`NEUTRAL`).
"""

from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from app.errors import UpstreamUnsupportedError
from app.wire.decoding import DECODE_ERRORS

Fields = Mapping[str, bytes]
"""Of a client's body: top-level key → JSON bytes."""

MAX_TOLD_CHARS = 500
"""Of what a refusal says, since it may repeat a client's words, however many."""

WITHOUT_EFFECT = frozenset(
    {"metadata", "prediction", "prompt_cache_key", "prompt_cache_retention", "store"}
    | {"stream", "stream_options", "model", "session_id"}
)
NEUTRAL: Mapping[str, tuple[object, ...]] = {
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

JSON_ONLY = "Answer with one JSON object and nothing else: no prose around it, no code fence."
"""Asks in words for what `json_object` asks for, where an API has no such mode. Clients of OpenAI's
have to ask for JSON in words as well."""


class _JsonSchema(msgspec.Struct):
    schema: msgspec.Raw = msgspec.Raw(b"null")
    name: str | None = None
    description: str | None = None


class ResponseFormat(msgspec.Struct):
    """The shape that an answer shall have."""

    type: str
    json_schema: _JsonSchema | None = None


class Function(msgspec.Struct):
    """A function that the model may call."""

    name: str
    description: str | None = None
    parameters: msgspec.Raw = msgspec.Raw(b"null")
    strict: bool | None = None
    cache_control: msgspec.Raw = msgspec.Raw(b"null")


class Tool(msgspec.Struct):
    """A tool of OpenAI's."""

    type: str
    function: Function | None = None
    cache_control: msgspec.Raw = msgspec.Raw(b"null")


_decode_tools = msgspec.json.Decoder(list[Tool] | None)
_decode_format = msgspec.json.Decoder(ResponseFormat | None)
_encode = msgspec.json.Encoder().encode


def check_known(fields: Fields, *, translated: Collection[str], vendor: str) -> None:
    """Refuse fields that are neither translated nor without a say in the answer.

    Parameters
    ----------
    vendor
        Whose models they are, for the message: "Gemini models".

    Raises
    ------
    UpstreamUnsupportedError
        If there is one.
    """
    for key in fields:
        if key in translated or key in WITHOUT_EFFECT:
            continue
        if key not in NEUTRAL:
            raise unsupported_field(f"{key} is not supported by {vendor}", key)
        if value(fields, key) not in NEUTRAL[key]:
            usual = " or ".join(_encode(each).decode() for each in NEUTRAL[key][1:])
            raise unsupported_field(
                f"{key} is not supported by {vendor}" + (f", except as {usual}" if usual else ""),
                key,
            )


def value(fields: Fields, key: str) -> Any:
    """Return a field's value, None where it is not there.

    Raises
    ------
    UpstreamUnsupportedError
        If it is no JSON.
    """
    raw = fields.get(key)
    if raw is None:
        return None
    try:
        return msgspec.json.decode(raw)
    except DECODE_ERRORS as error:
        raise unsupported_field(f"{key} cannot be read", key) from error


def output_limit(fields: Fields) -> int | None:
    """Return how many tokens the answer may have, None where the client leaves it open."""
    for key in ("max_completion_tokens", "max_tokens"):
        limit = value(fields, key)
        if isinstance(limit, int | float):
            return int(limit)
    return None


def stop_sequences(fields: Fields) -> list[Any]:
    """Return the texts that end an answer."""
    stop = value(fields, "stop")
    sequences = [stop] if isinstance(stop, str) else stop
    return sequences if isinstance(sequences, list) else []


def tools(fields: Fields) -> list[Tool]:
    """Return the tools that are offered.

    Raises
    ------
    UpstreamUnsupportedError
        If they are not shaped as OpenAI's API has them.
    """
    return _decoded(_decode_tools, fields, "tools") or []


def response_format(fields: Fields) -> ResponseFormat | None:
    """Return the shape that the answer shall have, None for plain text.

    Raises
    ------
    UpstreamUnsupportedError
        If it is not shaped as OpenAI's API has it.
    """
    wanted: ResponseFormat | None = _decoded(_decode_format, fields, "response_format")
    return None if wanted is None or wanted.type == "text" else wanted


def one_of(known: Mapping[str, str], value: object, key: str, *, vendor: str) -> str:
    """Return what a value of a field is called by the vendor.

    Raises
    ------
    UpstreamUnsupportedError
        If the vendor has none like it.
    """
    found = known.get(value) if isinstance(value, str) else None
    if found is None:
        raise unsupported_field(f"this {key} is not supported by {vendor}", key)
    return found


def unsupported_field(message: str, param: str) -> UpstreamUnsupportedError:
    """Return the refusal of a field."""
    return UpstreamUnsupportedError(message[:MAX_TOLD_CHARS], param=param[:MAX_TOLD_CHARS])


def _decoded(decoder: msgspec.json.Decoder[Any], fields: Fields, key: str) -> Any:
    try:
        return decoder.decode(fields.get(key, b"null"))
    except DECODE_ERRORS as error:
        raise UpstreamUnsupportedError(f"{key} cannot be read: {error}", param=key) from error


def wants_one_call(fields: Fields) -> bool:
    """Whether the client takes one tool call at most, for vendors that cannot be told so."""
    return "parallel_tool_calls" in fields and value(fields, "parallel_tool_calls") is False
