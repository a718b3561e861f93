"""Completions of plain prompts as OpenAI's servers write them: read, and passed on as they came."""

import msgspec

from app.errors import UpstreamInvalidResponseError
from app.providers.base import Chunk
from app.providers.chat.wire import objects, raw_json, word
from app.providers.http.error_body import ErrorDetail, error_detail, reported_error
from app.providers.http.errors import Headers, error_from_event
from app.providers.http.lenient import Mender, dumps, is_clean
from app.providers.http.sse import DONE, Comment, ErrorEvent
from app.providers.http.sse_stream import SseStream
from app.usage import ToldUsage
from app.wire.completions.request import COMPLETIONS
from app.wire.decoding import DECODE_ERRORS
from app.wire.usage_records import read_usage

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


def read_texts(body: bytes, headers: Headers) -> Chunk:
    """Read a whole answer.

    Raises
    ------
    UpstreamError
        If it is none, or an error.
    """
    answer, body = _read(body, Mender())
    if answer is None:
        raise UpstreamInvalidResponseError("the upstream's answer is no completion")
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


class TextStream(SseStream):
    """Parse what an upstream streams; see `app.providers.chat.stream.ChatStream`."""

    __slots__ = ("_began", "_headers", "_mender")

    def __init__(self, headers: Headers, *, max_event_bytes: int) -> None:
        super().__init__(max_event_bytes)
        self._mender = Mender()
        self._headers = tuple(headers)
        self._began = False

    def _chunk(self, events: list[bytes], as_it_came: bytes | None) -> Chunk | None:  # noqa: ARG002
        kept: list[bytes] = []
        usage: ToldUsage | None = None
        usage_event = template = model = finish_reason = None
        n_texts = n_chars = 0
        for event in events:
            if type(event) is Comment:
                kept.append(event + b"\n\n")
                continue
            said, event = self._take(event)  # noqa: PLW2901  (as it is told)
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

    def _take(self, event: bytes) -> tuple[_Texts | None, bytes]:
        """Return what an event says, None of one that says nothing or ends the stream, and it."""
        if type(event) is ErrorEvent:
            self._fail(error_detail(event))
            return None, event
        if event.startswith(DONE):
            self.done = True
            return None, event
        if not event:
            return None, event  # a keep-alive of some servers
        said, event = _read(event, self._mender)
        if said is None:
            self.error = UpstreamInvalidResponseError(
                "the upstream sent an event that is no completion"
            )
        elif said.error != _NULL or said.choices is None:
            detail = reported_error(event)
            if detail is not None:
                self._fail(detail)
                return None, event
        return said, event

    def _fail(self, detail: ErrorDetail | None) -> None:
        self.error = error_from_event(detail or ErrorDetail(), began=self._began)


def _read(data: bytes, mender: Mender) -> tuple[_Texts | None, bytes]:
    """Return what an answer or an event says, mended where that is needed, and JSON of it.

    None of what is none in any way.
    """
    if not mender.halves:
        try:
            said = _decode(data)
        except DECODE_ERRORS:
            pass
        else:
            if is_clean(data):
                return said, data
    try:
        value, mended = mender.read(data)
    except ValueError:
        return None, data
    if not isinstance(value, dict):
        return None, data
    choices = value.get("choices")
    kept = objects(choices)
    if isinstance(choices, list) and len(kept) < len(choices):
        mended = dumps({**value, "choices": kept})  # no client reads a null among its choices
    told = _Texts(
        choices=None
        if choices is None
        else [_Choice(word(each.get("text")), word(each.get("finish_reason"))) for each in kept],
        usage=raw_json(value.get("usage")),
        error=raw_json(value.get("error")),
        model=word(value.get("model")),
    )
    return told, mended


def _usage(answer: _Texts) -> ToldUsage | None:
    return None if answer.usage == _NULL else read_usage(answer.usage)
