"""Requests and answers between a client and an upstream that both speak the Responses API.

Nothing is translated; answers are read all the same, for what has to be known of every one.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from app.errors import (
    UpstreamError,
    UpstreamInvalidResponseError,
    UpstreamMisconfiguredError,
    UpstreamUnavailableError,
)
from app.paths import RESPONSES
from app.providers.base import Chunk
from app.providers.http.error_body import ErrorDetail, error_detail
from app.providers.http.errors import Headers, error_from_event
from app.providers.http.lenient import Mender
from app.providers.http.passed_on import Found, PassedOnStream
from app.usage import ToldUsage
from app.wire.decoding import DECODE_ERRORS
from app.wire.usage_records import read_usage

_NULL = msgspec.Raw(b"null")
_ENDS = (b"response.completed", b"response.incomplete")
_SILENT = frozenset({"message", "reasoning"})
"""Items that begin with nothing said."""
_FINISH_REASONS = {"max_output_tokens": "length", "content_filter": "content_filter"}
_TEXTS = frozenset({"text", "refusal", "arguments", "input", "name"})
_CALLS = frozenset({"function_call", "custom_tool_call"})


class _Response(msgspec.Struct, frozen=True, gc=False):
    """A response, as far as it is looked into; what is odd in it is the client's to read."""

    status: Any = None
    model: Any = None
    output: Any = None
    usage: msgspec.Raw = _NULL
    error: msgspec.Raw = _NULL
    incomplete_details: Any = None

    @property
    def items(self) -> list[Any]:
        """What was answered."""
        return self.output if isinstance(self.output, list) else []

    @property
    def told_model(self) -> str | None:
        """The model that answers, as the upstream calls it."""
        return self.model if isinstance(self.model, str) else None

    @property
    def told_usage(self) -> ToldUsage | None:
        """The token counts that the upstream told."""
        return None if self.usage == _NULL else read_usage(self.usage)

    @property
    def finish_reason(self) -> str:
        """Why the answer ended, in the words of chat completions."""
        if isinstance(self.incomplete_details, dict):
            return _FINISH_REASONS.get(str(self.incomplete_details.get("reason")), "length")
        called = any(isinstance(item, dict) and item.get("type") in _CALLS for item in self.items)
        return "tool_calls" if called else "stop"


class _Event(msgspec.Struct, frozen=True, gc=False):
    type: str = ""
    delta: Any = None
    item: Any = None
    response: _Response | None = None

    @property
    def begins(self) -> bool:
        """Whether it adds an item in which something of the answer is already."""
        return isinstance(self.item, dict) and self.item.get("type") not in _SILENT


def _n_chars(value: Any, key: str = "") -> int:
    """Count the characters of what is said in an item, however deep."""
    n_chars = 0
    named = value.items() if type(value) is dict else ((key, each) for each in value)
    for name, each in named:
        kind = type(each)
        if kind is str:
            if name in _TEXTS:
                n_chars += len(each)
        elif kind is dict or kind is list:
            n_chars += _n_chars(each, name)
    return n_chars


_decode_response = msgspec.json.Decoder(_Response).decode
_decode_event = msgspec.json.Decoder(_Event).decode
_encode = msgspec.json.Encoder().encode


def encode_native(fields: Mapping[str, bytes], *, model: str) -> bytes:
    """Return the body to send: the client's, under the name that the upstream has for the model."""
    pieces = [b'{"model":%b' % _encode(model)]
    pieces += [b",%b:%b" % (_encode(name), value) for name, value in fields.items()]
    return b"".join(pieces) + b"}"


def native_answer(body: bytes, headers: Headers) -> Chunk:
    """Read a whole answer.

    Raises
    ------
    UpstreamError
        If it is none, or tells of a failure.
    """
    response, body = _read_response(body)
    if response.error != _NULL or response.status == "failed":
        raise _reported(body, response)
    if not (response.items or response.incomplete_details):
        raise UpstreamInvalidResponseError("the upstream's answer is empty")
    return Chunk(
        data=body,
        usage=response.told_usage,
        content_events=1,
        content_chars=_n_chars(response.items),
        response_model=response.told_model,
        finish_reason=response.finish_reason,
        headers=tuple(headers),
        dialect=RESPONSES,
    )


def _read_response(body: bytes) -> tuple[_Response, bytes]:
    """Return a Response, and the bytes of it that clients can read."""
    try:
        return _decode_response(body), body
    except DECODE_ERRORS:
        pass
    try:
        _, body = Mender().read(body)
        return _decode_response(body), body
    except (ValueError, *DECODE_ERRORS) as error:
        raise UpstreamInvalidResponseError("the upstream's answer is no response") from error


class NativeStream(PassedOnStream):
    """Passes on a stream of the Responses API, and reads it."""

    def __init__(self, headers: Headers, *, max_event_bytes: int) -> None:
        super().__init__(
            headers,
            dialect=RESPONSES,
            last_words=_ENDS,
            max_event_bytes=max_event_bytes,
        )
        self._said = False

    def close(self) -> Chunk | None:
        """Take the end of the connection: fine only after the last event of a response."""
        told = super().close()
        if not self.done and self.error is None:
            self.error = UpstreamUnavailableError(
                "the upstream's stream ended before its response was complete"
            )
        return told

    def _take(self, data: bytes, found: Found) -> None:
        if data == b"[DONE]":
            return
        event = _read_event(data)
        match event.type:
            case kind if kind.endswith(".delta"):
                found.add_content(len(event.delta) if isinstance(event.delta, str) else 0)
            case "response.output_item.added" if event.begins:
                found.add_content(_n_chars(event.item))
            case "response.created" if event.response is not None:
                found.model = event.response.told_model
            case "response.completed" | "response.incomplete" if event.response is not None:
                self._end(event.response, found)
            case "response.failed":
                self.error = _reported(data, event.response)
            case "error" | "" if error_detail(data) is not None:
                self.error = _reported(data, None)
            case _:
                pass  # what surrounds the answer, or an event of the future
        self._said = self._said or found.has_content

    def _end(self, response: _Response, found: Found) -> None:
        said = self._said or found.has_content or response.items
        if not said and not response.incomplete_details:
            raise UpstreamInvalidResponseError("the upstream's answer is empty")
        found.has_content = True
        found.model = response.told_model
        found.usage = response.told_usage
        found.finish_reason = response.finish_reason
        self.done = True


def _read_event(data: bytes) -> _Event:
    try:
        return _decode_event(data)
    except DECODE_ERRORS:
        pass
    try:
        # What is no JSON for the strict is passed on as it came, as all else is.
        return _decode_event(Mender().read(data)[1])
    except (ValueError, *DECODE_ERRORS) as error:
        raise UpstreamInvalidResponseError("an event of the upstream is none") from error


def _reported(data: bytes, response: _Response | None) -> UpstreamError:
    raw = data if response is None or response.error == _NULL else b'{"error":%b}' % response.error
    error = error_from_event(error_detail(raw) or ErrorDetail())
    if not isinstance(error, UpstreamMisconfiguredError):
        error.body, error.dialect = data, RESPONSES
    return error
