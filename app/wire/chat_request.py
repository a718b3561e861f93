"""OpenAI's chat-completions wire format, as far as routing has to understand it.

The body is taken apart one level deep: every field stays the bytes that the client sent, and
only those that routing needs are looked into. What is not looked into passes through untouched.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from app.errors import InvalidRequestError
from app.wire.body import Fields
from app.wire.bounds import STRINGS_PER_MESSAGE
from app.wire.envelope import decode_value
from app.wire.parts import Part, attachments
from app.wire.turns import NOTHING, TURNS, Turn
from routers.media.parts import NO_ATTACHMENTS, Attachments, json_tokens
from routers.models import Capability, Demand
from routers.text.token_estimate import estimate_tokens_and_upper
from routers.types import ROLES, Conversation, Message, Role

_MAX_TOKENS_LIMIT = 10_000_000
MAX_MESSAGES = 10_000
"""The default of `server.max_messages`."""

_MAX_SCALAR_BYTES = 1_024
_MAX_OPTIONS_BYTES = 16_384
_MAX_BYTES = {
    **dict.fromkeys(("model", "stream", "max_tokens", "max_completion_tokens"), _MAX_SCALAR_BYTES),
    **dict.fromkeys(("n", "best_of", "modalities"), _MAX_SCALAR_BYTES),
    **dict.fromkeys(("stream_options", "routing"), _MAX_OPTIONS_BYTES),
}
"""How long the values may be that are made into objects as they are."""

_FEW_BYTES = 64
"""Up to so many it is worth a look whether a value is an empty one."""

_Content = str | list[Part] | None


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class _ResponseFormat(msgspec.Struct):
    type: str | None = None


_CONTENT: msgspec.json.Decoder[_Content] = msgspec.json.Decoder(_Content)
_DECODERS: Mapping[str, msgspec.json.Decoder[Any]] = {
    "model": msgspec.json.Decoder(str),
    "stream": msgspec.json.Decoder(bool | None),
    "stream_options": msgspec.json.Decoder(_StreamOptions | None),
    # To JSON, and to some clients, 1.0 is a whole number.
    "max_tokens": msgspec.json.Decoder(int | float | None),
    "max_completion_tokens": msgspec.json.Decoder(int | float | None),
    "n": msgspec.json.Decoder(int | float | None),
    "best_of": msgspec.json.Decoder(int | float | None),
    "tools": msgspec.json.Decoder(list[dict[str, msgspec.Raw]] | None),
    "functions": msgspec.json.Decoder(list[dict[str, msgspec.Raw]] | None),
    "response_format": msgspec.json.Decoder(_ResponseFormat | None),
    "modalities": msgspec.json.Decoder(list[str] | None),
    "routing": msgspec.json.Decoder(dict[str, Any] | None),
}


class ChatRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a request asks of whoever serves it.

    Attributes
    ----------
    model
        The name the client asked for.
    fields
        The top-level fields as sent, without `model` and `routing`.
    include_usage
        Whether the client asked for the usage event of a stream.
    conversation, demand
        What the router looks at.
    turns
        The messages, as far as they have to be looked into once more.
    routing
        The object of that name: what is said to the gateway alone.
    """

    model: str
    fields: Fields
    stream: bool
    include_usage: bool
    conversation: Conversation
    demand: Demand
    turns: Sequence[Turn]
    routing: Mapping[str, Any] | None


def read_chat_fields(fields: Mapping[str, Any], *, max_messages: int = MAX_MESSAGES) -> ChatRequest:
    """Understand the top-level fields of a chat-completions request.

    Parameters
    ----------
    fields
        Name → JSON, as bytes or as `msgspec.Raw`.
    max_messages
        How many messages there may be, how many parts in all of them, and how many tools.

    Raises
    ------
    InvalidRequestError
        With the `param` at fault, for anything that is not a chat-completions request.
    """
    if "cost_quality" in fields:
        raise InvalidRequestError(
            "cost_quality belongs into the object routing, or into the header x-cost-quality",
            param="cost_quality",
        )
    if "model" not in fields:
        raise InvalidRequestError("you must provide a model parameter", param="model")
    model = field_value(fields, "model")
    if not model:
        raise InvalidRequestError("model must not be empty", param="model")
    if "messages" not in fields:
        raise InvalidRequestError("you must provide a messages parameter", param="messages")
    turns, contents = _messages(fields["messages"], max_messages)
    check_number(fields, ("tools", "functions"), max_messages)
    # Most requests have few fields: those that are absent are not to cost a call each.
    stream = "stream" in fields and bool(field_value(fields, "stream"))
    options = field_value(fields, "stream_options") if "stream_options" in fields else None
    parts = [part for each in contents if isinstance(each, list) for part in each]
    attached = attachments(parts, fields["messages"]) if parts else NO_ATTACHMENTS
    conversation = Conversation(tuple(map(_to_message, turns, contents)), attached.media)
    routing = field_value(fields, "routing") if "routing" in fields else None
    return ChatRequest(
        model=model,
        fields={k: bytes(v) for k, v in fields.items() if k not in ("model", "routing")},
        stream=stream,
        include_usage=bool(options and options.include_usage),
        conversation=conversation,
        demand=_demand(fields, turns, attached, conversation, stream=stream),
        turns=turns,
        routing=routing,
    )


def field_value(fields: Mapping[str, Any], name: str) -> Any:
    """Return the value of a field that routing looks at; None where it is not there.

    Raises
    ------
    InvalidRequestError
        If it is of another type, or too long.
    """
    raw = fields.get(name)
    if raw is None:
        return None
    most = _MAX_BYTES.get(name)
    if most is not None and len(memoryview(raw)) > most:
        raise InvalidRequestError(f"{name} is longer than {most} bytes", param=name)
    return decode_value(_DECODERS[name], raw, name)


