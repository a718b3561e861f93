"""The reads of one chat completion stream, turned into chunks."""

from app.errors import UpstreamInvalidResponseError
from app.providers.base import Chunk, TextPiece
from app.providers.chat.text_events import TextEvent, read_text_event
from app.providers.chat.wire import (
    NULL,
    ChunkEvent,
    decode_event,
    error_in,
    has_content,
    mend_event,
    text_chars,
    told_usage,
)
from app.providers.http.error_body import ErrorDetail, error_detail, reported_error
from app.providers.http.errors import Headers, error_from_event
from app.providers.http.lenient import Mender
from app.providers.http.sse import DONE, MAX_EVENT_BYTES, Comment, ErrorEvent
from app.providers.http.sse_stream import SseStream
from app.usage import ToldUsage


class ChatStream(SseStream):
    """Parse what an upstream sends and say what of it goes to the client.

    After each `feed`, `done` says whether the end marker was seen and `error` whether the
    stream failed; what came before the failure is in the chunk that was returned.

    Parameters
    ----------
    headers
        Response headers for the first chunk.
    max_event_bytes
        The size at which an event is refused.
    """

    __slots__ = ("_began", "_expects_text", "_headers", "_mender")

    def __init__(self, headers: Headers = (), *, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        super().__init__(max_event_bytes)
        self._mender = Mender()
        self._headers = tuple(headers)
        self._began = False
        self._expects_text = True
        """Texts come in runs, and so do calls of tools: the next event is probably of the kind of
        the last one."""

    def _chunk(self, events: list[bytes], as_it_came: bytes | None) -> Chunk | None:
        kept: list[bytes] = []
        found = _Found()
        for event in events:
            if type(event) is Comment:
                kept.append(event)
                found.pieces = None
            elif self._is_text(event, found):
                kept.append(event)
            else:
                found.pieces = None
                told = self._take(event, found)
                if told is not None:
                    kept.append(told)
                if told is not event:
                    as_it_came = None
            if self.done or self.error is not None:
                break
        if not kept and found.usage is None:
            return None
        headers, self._headers = self._headers, ()
        self._began = self._began or found.content
        return Chunk(
            data=b"".join(map(_frame, kept)) if as_it_came is None else as_it_came,
            has_content=found.content,
            usage=found.usage,
            usage_event=found.usage_event,
            content_events=found.content_events,
            content_chars=found.content_chars,
            response_model=found.model,
            finish_reason=found.finish_reason,
            template=found.template,
            headers=headers,
            pieces=None if found.pieces is None else tuple(found.pieces),
        )

    def _take(self, event: bytes, found: "_Found") -> bytes | None:
        """Note what an event says; return what the client gets of it."""
        if type(event) is ErrorEvent:
            self._fail(error_detail(event), found)
            return None
        if not event:
            return None  # a keep-alive of some servers
        if event.startswith(DONE):
            self.done = True
            return None
        decoded = None if self._mender.halves else decode_event(event)
        if decoded is None:
            try:
                decoded, event = mend_event(event, self._mender)
            except UpstreamInvalidResponseError as error:
                self.error = error
                return None
        self._expects_text = _brings_text(decoded)
        if _says_more(decoded):
            return self._note(event, decoded, found)
        found.take(event, decoded)
        return event

    def _is_text(self, event: bytes, found: "_Found") -> bool:
        """Note an event if it brings nothing but text; return whether it does."""
        if not self._expects_text or type(event) is ErrorEvent or self._mender.halves:
            return False
        text = read_text_event(event)
        if text is None:
            return False
        found.say(event, text)
        return True

    def _note(self, event: bytes, decoded: ChunkEvent, found: "_Found") -> bytes | None:
        """Note what an event says that says more than a piece of the answer."""
        told = told_usage(decoded)
        if told is not None:
            found.usage = told if found.usage is None else found.usage.updated(told)
            found.usage_event = found.usage_event if decoded.choices else event
        detail = reported_error(event) if decoded.object == "error" else error_in(decoded)
        if detail is not None:
            self._fail(detail, found)
            return None
        if not decoded.choices:
            return self._without_choices(event, decoded, found)
        found.take(event, decoded)
        return event

    def _without_choices(self, event: bytes, decoded: ChunkEvent, found: "_Found") -> bytes | None:
        if decoded.choices is None and decoded.usage is NULL:
            detail = reported_error(event)
            if detail is not None:
                self._fail(detail, found)
                return None
        if decoded.usage != NULL or decoded.choices is not None or b'"choices"' in event:
            # Besides usage it is Azure's filter that speaks without a choice; clients that read
            # the first choice of every event would fall over it.
            return None
        found.model = decoded.model or found.model
        return event

    def _fail(self, detail: ErrorDetail | None, found: "_Found") -> None:
        began = self._began or found.content
        self.error = error_from_event(detail or ErrorDetail(), began=began)


def _brings_text(event: ChunkEvent) -> bool:
    first = event.choices[0].delta if event.choices else None
    return first is not None and bool(first.get("content"))


def _says_more(event: ChunkEvent) -> bool:
    """Whether an event is more than a piece of the answer, or less; compared by identity first."""
    if (
        (event.usage is not NULL and event.usage != NULL)
        or event.error is not NULL
        or event.x_groq is not NULL
        or event.usage_metadata is not NULL
        or not event.choices
    ):
        return True
    for choice in event.choices:
        if choice.usage is not NULL or choice.error is not NULL or choice.finish_reason == "error":
            return True
    return False


class _Found:
    """What the events of one read said, so far."""

    __slots__ = (
        "content",
        "content_chars",
        "content_events",
        "finish_reason",
        "model",
        "pieces",
        "template",
        "usage",
        "usage_event",
    )

    def __init__(self) -> None:
        self.content = False
        self.content_events = 0
        self.content_chars = 0
        self.usage: ToldUsage | None = None
        self.usage_event: bytes | None = None
        self.template: bytes | None = None
        self.model: str | None = None
        self.finish_reason: str | None = None
        self.pieces: list[TextPiece] | None = []

    def say(self, event: bytes, text: TextEvent) -> None:
        """Note an event that brings text and nothing else."""
        self.model = text.model or self.model
        self.template = event
        piece = text.piece
        if piece.text:
            self.content = True
            self.content_events += 1
            self.content_chars += len(piece.text)
        if self.pieces is not None:
            self.pieces.append(piece)

    def take(self, event: bytes, decoded: ChunkEvent) -> None:
        self.model = decoded.model or self.model
        self.template = event
        for choice in decoded.choices or ():
            if choice.finish_reason:
                self.finish_reason = choice.finish_reason
                self.content = True
            if choice.delta and has_content(choice.delta):
                self.content = True
                chars = text_chars(choice.delta)
                if chars:
                    self.content_events += 1
                    self.content_chars += chars


def _frame(event: bytes) -> bytes:
    if type(event) is Comment:
        return event + b"\n\n"
    # In JSON a line break is nothing but white space: one line serves the simplest of clients.
    return b"data: %b\n\n" % (event.replace(b"\n", b" ") if b"\n" in event else event)
