"""Answers of models that do not chat, passed on with what has to be known of them."""

import re

import msgspec

from app.errors import UpstreamError, UpstreamInvalidResponseError
from app.providers.base import Chunk, ModelCall
from app.providers.http.error_body import ErrorDetail, error_detail, reported_error
from app.providers.http.errors import Headers, error_from_event
from app.providers.http.paid import usage_in
from app.providers.http.reads import first_byte
from app.providers.http.sse import DONE, Comment, ErrorEvent, SseParser
from app.usage import ToldUsage
from app.wire.pinned.embeddings import read_vectors
from app.wire.pinned.endpoints import EMBEDDINGS, PINNED, SPEECH
from app.wire.pinned.forms import FORM_AFTER, FORM_BEFORE
from app.wire.usage_records import read_usage

_HELD_BYTES = 4_096
"""So much is kept back until the first event is whole; a failure is shorter."""

_TAIL_BYTES = 65_536
"""Where the token counts of an answer stand: behind everything else; an error is no longer."""

_USAGE_KEY = b'"usage":'
_EVENT_END = re.compile(rb"\r?\n\r?\n|\r\r")
_ANSWERED_IN_JSON = frozenset({each for each in PINNED if not each.startswith("audio/")})
"""Where a page of a proxy's is no answer, whatever its status."""
_JSON = (b"application/json", b"application/problem+json")
_encode = msgspec.json.encode


def encode_pinned(call: ModelCall) -> bytes:
    """Return the body of a request with the name that the upstream knows the model by."""
    fields = call.fields
    if FORM_BEFORE in fields:
        name = call.upstream_model.encode()
        return b"".join((fields[FORM_BEFORE], name, fields[FORM_AFTER]))
    told = {name: msgspec.Raw(raw) for name, raw in fields.items()}
    return _encode({"model": call.upstream_model, **told})


def read_pinned(call: ModelCall, body: bytes, headers: Headers) -> Chunk:
    """Read a whole answer.

    Raises
    ------
    UpstreamError
        If it is an error, or none at all.
    """
    if first_byte(body[:64]) == b"{":
        told = len(body) <= _TAIL_BYTES and b'"error' in body
        if told and (detail := reported_error(body)) is not None:
            raise error_from_event(detail)
    elif not body or call.dialect in _ANSWERED_IN_JSON:
        raise UpstreamInvalidResponseError("the upstream's answer is none")
    if call.dialect == EMBEDDINGS:
        body = read_vectors(body, call.fields)
    return Chunk(
        data=body,
        dialect=call.dialect,
        usage=_usage(body),
        headers=tuple(headers),
    )


def _usage(body: bytes) -> ToldUsage | None:
    told = usage_in(body[-_TAIL_BYTES:], key=_USAGE_KEY) or usage_in(
        body[:_TAIL_BYTES], key=_USAGE_KEY
    )
    return None if told is None else read_usage(told)


class RawStream:
    """Passes a stream on byte for byte; see `app.providers.chat.stream.ChatStream`.

    Only its ends are looked into, and nothing of sound: events may begin or end with a failure, and
    may tell token counts last.
    """

    __slots__ = ("_dialect", "_events", "_headers", "_held", "_tail", "done", "error")

    def __init__(self, dialect: str, headers: Headers) -> None:
        self._dialect = dialect
        self._headers = tuple(headers)
        content_type = _content_type(headers)
        self._events = content_type == b"text/event-stream"
        # Of a failure that comes first the client can still be told as of any other.
        self._held: bytes | None = b"" if self._events or content_type in _JSON else None
        self._tail: bytes | None = b"" if self._held is not None or dialect != SPEECH else None
        self.done = False
        self.error: UpstreamError | None = None

    @property
    def pending_bytes(self) -> int:
        """How much is kept back until it is known what it is."""
        return len(self._held or b"")

    def feed(self, data: bytes) -> Chunk | None:
        """Return what one read brought."""
        if not data:
            return None
        if self._held is not None:
            self._held += data
            begun = self._events and _EVENT_END.search(self._held)
            if not begun and len(self._held) <= _HELD_BYTES:
                return None
            data, self._held = self._held, None
            if begun and self._fails(data[: begun.end()], began=False):
                return None
        return self._chunk(data)

    def close(self) -> Chunk | None:
        """Take the end of the connection."""
        self.done = True
        data, self._held = self._held or b"", None
        if data and self._fails(data, began=False):
            return None
        chunk = self._chunk(data)
        if self._tail is None:
            return None
        if not data and self._events:
            self._fails(self._tail, began=True)
        usage = _usage(self._tail)
        if not data and usage is None:
            return None
        return msgspec.structs.replace(chunk, has_content=bool(data), usage=usage)

    def _chunk(self, data: bytes) -> Chunk:
        if self._tail is not None:
            self._tail = (self._tail + data)[-_TAIL_BYTES:]
        headers, self._headers = self._headers, ()
        return Chunk(data=data, dialect=self._dialect, headers=headers)

    def _fails(self, data: bytes, *, began: bool) -> bool:
        """Note the failure that stands last in what came; whether there is one."""
        detail = _failure(data) if self._events else reported_error(data)
        if detail is not None:
            self.error = error_from_event(detail, began=began)
        return detail is not None


def _content_type(headers: Headers) -> bytes:
    for name, value in headers:
        if name.lower() == b"content-type":
            return value.partition(b";")[0].strip().lower()
    return b""


def _failure(events: bytes) -> ErrorDetail | None:
    """Return the failure that the last of the events tells; None where it is another event."""
    told = SseParser().feed(events + b"\n\n")  # whose beginning may be cut
    last = next(
        (each for each in reversed(told) if each != DONE and type(each) is not Comment), b""
    )
    if isinstance(last, ErrorEvent):
        return error_detail(last) or ErrorDetail()
    return reported_error(last) if b'"error"' in last else None
