"""OpenAI's chat-completions wire format, as far as routing has to understand it.

The body is taken apart one level deep: every field stays the bytes that the client sent, and
only those that routing needs are looked into. What is not looked into passes through untouched.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from app.api.knobs import NO_KNOBS, Knobs, knobs_from_object
from app.errors import InvalidRequestError
from routers.token_estimate import estimate_tokens_and_upper
from routers.types import Capability, Conversation, Demand, Message, Role

_MAX_TOKENS_LIMIT = 10_000_000
_IMAGE_TOKENS = {"low": 85}
_IMAGE_TOKENS_DEFAULT = 765
"""What a 1024 x 1024 picture at high detail counts for; the true number depends on the model."""

_ROLES: Mapping[str, Role] = {
    "system": Role.SYSTEM,
    "developer": Role.SYSTEM,
    "user": Role.USER,
    "assistant": Role.ASSISTANT,
    "tool": Role.TOOL,
    "function": Role.TOOL,
}


class _ImageUrl(msgspec.Struct):
    detail: str | None = None


class _Part(msgspec.Struct):
    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: Any = None


class _Message(msgspec.Struct):
    role: str
    content: str | list[_Part] | None = None
    refusal: str | None = None
    tool_calls: msgspec.Raw = msgspec.Raw(b"null")
    function_call: msgspec.Raw = msgspec.Raw(b"null")


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class _ResponseFormat(msgspec.Struct):
    type: str | None = None


_ENVELOPE = msgspec.json.Decoder(dict[str, msgspec.Raw])
_MESSAGES = msgspec.json.Decoder(list[_Message])
_DECODERS: Mapping[str, msgspec.json.Decoder[Any]] = {
    "model": msgspec.json.Decoder(str),
    "stream": msgspec.json.Decoder(bool | None),
    "stream_options": msgspec.json.Decoder(_StreamOptions | None),
    # To JSON, and to some clients, 1.0 is a whole number.
    "max_tokens": msgspec.json.Decoder(int | float | None),
    "max_completion_tokens": msgspec.json.Decoder(int | float | None),
    "n": msgspec.json.Decoder(int | float | None),
    "tools": msgspec.json.Decoder(list[dict[str, msgspec.Raw]] | None),
    "functions": msgspec.json.Decoder(list[dict[str, msgspec.Raw]] | None),
    "response_format": msgspec.json.Decoder(_ResponseFormat | None),
    "modalities": msgspec.json.Decoder(list[str] | None),
    "routing": msgspec.json.Decoder(dict[str, Any] | None),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """One chat-completions request, parsed as far as routing needs it.

    Attributes
    ----------
    model
        The name the client asked for.
    fields
        The body's top-level fields as sent, without `model` and `routing`.
    include_usage
        Whether the client asked for the usage event of a stream.
    conversation, demand
        What the router looks at.
    knobs
        The routing options of the body alone; headers are merged in by the endpoint.
    """

    model: str
    fields: Mapping[str, bytes]
    stream: bool
    include_usage: bool
    conversation: Conversation
    demand: Demand
    knobs: Knobs


def parse_chat_request(body: bytes) -> ChatRequest:
    """Take a request body apart.

    Raises
    ------
    InvalidRequestError
        With the `param` at fault, for anything that is not a chat-completions request.
    """
    fields = _envelope(body)
    if "model" not in fields:
        raise InvalidRequestError("you must provide a model parameter", param="model")
    model = _value(fields, "model")
    if not model:
        raise InvalidRequestError("model must not be empty", param="model")
    if "messages" not in fields:
        raise InvalidRequestError("you must provide a messages parameter", param="messages")
    messages = _messages(fields["messages"])
    stream = bool(_value(fields, "stream"))
    stream_options = _value(fields, "stream_options")
    conversation = Conversation(tuple(_to_message(each) for each in messages))
    routing = _value(fields, "routing")
    return ChatRequest(
        model=model,
        fields={k: bytes(v) for k, v in fields.items() if k not in ("model", "routing")},
        stream=stream,
        include_usage=bool(stream_options and stream_options.include_usage),
        conversation=conversation,
        demand=_demand(fields, messages, conversation, stream=stream),
        knobs=NO_KNOBS if routing is None else knobs_from_object(routing),
    )


def _envelope(body: bytes) -> dict[str, Any]:
    if not body.strip():
        raise InvalidRequestError("the request body is empty; send a JSON object")
    if not body.isascii():
        try:
            body.decode("utf-8")
        except UnicodeDecodeError as error:
            raise InvalidRequestError(
                f"the request body is not valid UTF-8 (byte {error.start})"
            ) from error
    try:
        return _ENVELOPE.decode(body)
    except msgspec.ValidationError as error:
        raise InvalidRequestError("the request body must be a JSON object") from error
    except msgspec.DecodeError as error:
        raise InvalidRequestError(f"could not parse the request body as JSON: {error}") from error
    except RecursionError as error:
        raise InvalidRequestError("the request body is nested too deeply") from error


def _value(fields: Mapping[str, Any], name: str) -> Any:
    raw = fields.get(name)
    return None if raw is None else _decode(_DECODERS[name], raw, name)


def _decode(decoder: msgspec.json.Decoder[Any], raw: Any, name: str) -> Any:
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$")
        param = name + path.rstrip("`")
        raise InvalidRequestError(f"invalid type for {param}: {message}", param=param) from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidRequestError(f"could not parse {name}: {error}", param=name) from error


def _messages(raw: Any) -> list[_Message]:
    messages: list[_Message] = _decode(_MESSAGES, raw, "messages")
    if not messages:
        raise InvalidRequestError("messages must hold at least one message", param="messages")
    return messages


def _to_message(message: _Message) -> Message:
    content = message.content
    if content is None:
        text = message.refusal or ""
    elif isinstance(content, str):
        text = content
    else:
        text = "\n".join(part.text or part.refusal or "" for part in content)
    return Message(_ROLES.get(message.role, Role.USER), text)


def _demand(
    fields: Mapping[str, Any],
    messages: list[_Message],
    conversation: Conversation,
    *,
    stream: bool,
) -> Demand:
    parts = [part for each in messages if isinstance(each.content, list) for part in each.content]
    images = [_image_tokens(part) for part in parts if part.type == "image_url"]
    tool_bytes = _tool_bytes(fields, messages)
    needs = []
    if stream:
        needs.append(Capability.STREAMING)
    if images:
        needs.append(Capability.VISION)
    if "audio" in (_value(fields, "modalities") or ()) or any(
        part.type == "input_audio" for part in parts
    ):
        needs.append(Capability.AUDIO)
    if tool_bytes:
        needs.append(Capability.TOOLS)
    if _wants_json_schema(fields):
        needs.append(Capability.JSON_SCHEMA)
    input_tokens, input_tokens_upper = estimate_tokens_and_upper(conversation)
    # Tool definitions are JSON, of which a token covers about four bytes; three is cautious.
    return Demand(
        input_tokens=input_tokens + sum(images) + tool_bytes // 4,
        input_tokens_upper=input_tokens_upper + 2 * sum(images) + tool_bytes // 3,
        max_output_tokens=_max_output_tokens(fields),
        capabilities=frozenset(needs),
        n_answers=_positive(fields, "n") or 1,
    )


def _tool_bytes(fields: Mapping[str, Any], messages: list[_Message]) -> int:
    """Count the bytes of tool definitions and of tool calls in the history.

    Both are tokens of the prompt, and a model without tools can read neither.
    """
    n_bytes = sum(
        len(memoryview(raw))
        for message in messages
        for raw in (message.tool_calls, message.function_call)
        if bytes(raw) != b"null"
    )
    return n_bytes + sum(
        len(memoryview(fields[name])) for name in ("tools", "functions") if _value(fields, name)
    )


def _wants_json_schema(fields: Mapping[str, Any]) -> bool:
    response_format = _value(fields, "response_format")
    return response_format is not None and response_format.type == "json_schema"


def _image_tokens(part: _Part) -> int:
    detail = part.image_url.get("detail") if isinstance(part.image_url, dict) else None
    return (
        _IMAGE_TOKENS.get(detail, _IMAGE_TOKENS_DEFAULT)
        if isinstance(detail, str)
        else (_IMAGE_TOKENS_DEFAULT)
    )


def _max_output_tokens(fields: Mapping[str, Any]) -> int | None:
    new = _positive(fields, "max_completion_tokens")
    return _positive(fields, "max_tokens") if new is None else new


def _positive(fields: Mapping[str, Any], name: str) -> int | None:
    value: float | None = _value(fields, name)
    if value is None:
        return None
    if not 1 <= value <= _MAX_TOKENS_LIMIT or value != int(value):
        raise InvalidRequestError(
            f"{name} must be a whole number from 1 to {_MAX_TOKENS_LIMIT}, not {value}", param=name
        )
    return int(value)
