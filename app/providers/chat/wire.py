"""OpenAI's chat completions on the wire: the request that is sent, the answers that come back.

Only the few fields the gateway needs are decoded; everything else passes as the bytes it was.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from app.errors import UpstreamInvalidResponseError
from app.providers.http.error_body import ErrorDetail, error_detail
from app.providers.http.lenient import Mender, dumps, is_clean
from app.usage import ToldUsage
from app.wire.decoding import DECODE_ERRORS
from app.wire.usage_records import read_usage

NULL = msgspec.Raw(b"null")
"""What a field that is absent, or says so, decodes to."""

_BACKSLASH = ord("\\")
_TEXT_KEYS = ("content", "refusal", "reasoning_content", "reasoning")


class ChunkChoice(msgspec.Struct, frozen=True, gc=False):
    """One choice of a streamed event."""

    delta: dict[str, object] | None = None
    finish_reason: str | None = None
    usage: msgspec.Raw = NULL
    error: msgspec.Raw = NULL


class ChunkEvent(msgspec.Struct, frozen=True, gc=False):
    """One event of a stream; also recognises an error in its place."""

    choices: list[ChunkChoice] | None = None
    usage: msgspec.Raw = NULL
    x_groq: msgspec.Raw = NULL
    usage_metadata: msgspec.Raw = msgspec.field(default=NULL, name="usageMetadata")
    error: msgspec.Raw = NULL
    model: str | None = None
    object: str | None = None


class _MessageChoice(msgspec.Struct, frozen=True, gc=False):
    message: dict[str, object] | None = None
    finish_reason: str | None = None
    usage: msgspec.Raw = NULL
    error: msgspec.Raw = NULL


class Completion(msgspec.Struct, frozen=True, gc=False):
    """A whole answer."""

    choices: list[_MessageChoice] | None = None
    usage: msgspec.Raw = NULL
    error: msgspec.Raw = NULL
    x_groq: msgspec.Raw = NULL
    usage_metadata: msgspec.Raw = msgspec.field(default=NULL, name="usageMetadata")
    model: str | None = None


_decode_event = msgspec.json.Decoder(ChunkEvent).decode
_decode_completion = msgspec.json.Decoder(Completion).decode
_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode


def encode_request(
    fields: Mapping[str, bytes], *, model: str, stream: bool, ask_for_usage: bool
) -> bytes:
    """Return the body to send: the client's fields byte for byte, with our changes.

    Parameters
    ----------
    fields
        Top-level key → JSON bytes.
    ask_for_usage
        Whether a stream is asked to end with a usage event; other stream options are kept. Where
        not, none are: the server refuses them.
    """
    body: dict[str, msgspec.Raw] = {"model": msgspec.Raw(_encode(model))}
    for key, value in fields.items():
        if key != "model":
            body[key] = msgspec.Raw(value)
    if stream:
        body["stream"] = msgspec.Raw(b"true")
        if not ask_for_usage:
            body.pop("stream_options", None)
        else:
            body["stream_options"] = _with_usage(fields.get("stream_options", b"null"))
    return _encode(body)


def _with_usage(options: bytes) -> msgspec.Raw:
    if options.strip() == b"null":
        return msgspec.Raw(b'{"include_usage":true}')
    try:
        merged = _decode_object(options)
    except DECODE_ERRORS:
        return msgspec.Raw(options)  # the upstream says better than we what is wrong with it
    merged["include_usage"] = msgspec.Raw(b"true")
    return msgspec.Raw(_encode(merged))


def decode_event(data: bytes) -> ChunkEvent | None:
    """Decode the data of one streamed event; None where it is not quite what it should be."""
    try:
        event = _decode_event(data)
    except DECODE_ERRORS:
        return None
    return event if is_readable(data) else None


def is_readable(data: bytes) -> bool:
    """Whether strict clients can read JSON that was decoded in parts."""
    # Nearly every event is ASCII without a backslash, in which nothing can be amiss.
    return (_BACKSLASH not in data and data.isascii()) or is_clean(data)


def mend_event(data: bytes, mender: Mender) -> tuple[ChunkEvent, bytes]:
    """Decode an event that is nearly one, and return what of it clients can read.

    Raises
    ------
    UpstreamInvalidResponseError
        If it is not JSON in any way, or no object.
    """
    try:
        value, data = mender.read(data)
    except ValueError as error:
        raise UpstreamInvalidResponseError(
            "the upstream sent an event that is no chat completion chunk"
        ) from error
    if not isinstance(value, dict):
        raise UpstreamInvalidResponseError("the upstream sent an event that is no object")
    choices = value.get("choices")
    kept = objects(choices)
    if isinstance(choices, list) and len(kept) < len(choices):
        data = dumps({**value, "choices": kept})  # no client reads a null among its choices
    event = ChunkEvent(
        choices=None
        if choices is None
        else [
            ChunkChoice(
                delta=_object(each.get("delta")),
                finish_reason=word(each.get("finish_reason")),
                usage=raw_json(each.get("usage")),
                error=raw_json(each.get("error")),
            )
            for each in kept
        ],
        usage=raw_json(value.get("usage")),
        x_groq=raw_json(value.get("x_groq")),
        usage_metadata=raw_json(value.get("usageMetadata")),
        error=raw_json(value.get("error")),
        model=word(value.get("model")),
        object=word(value.get("object")),
    )
    return event, data


def decode_completion(body: bytes) -> tuple[Completion, bytes]:
    """Decode a whole answer, and return the bytes of it that clients can read.

    Raises
    ------
    UpstreamInvalidResponseError
        If it is not JSON in any way, or no object.
    """
    try:
        completion = _decode_completion(body)
    except DECODE_ERRORS:
        return _mend_completion(body)
    return (completion, body) if is_clean(body) else _mend_completion(body)


def _mend_completion(body: bytes) -> tuple[Completion, bytes]:
    try:
        value, body = Mender().read(body)
    except ValueError as error:
        raise UpstreamInvalidResponseError("the upstream's answer is no chat completion") from error
    if not isinstance(value, dict):
        raise UpstreamInvalidResponseError("the upstream's answer is no object")
    completion = Completion(
        choices=[
            _MessageChoice(
                message=_object(each.get("message")),
                finish_reason=word(each.get("finish_reason")),
                usage=raw_json(each.get("usage")),
                error=raw_json(each.get("error")),
            )
            for each in objects(value.get("choices"))
        ],
        usage=raw_json(value.get("usage")),
        error=raw_json(value.get("error")),
        x_groq=raw_json(value.get("x_groq")),
        usage_metadata=raw_json(value.get("usageMetadata")),
        model=word(value.get("model")),
    )
    return completion, body


def objects(value: Any) -> list[dict[str, Any]]:
    """Return those of a list's values that are objects; none of what is no list."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _object(value: Any) -> dict[str, object] | None:
    if isinstance(value, str):
        return {"content": value}
    return value if isinstance(value, dict) else None


