"""Completions of plain prompts as OpenAI's servers write them: read, and passed on as they came."""

import msgspec

from app.errors import UpstreamError, UpstreamInvalidResponseError
from app.providers.base import Chunk
from app.providers.http.error_body import reported_error
from app.providers.http.errors import Headers, error_from_event
from app.providers.http.sse import DONE, Comment, ErrorEvent, SseParser
from app.types import ToldUsage
from app.wire.completions.request import COMPLETIONS
from app.wire.usage import read_usage

_NULL = msgspec.Raw(b"null")


class _Choice(msgspec.Struct, frozen=True, gc=False):
    text: str | None = None
    finish_reason: str | None = None


class _Texts(msgspec.Struct, frozen=True, gc=False):
    """A whole answer, or one event of a stream: both have the same shape."""

    choices: list[_Choice] | None = None
    usage: msgspec.Raw = _NULL
    error: msgspec.Raw = _NULL
    model: str | None = None


_decode = msgspec.json.Decoder(_Texts).decode
_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def read_texts(body: bytes, headers: Headers) -> Chunk:
    """Read a whole answer.

    Raises
    ------
    UpstreamError
        If it is none, or an error.
    """
    try:
        answer = _decode(body)
    except _ERRORS as error:
        raise UpstreamInvalidResponseError("the upstream's answer is no completion") from error
    if answer.error != _NULL or not answer.choices:
        detail = reported_error(body)
        if detail is not None:
            raise error_from_event(detail)
    choices = answer.choices or ()
    texts = [choice.text or "" for choice in choices]
    reasons = [choice.finish_reason for choice in choices]
    if not (any(texts) or any(reasons)):
        raise UpstreamInvalidResponseError("the upstream's answer is empty")
    return Chunk(
        data=body,
        dialect=COMPLETIONS,
        usage=_usage(answer),
        content_events=len(texts),
        content_chars=sum(map(len, texts)),
        response_model=answer.model,
        finish_reason=reasons[0],
        headers=tuple(headers),
    )


class TextStream:
    """Parse what an upstream streams; see `app.providers.chat.stream.ChatStream`."""

    __slots__ = ("_began", "_headers", "_parser", "done", "error")

    def __init__(self, headers: Headers, *, max_event_bytes: int) -> None:
        self._parser = SseParser(max_event_bytes=max_event_bytes)
        self._headers = tuple(headers)
        self._began = False
        self.done = False
        self.error: UpstreamError | None = None

    @property
    def pending_bytes(self) -> int:
        """How much is kept of an event whose end has not come yet."""
        return self._parser.pending_bytes

    def feed(self, data: bytes) -> Chunk | None:
        """Return what one read brought; None when that was nothing whole."""
        try:
            events = self._parser.feed(data)
        except UpstreamInvalidResponseError as error:
            self.error = error
            return None
        return self._chunk(events)

    def close(self) -> Chunk | None:
        """Take the end of the connection: fine only after the end marker."""
        return self._chunk(self._parser.close())

    def _chunk(self, events: list[bytes]) -> Chunk | None:
        kept: list[bytes] = []
        usage: ToldUsage | None = None
        usage_event = template = model = finish_reason = None
        n_texts = n_chars = 0
        for event in events:
            if type(event) is Comment:
                kept.append(event + b"\n\n")
                continue
            said = self._read(event)
            if said is None:
                if self.done or self.error is not None:
                    break
                continue
            usage = _usage(said) or usage
            model = said.model or model
            if not said.choices:
                usage_event = event
                continue
            template = event
            kept.append(b"data: %b\n\n" % event.replace(b"\n", b" "))
            for choice in said.choices:
                finish_reason = choice.finish_reason or finish_reason
                n_texts += bool(choice.text)
                n_chars += len(choice.text or "")
        if not kept and usage is None:
            return None
        headers, self._headers = self._headers, ()
        content = n_chars > 0 or finish_reason is not None
        self._began = self._began or content
        return Chunk(
            data=b"".join(kept),
            dialect=COMPLETIONS,
            has_content=content,
            usage=usage,
            usage_event=usage_event,
            content_events=n_texts,
            content_chars=n_chars,
            response_model=model,
            finish_reason=finish_reason,
            template=template,
            headers=headers,
        )

    def _read(self, event: bytes) -> _Texts | None:
        """Return what an event says; None of one that says nothing, or ends the stream."""
        if event.startswith(DONE):
            self.done = True
            return None
        if not event:
            return None  # a keep-alive of some servers
        try:
            said = _decode(event)
        except _ERRORS:
            said = None
        if said is None or said.error != _NULL or type(event) is ErrorEvent:
            detail = reported_error(event)
            if detail is not None:
                self.error = error_from_event(detail, began=self._began)
            elif said is None:
                self.error = UpstreamInvalidResponseError(
                    "the upstream sent an event that is no completion"
                )
            return None if self.error is not None else said
        return said


def _usage(answer: _Texts) -> ToldUsage | None:
    return None if answer.usage == _NULL else read_usage(answer.usage)
