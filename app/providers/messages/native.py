"""Requests and answers between a client and an upstream that both speak the Messages API.

Nothing is translated: what is sent is what the client wrote, what comes back is what the upstream
wrote, byte for byte. It is read all the same, for what has to be known of every answer.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from app.errors import UpstreamError, UpstreamInvalidResponseError, UpstreamMisconfiguredError
from app.paths import MESSAGES
from app.providers.base import Chunk, ModelCall
from app.providers.http.error_body import ErrorDetail, error_detail
from app.providers.http.errors import Headers, error_from_event
from app.providers.http.lenient import Mender
from app.providers.http.passed_on import Found, PassedOnStream
from app.providers.http.sse import MAX_EVENT_BYTES
from app.providers.messages.wire import FINISH_REASONS, Event, UsageSoFar, read_event, read_message
from app.providers.translation.seals import without_seals
from app.wire.decoding import DECODE_ERRORS
from app.wire.messages.seal import is_signed, may_hold_unsigned
from app.wire.messages.shapes import THINKING_TYPES
from app.wire.thinking import bounded_thinking
from app.wire.usage_records import read_usage

_SILENT = frozenset({"text", "thinking"})
"""Blocks that begin with nothing said."""

_PLACEHOLDER = {"type": "text", "text": "(Thinking that was left out.)"}

_decode_turns = msgspec.json.Decoder(list[dict[str, msgspec.Raw]]).decode
_decode_blocks = msgspec.json.Decoder(list[dict[str, Any]]).decode
_encode = msgspec.json.Encoder().encode


def encode_native(fields: Mapping[str, bytes], *, model: str) -> bytes:
    """Return the body to send: the client's, under the name that the upstream has for the model.

    Thinking that no model of Anthropic's sealed is taken out: it would have the whole request
    refused.
    """
    messages = fields.get("messages", b"")
    if may_hold_unsigned(messages):
        fields = {**fields, "messages": without_thinking(messages, unsigned_only=True)}
    pieces = [b'{"model":%b' % _encode(model)]
    pieces += [b",%b:%b" % (_encode(name), value) for name, value in fields.items()]
    return b"".join(pieces) + b"}"


def with_fitting_thinking(fields: Mapping[str, bytes]) -> Mapping[str, bytes]:
    """Return fields whose budget of thinking fits into a limit of the answer that was lowered."""
    try:
        thinking = msgspec.json.decode(fields.get("thinking", b"null"))
        limit = msgspec.json.decode(fields.get("max_tokens", b"null"))
    except DECODE_ERRORS:
        return fields
    if not isinstance(thinking, dict) or not isinstance(limit, int):
        return fields
    fitting = bounded_thinking(thinking, limit)
    return fields if fitting is thinking else {**fields, "thinking": _encode(fitting)}


def without_thoughts(call: ModelCall) -> Mapping[str, bytes] | None:
    """Return the fields of a call without what models thought; None where there is nothing."""
    messages = call.fields.get("messages", b"")
    native = call.dialect == MESSAGES
    kept = without_thinking(messages) if native else without_seals(messages)
    return None if kept == messages else {**call.fields, "messages": kept}


def without_thinking(messages: bytes, *, unsigned_only: bool = False) -> bytes:
    """Return the turns without what models thought in them.

    Parameters
    ----------
    unsigned_only
        Leave what carries the seal of a model of Anthropic's.
    """
    try:
        turns = _decode_turns(messages)
    except DECODE_ERRORS:
        return messages
    changed = False
    for turn in turns:
        content = turn.get("content")
        if content is None or bytes(turn.get("role", b"")) != b'"assistant"':
            continue
        try:
            blocks = _decode_blocks(content)
        except DECODE_ERRORS:
            continue
        kept = [
            block
            for block in blocks
            if block.get("type") not in THINKING_TYPES or (unsigned_only and is_signed(block))
        ]
        if len(kept) < len(blocks):
            turn["content"] = msgspec.Raw(_encode(kept or [_PLACEHOLDER]))
            changed = True
    return _encode(turns) if changed else messages


def is_error_body(body: bytes) -> bool:
    """Whether a client of the Messages API finds what is wrong in an error body."""
    try:
        value = msgspec.json.decode(body)
    except DECODE_ERRORS:
        return False
    if not isinstance(value, dict) or value.get("type") != "error":
        return False
    error = value.get("error")
    return isinstance(error, dict) and isinstance(error.get("message"), str)


def native_answer(body: bytes, headers: Headers) -> Chunk:
    """Read a whole answer.

    Raises
    ------
    UpstreamError
        If it is no message.
    """
    message, content = read_message(body, Mender())
    n_chars = sum(
        len(block.text or "")
        + len(block.thinking or "")
        + (len(block.name or "") + len(block.arguments) if block.type.endswith("tool_use") else 0)
        for block in content
    )
    if n_chars == 0 and message.stop_reason is None:
        raise UpstreamInvalidResponseError("the upstream's answer is empty")
    return Chunk(
        data=body,
        usage=read_usage(message.usage),
        content_events=1,
        content_chars=n_chars,
        response_model=message.model,
        finish_reason=FINISH_REASONS.get(message.stop_reason or "", "stop"),
        headers=tuple(headers),
        dialect=MESSAGES,
    )


class NativeStream(PassedOnStream):
    """Passes on a stream of the Messages API, and reads it."""

    def __init__(self, headers: Headers = (), *, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        super().__init__(
            headers,
            dialect=MESSAGES,
            last_words=(b"message_stop",),
            max_event_bytes=max_event_bytes,
        )
        self._usage = UsageSoFar()
        self._mender = Mender()
        self._said = False

    def _take(self, data: bytes, found: Found) -> None:
        event = read_event(data, self._mender)
        match event.type:
            case "content_block_delta" | "content_block_start":
                _hear(event, found)
            case "message_start" if event.message is not None:
                found.model = event.message.model
                found.usage = self._usage.add(event.message.usage, beginning=True)
            case "message_delta":
                found.usage = self._usage.add(event.usage)
                if event.delta is not None and event.delta.stop_reason is not None:
                    found.finish_reason = FINISH_REASONS.get(event.delta.stop_reason, "stop")
                    found.has_content = True
            case "message_stop":
                if not (self._said or found.has_content):
                    raise UpstreamInvalidResponseError("the upstream's answer is empty")
                self.done = True
            case "error":
                self.error = _reported(data)
            case "" if error_detail(data) is not None:
                self.error = _reported(data)
            case _:
                pass  # a ping, or an event of the future
        self._said = self._said or found.has_content


def _reported(data: bytes) -> UpstreamError:
    error = error_from_event(error_detail(data) or ErrorDetail())
    if not isinstance(error, UpstreamMisconfiguredError):
        error.body, error.dialect = data, MESSAGES
    return error


def _hear(event: Event, found: Found) -> None:
    """Count a piece of the answer."""
    if event.delta is not None:
        delta = event.delta
        found.add_content(len(delta.text or delta.thinking or delta.partial_json or ""))
    elif event.content_block is not None:
        block = event.content_block
        n_chars = len(block.text or block.thinking or block.name or "")
        if n_chars or block.type not in _SILENT:
            found.add_content(n_chars)
    else:
        found.add_content(0)