def word(value: Any) -> str | None:
    """Return a text; None in the place of anything else."""
    return value if isinstance(value, str) else None


def raw_json(value: Any) -> msgspec.Raw:
    """Return the JSON of a value that has been read."""
    return NULL if value is None else msgspec.Raw(dumps(value))


def error_in(answer: ChunkEvent | Completion) -> ErrorDetail | None:
    """Read the error in an answer or in one of its choices; None if there is none that says why."""
    if answer.error is not NULL and answer.error != NULL:
        detail = error_detail(bytes(answer.error))
        if detail is not None:
            return detail
    for choice in answer.choices or ():
        if choice.error is not NULL and choice.error != NULL:
            detail = error_detail(bytes(choice.error))
            if detail is not None:
                return detail
        if choice.finish_reason == "error":  # OpenRouter
            return ErrorDetail()
    return None


def told_usage(answer: ChunkEvent | Completion) -> ToldUsage | None:
    """Read the token counts of an answer, or an event of one, wherever they stand."""
    if answer.usage is not NULL and answer.usage != NULL:
        told = read_usage(answer.usage)
        if told is not None:
            return told
    for choice in answer.choices or ():
        if choice.usage is not NULL:  # Moonshot (earendil-works/pi#2017)
            return read_usage(choice.usage)
    if answer.usage_metadata is not NULL:  # Gemini's own, through servers that relay it
        return read_usage(answer.usage_metadata)
    if answer.x_groq is not NULL:
        try:
            return read_usage(_decode_object(answer.x_groq).get("usage", NULL))
        except DECODE_ERRORS:
            return None
    return None


def has_content(delta: Mapping[str, object]) -> bool:
    """Whether a delta carries anything but the announcement of its role."""
    return any(value and key != "role" for key, value in delta.items())


def text_chars(message: Mapping[str, object]) -> int:
    """Count the characters that the model wrote in a message or delta, tool calls included."""
    total = 0
    for key in _TEXT_KEYS:
        text = message.get(key)
        if isinstance(text, str):
            total += len(text)
            if key == "reasoning_content":
                break  # some servers repeat it as `reasoning`
    calls = message.get("tool_calls")
    if isinstance(calls, list):
        total += sum(_call_chars(call.get("function")) for call in calls if isinstance(call, dict))
    return total + _call_chars(message.get("function_call"))


def _call_chars(function: object) -> int:
    if not isinstance(function, dict):
        return 0
    texts: Iterable[object] = (function.get("name"), function.get("arguments"))
    return sum(len(text) for text in texts if isinstance(text, str))
