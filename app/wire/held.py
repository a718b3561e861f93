"""An answer that was held back: read as a whole, and rid of what its client did not ask for."""

import sys
from collections.abc import Sequence
from typing import Literal, NamedTuple

import msgspec

from app.providers.base import Chunk
from app.types import CHAT_COMPLETIONS
from app.wire.answer_pieces import Assembler


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
    logprobs: _Logprobs | None = None
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
_decode_logprobs = msgspec.json.Decoder(_Logprobs | None).decode
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_OBJECTS = msgspec.json.Decoder(list[dict[str, msgspec.Raw]]).decode
_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_NULL = msgspec.Raw(b"null")


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
    except _ERRORS:
        return None
    if len(choices) != 1:
        return None
    choice = choices[0]
    return HeldText(choice.message.content or "", choice.finish_reason, _logprobs(choice.logprobs))


def _read_pieces(chunks: Sequence[Chunk]) -> HeldText | None:
    """Return what the usual events of a stream say, in one go; None where any of them is unusual.

    The whole answer need not be made for that, which takes many times as long.
    """
    data = b"".join([chunk.data for chunk in chunks])
    if any(chunk.dialect != CHAT_COMPLETIONS for chunk in chunks):
        return None
    events = [line[6:] for line in data.split(b"\n") if line.startswith(b"data: ")]
    try:
        told = _decode_events(b"[%b]" % b",".join(events))
    except _ERRORS:
        return None
    pieces = [piece for event in told for piece in event.choices]
    if not pieces:
        return None
    texts = [piece.delta.content for piece in pieces if piece.delta.content]
    reasons = [piece.finish_reason for piece in pieces if piece.finish_reason is not None]
    lists = [
        piece.logprobs.content
        for piece in pieces
        if piece.logprobs is not None and piece.logprobs.content is not None
    ]
    logprobs = tuple([token.logprob for tokens in lists for token in tokens]) if lists else None
    return HeldText("".join(texts), reasons[-1] if reasons else None, logprobs)


def _logprobs(raw: msgspec.Raw) -> tuple[float, ...] | None:
    try:
        told = _decode_logprobs(raw)
    except _ERRORS:
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
    return msgspec.structs.replace(chunk, data=data)


def _bare(payload: bytes) -> bytes:
    try:
        whole = _OBJECT(payload)
        choices = _OBJECTS(whole.get("choices", b"[]"))
    except _ERRORS:
        return payload  # no answer of a known shape, and so without a known place for them
    if not any(choice.get("logprobs", _NULL) != _NULL for choice in choices):
        return payload
    bare = [{**each, "logprobs": _NULL} if "logprobs" in each else each for each in choices]
    return msgspec.json.encode({**whole, "choices": bare})
