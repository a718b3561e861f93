"""Answers of models that do not chat, passed on with what has to be known of them."""

import msgspec

from app.errors import UpstreamError, UpstreamInvalidResponseError
from app.providers.base import Chunk, ModelCall
from app.providers.http.error_body import reported_error
from app.providers.http.errors import Headers, error_from_event
from app.providers.http.paid import usage_in
from app.types import ToldUsage
from app.wire.pinned.embeddings import read_vectors
from app.wire.pinned.endpoints import EMBEDDINGS, SPEECH
from app.wire.pinned.forms import FORM_AFTER, FORM_BEFORE
from app.wire.usage_records import read_usage

_TAIL_BYTES = 65_536
"""Where the token counts of an answer stand: behind everything else; an error is no longer."""

_USAGE_KEY = b'"usage":'
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
    text = body[:64].lstrip()
    if text.startswith(b"{"):
        told = len(body) <= _TAIL_BYTES and b'"error' in body
        if told and (detail := reported_error(body)) is not None:
            raise error_from_event(detail)
    elif not body or call.dialect == EMBEDDINGS:
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

    Only its end is looked into: events may tell token counts there. Sound tells none.
    """

    __slots__ = ("_dialect", "_headers", "_tail", "done", "error")

    def __init__(self, dialect: str, headers: Headers) -> None:
        self._dialect = dialect
        self._headers = tuple(headers)
        self._tail = b""
        self.done = False
        self.error: UpstreamError | None = None

    @property
    def pending_bytes(self) -> int:
        """Nothing is kept back."""
        return 0

    def feed(self, data: bytes) -> Chunk | None:
        """Return what one read brought."""
        if not data:
            return None
        if self._dialect != SPEECH:
            self._tail = (self._tail + data)[-_TAIL_BYTES:]
        headers, self._headers = self._headers, ()
        return Chunk(data=data, dialect=self._dialect, headers=headers)

    def close(self) -> Chunk | None:
        """Take the end of the connection."""
        self.done = True
        usage = _usage(self._tail)
        if usage is None:
            return None
        return Chunk(data=b"", dialect=self._dialect, has_content=False, usage=usage)
