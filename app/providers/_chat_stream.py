"""The reads of one chat completion stream, turned into chunks."""

from app.errors import UpstreamError, UpstreamInvalidResponseError
from app.providers._base import Chunk
from app.providers._chat_wire import (
    NULL,
    ChunkChoice,
    decode_event,
    has_content,
    text_chars,
    told_usage,
)
from app.providers._http import ErrorDetail, Headers, error_detail, error_from_event
from app.providers._sse import DONE, Comment, SseParser
from app.types import ToldUsage


class ChatStream:
    """Parse what an upstream sends and say what of it goes to the client.

    After each `feed`, `done` says whether the end marker was seen and `error` whether the
    stream failed; what came before the failure is in the chunk that was returned.

    Parameters
    ----------
    headers
        Response headers for the first chunk.
    """

    __slots__ = ("_headers", "_parser", "done", "error")

    def __init__(self, headers: Headers = ()) -> None:
        self._parser = SseParser()
        self._headers = tuple(headers)
        self.done = False
        self.error: UpstreamError | None = None

    def feed(self, data: bytes) -> Chunk | None:
        """Return what one read brought; None when that was nothing whole."""
        try:
            events = self._parser.feed(data)
        except UpstreamInvalidResponseError as error:
            self.error = error
            return None
        kept: list[bytes] = []
        found = _Found()
        for event in events:
            if type(event) is Comment or self._take(event, found):
                kept.append(event)
            if self.done or self.error is not None:
                break
        if not kept and found.usage_event is None:
            return None
        headers, self._headers = self._headers, ()
        as_it_came = self._parser.canonical and len(kept) == len(events)
        return Chunk(
            data=data if as_it_came else b"".join(map(_frame, kept)),
            has_content=found.content,
            usage=found.usage,
            usage_event=found.usage_event,
            content_events=found.content_events,
            content_chars=found.content_chars,
            response_model=found.model,
            finish_reason=found.finish_reason,
            template=found.template,
            headers=headers,
        )

    def _take(self, event: bytes, found: "_Found") -> bool:
        """Note what an event says; return whether the client gets it."""
        if not event:
            return False  # a keep-alive of some servers
        if event.startswith(DONE):
            self.done = True
            return False
        try:
            decoded = decode_event(event)
        except UpstreamInvalidResponseError as error:
            self.error = error
            return False
        if decoded.is_error:
            self.error = error_from_event(error_detail(event) or ErrorDetail())
            return False
        told = told_usage(decoded)
        if told is not None:
            found.usage = told if found.usage is None else found.usage.updated(told)
            found.usage_event = found.usage_event if decoded.choices else event
        if not decoded.choices and (decoded.usage != NULL or decoded.choices is not None):
            # Besides usage it is Azure's filter that speaks without a choice; clients that read
            # the first choice of every event would fall over it.
            return False
        found.model = decoded.model or found.model
        for choice in decoded.choices or ():
            found.template = event
            found.take(choice)
        return True

    def close(self) -> None:
        """Take the end of the connection: fine only after the end marker."""
        if DONE in self._parser.close():
            self.done = True


class _Found:
    """What the events of one read said, so far."""

    __slots__ = (
        "content",
        "content_chars",
        "content_events",
        "finish_reason",
        "model",
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

    def take(self, choice: ChunkChoice) -> None:
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