def _messages(raw: Any, max_messages: int) -> tuple[list[Turn], list[_Content]]:
    turns: list[Turn] = decode_value(TURNS, raw, "messages")
    if not turns:
        raise InvalidRequestError("messages must hold at least one message", param="messages")
    if len(turns) > max_messages:
        raise too_many(len(turns), "messages", max_messages, "messages")
    contents = [
        decode_value(_CONTENT, turn.content, "messages", i, ".content")
        if turn.has_content
        else None
        for i, turn in enumerate(turns)
    ]
    n_parts = sum([len(each) for each in contents if isinstance(each, list)])
    if n_parts > max_messages:
        raise too_many(n_parts, "parts in its messages", max_messages, "messages")
    return turns, contents


def check_number(fields: Mapping[str, Any], names: Sequence[str], most: int) -> None:
    """Refuse more tools than there may be.

    Raises
    ------
    InvalidRequestError
    """
    for name in names:
        if name not in fields:
            continue
        # An empty object is two bytes: they are counted before any is made.
        raw = fields[name]
        if len(memoryview(raw)) <= most:
            continue
        n_braces = bytes(raw).count(b"{")
        if n_braces > STRINGS_PER_MESSAGE * most:
            raise too_many(n_braces, f"objects in {name}", STRINGS_PER_MESSAGE * most, name)
        n_tools = len(decode_value(_DECODERS["tools"], raw, name) or ())
        if n_tools > most:
            raise too_many(n_tools, name, most, name)


def too_many(n: int, what: str, most: int, param: str) -> InvalidRequestError:
    """Return what says that there is too much of something in a request."""
    return InvalidRequestError(
        f"the request has {n} {what}; at most {most} are taken (server.max_messages)", param=param
    )


def _to_message(turn: Turn, content: _Content) -> Message:
    if content is None:
        text = turn.refusal or ""
    elif isinstance(content, str):
        text = content
    else:
        text = "\n".join(part.text or part.refusal or "" for part in content)
    return Message(ROLES.get(turn.role, Role.USER), text)


def _demand(
    fields: Mapping[str, Any],
    turns: Sequence[Turn],
    attached: Attachments,
    conversation: Conversation,
    *,
    stream: bool,
) -> Demand:
    tool_bytes = _tool_bytes(fields, turns)
    schema_bytes = _schema_bytes(fields)
    needs = set(attached.capabilities)
    if stream:
        needs.add(Capability.STREAMING)
    is_spoken = "modalities" in fields and "audio" in (field_value(fields, "modalities") or ())
    if is_spoken:
        needs.add(Capability.AUDIO)
    if tool_bytes:
        needs.add(Capability.TOOLS)
    if schema_bytes:
        needs.add(Capability.JSON_SCHEMA)
    input_tokens, input_tokens_upper = estimate_tokens_and_upper(conversation)
    json_count, json_count_upper = json_tokens(tool_bytes + schema_bytes)
    return Demand(
        input_tokens=input_tokens + attached.tokens + json_count,
        input_tokens_upper=input_tokens_upper + attached.tokens_upper + json_count_upper,
        max_output_tokens=_max_output_tokens(fields),
        capabilities=frozenset(needs),
        n_answers=(whole_number(fields, "n") or 1) if "n" in fields else 1,
        is_spoken=is_spoken,
        media=attached.media,
    )


def _tool_bytes(fields: Mapping[str, Any], turns: Sequence[Turn]) -> int:
    """Count the bytes of tool definitions and of tool calls in the history.

    Both are tokens of the prompt, and a model without tools can read neither.
    """
    n_bytes = 0
    for turn in turns:
        for raw in (turn.tool_calls, turn.function_call):
            if raw is not NOTHING and not _is_empty(raw):
                n_bytes += len(memoryview(raw))
    for name in ("tools", "functions"):
        if name in fields and field_value(fields, name):
            n_bytes += len(memoryview(fields[name]))
    return n_bytes


def _is_empty(raw: msgspec.Raw) -> bool:
    """Whether a value is null, or a list or an object of nothing, as some clients write it."""
    if len(memoryview(raw)) > _FEW_BYTES:
        return False
    try:
        return not msgspec.json.decode(raw)
    except msgspec.DecodeError:
        return False  # a number or a string that is none


def _schema_bytes(fields: Mapping[str, Any]) -> int:
    """Count the bytes of the schema that the answer has to follow: the model reads it too."""
    if "response_format" not in fields:
        return 0
    response_format = field_value(fields, "response_format")
    if response_format is None or response_format.type != "json_schema":
        return 0
    return len(memoryview(fields["response_format"]))


def _max_output_tokens(fields: Mapping[str, Any]) -> int | None:
    # Servers that know only one of the names heed that one: where both stand, the larger counts.
    most: int | None = None
    for name in ("max_completion_tokens", "max_tokens"):
        limit = whole_number(fields, name) if name in fields else None
        if limit is not None and (most is None or limit > most):
            most = limit
    return most


def whole_number(fields: Mapping[str, Any], name: str, *, least: int = 1) -> int | None:
    """Return the number of a field; None where there is none.

    Raises
    ------
    InvalidRequestError
        If it is no whole number, or out of bounds.
    """
    value: float | None = field_value(fields, name)
    if value is None:
        return None
    if not least <= value <= _MAX_TOKENS_LIMIT or value != int(value):
        raise InvalidRequestError(
            f"{name} must be a whole number from {least} to {_MAX_TOKENS_LIMIT}, not {value}",
            param=name,
        )
    return int(value)
