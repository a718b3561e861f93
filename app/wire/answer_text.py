"""The text of an answer, whole or streamed, in whichever dialect it was given."""

from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from app.paths import CHAT_COMPLETIONS, MESSAGES
from app.wire.completions.request import COMPLETIONS
from app.wire.decoding import DECODE_ERRORS


class _Said(msgspec.Struct):
    content: str | None = None
    refusal: str | None = None


class _Choice(msgspec.Struct):
    index: int = 0
    message: _Said | None = None
    delta: _Said | None = None
    text: str | None = None


class _Completion(msgspec.Struct):
    choices: list[_Choice] = []


_COMPLETION = msgspec.json.Decoder(_Completion)


def _chat_text(payloads: Iterable[bytes]) -> str:
    """Return the text of the first choice."""
    parts = []
    for payload in payloads:
        try:
            choices = _COMPLETION.decode(payload).choices
        except DECODE_ERRORS:
            continue
        for choice in choices:
            if choice.index == 0:
                piece = choice.message or choice.delta or _Said()
                parts.append(choice.text or piece.content or piece.refusal or "")
    return "".join(parts)


class _Block(msgspec.Struct):
    text: str | None = None


class _Event(msgspec.Struct):
    content: list[_Block] = []
    content_block: _Block | None = None
    delta: _Block | None = None


_EVENT = msgspec.json.Decoder(_Event)


def _messages_text(payloads: Iterable[bytes]) -> str:
    """Return the text of a message of Anthropic's, or of the events of one."""
    parts: list[str] = []
    for payload in payloads:
        try:
            event = _EVENT.decode(payload)
        except DECODE_ERRORS:
            continue
        blocks = (*event.content, event.content_block, event.delta)
        parts += [block.text for block in blocks if block is not None and block.text]
    return "".join(parts)


_READERS: Mapping[str, Callable[[Iterable[bytes]], str]] = {
    CHAT_COMPLETIONS: _chat_text,
    COMPLETIONS: _chat_text,
    MESSAGES: _messages_text,
}
"""By dialect: from the JSON of a whole answer, or of all events of a stream, to its text."""


def answer_text(answer: Sequence[bytes], *, streamed: bool, dialect: str) -> str | None:
    """Return the text of an answer, as far as it came; None where there is none.

    Tool calls, audio and what models think aloud are not texts.

    Parameters
    ----------
    answer
        As the client got it, in pieces: server-sent events where `streamed`, else one JSON.
    """
    reader = _READERS.get(dialect)
    if reader is None:
        return None
    body = b"".join(answer)
    return reader(event_payloads(body) if streamed else [body]) or None


def event_payloads(body: bytes) -> Iterable[bytes]:
    """Yield the JSON of each server-sent event."""
    return (line[6:] for line in body.split(b"\n") if line.startswith(b"data: {"))
