"""An answer that was held back: read as a whole, and rid of what its client did not ask for."""

import sys
from collections.abc import Sequence
from typing import Literal, NamedTuple

import msgspec

from app.paths import CHAT_COMPLETIONS
from app.providers.base import Chunk
from app.wire.answer_pieces import Assembler
from app.wire.decoding import DECODE_ERRORS

_NULL = msgspec.Raw(b"null")


class _Token(msgspec.Struct, gc=False):
    logprob: float


class _Logprobs(msgspec.Struct, gc=False):
    content: list[_Token] | None = None


class _Message(msgspec.Struct, gc=False):
    content: str | None = None


class _Choice(msgspec.Struct, gc=False):
    message: _Message
    logprobs: msgspec.Raw = msgspec.Raw(b"null")
    finish_reason: str | None = None


class _Completion(msgspec.Struct, gc=False):
    choices: list[_Choice]


class _Delta(msgspec.Struct, gc=False):
    content: str | None = None


class _Piece(msgspec.Struct, gc=False):
    delta: _Delta
    index: Literal[0]
    logprobs: msgspec.Raw = _NULL
    finish_reason: str | None = None
    message: None = None


class _Event(msgspec.Struct, gc=False):
    choices: list[_Piece] = []


class HeldText(NamedTuple):
    """What was said, and how sure its model was of each token, where that is told."""

    text: str
    finish_reason: str | None
    logprobs: tuple[float, ...] | None


_decode_events = msgspec.json.Decoder(list[_Event]).decode
_decode = msgspec.json.Decoder(_Completion).decode
_decode_all_logprobs = msgspec.json.Decoder(list[_Logprobs | None]).decode
_decode_logprobs = msgspec.json.Decoder(_Logprobs | None).decode
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_OBJECTS = msgspec.json.Decoder(list[dict[str, msgspec.Raw]]).decode


def read_held(chunks: Sequence[Chunk], *, stream: bool) -> HeldText | None:
    """Return what a complete answer says; None where that cannot be told.

    Parameters
    ----------
    stream
        Whether the answer is one of server-sent events.
    """
    body: bytes | None
    if stream:
        read = _read_pieces(chunks)
        if read is not None:
            return read
        assembler = Assembler(sys.maxsize)
        for chunk in chunks:
            assembler.feed(chunk)
        body = assembler.completion()
    else:
        body = b"".join([chunk.data for chunk in chunks])
    if body is None:
        return None
    try:
        choices = _decode(body).choices
    except DECODE_ERRORS:
        return None
    if len(choices) != 1:
        return None
    choice = choices[0]
    return HeldText(choice.message.content or "", choice.finish_reason, _logprobs(choice.logprobs))


def _read_pieces(chunks: Sequence[Chunk]) -> HeldText | None:
    """Return what the usual events of a stream say; None where any of them is unusual.

    The whole answer need not be made for that, which takes many times as long.
    """
    texts: list[str] = []
    reason: str | None = None
    chances: list[msgspec.Raw] = []
    for chunk in chunks:
        if chunk.dialect != CHAT_COMPLETIONS:
            return None
        if chunk.pieces is not None:  # whoever read the upstream's events has seen all of it
            texts += [piece.text for piece in chunk.pieces]
            chances += [piece.logprobs for piece in chunk.pieces]
            continue
        told = _pieces_of(chunk.data)
        if told is None:
            return None
        texts += [piece.delta.content for piece in told if piece.delta.content]
        chances += [piece.logprobs for piece in told]
        reason = next(
            (each.finish_reason for each in reversed(told) if each.finish_reason is not None),
            reason,
        )
    if not chances:
        return None
    try:
        lists = _decode_all_logprobs(b"[%b]" % b",".join(chances))
    except DECODE_ERRORS:
        return None
    logprobs = [
        token.logprob
        for told in lists
        if told is not None and told.content is not None
        for token in told.content
    ]
    return HeldText("".join(texts), reason, tuple(logprobs) if logprobs else None)


def _pieces_of(data: bytes) -> list[_Piece] | None:
    events = [line[6:] for line in data.split(b"\n") if line.startswith(b"data: ")]
    try:
        told = _decode_events(b"[%b]" % b",".join(events))
    except DECODE_ERRORS:
        return None
    return [piece for event in told for piece in event.choices]


def _logprobs(raw: msgspec.Raw) -> tuple[float, ...] | None:
    try:
        told = _decode_logprobs(raw)
    except DECODE_ERRORS:
        return None  # of another shape than OpenAI's
    if told is None or told.content is None:
        return None
    return tuple([token.logprob for token in told.content])


def retold(body: bytes, text: str) -> bytes:
    """Return a whole completion that says nothing but a text; what is told beside it stays.

    Parameters
    ----------
    body
        A completion of which the text was read.
    """
    whole = _OBJECT(body)
    reason = _decode(body).choices[0].finish_reason
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text, "refusal": None},
        "logprobs": None,
        "finish_reason": reason or "stop",
    }
    return msgspec.json.encode({**whole, "choices": [choice]})


def without_logprobs(chunk: Chunk, *, stream: bool) -> Chunk:
    """Return a part of an answer without the log-probabilities that its client did not ask for."""
    if b'"logprobs"' not in chunk.data:
        return chunk
    if not stream:
        data = _bare(chunk.data)
    else:
        data = b"\n".join(
            [
                b"data: " + _bare(line[6:]) if line.startswith(b"data: ") else line
                for line in chunk.data.split(b"\n")
            ]
        )
    return msgspec.structs.replace(chunk, data=data, pieces=None)


def _bare(payload: bytes) -> bytes:
    try:
        whole = _OBJECT(payload)
        choices = _OBJECTS(whole.get("choices", b"[]"))
    except DECODE_ERRORS:
        return payload  # no answer of a known shape, and so without a known place for them
    if not any(choice.get("logprobs", _NULL) != _NULL for choice in choices):
        return payload
    bare = [{**each, "logprobs": _NULL} if "logprobs" in each else each for each in choices]
    return msgspec.json.encode({**whole, "choices": bare})
