"""Answers to plain prompts: read from chat completions, whole and in pieces."""

from collections.abc import Iterator
from typing import Any

import msgspec

from app.errors import UpstreamInvalidResponseError

_REASONS = frozenset({"stop", "length", "content_filter"})
"""Why a completion can end; what else a chat ends by, such as a call of a tool, is a stop."""

_KEPT = ("created", "model", "system_fingerprint", "service_tier")
_OBJECT = "text_completion"
_NULL = msgspec.Raw(b"null")


class _Said(msgspec.Struct, gc=False):
    content: str | None = None
    refusal: str | None = None


class _Choice(msgspec.Struct):
    index: int = 0
    delta: _Said | None = None
    message: _Said | None = None
    finish_reason: str | None = None


class _Envelope(msgspec.Struct):
    """What is told once of an answer, or of each piece of it."""

    id: str | None = None
    created: msgspec.Raw = _NULL
    model: msgspec.Raw = _NULL
    system_fingerprint: msgspec.Raw = _NULL
    service_tier: msgspec.Raw = _NULL
    usage: msgspec.Raw = _NULL
    choices: list[_Choice] = []


_decode = msgspec.json.Decoder(_Envelope).decode
_encode = msgspec.json.Encoder().encode
_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def is_text_completion(body: bytes) -> bool:
    """Whether a whole answer is one to a plain prompt already: its choices have no messages."""
    try:
        return all(choice.message is None for choice in _decode(body).choices)
    except _ERRORS:
        return False


def whole_text(body: bytes) -> bytes:
    """Return a whole chat completion as a completion.

    Raises
    ------
    UpstreamInvalidResponseError
        If it is none.
    """
    try:
        chat = _decode(body)
    except _ERRORS as error:
        raise UpstreamInvalidResponseError("the upstream's answer is no chat completion") from error
    answer = _head(chat)
    answer["choices"] = [_choice(each, each.message, each.finish_reason) for each in chat.choices]
    if chat.usage != _NULL:
        answer["usage"] = chat.usage
    return _encode(answer)


def text_events(events: bytes) -> bytes:
    """Return the events of a chat completion's stream as those of a completion.

    Those that bring no text and no end (who speaks, what is thought aloud) are left out; comments
    stay.
    """
    return b"".join(_pieces(events))


def _pieces(events: bytes) -> Iterator[bytes]:
    for frame in events.split(b"\n\n"):
        if not frame.startswith(b"data: "):
            if frame:
                yield frame + b"\n\n"
            continue
        payload = frame[6:]
        try:
            chat = _decode(payload)
        except _ERRORS:
            continue  # nothing that has a text
        said = [each for each in chat.choices if _text(each.delta) or each.finish_reason]
        if said:
            piece = _head(chat)
            piece["choices"] = [_choice(each, each.delta, each.finish_reason) for each in said]
            yield b"data: %b\n\n" % _encode(piece)


def text_payload(payload: bytes) -> bytes:
    """Return an event of a chat completion's stream as one that brings nothing but its usage."""
    chat = _decode(payload)
    event = {**_head(chat), "choices": []}
    return _encode(event if chat.choices else {**event, "usage": chat.usage})


def _head(chat: _Envelope) -> dict[str, Any]:
    head: dict[str, Any] = {}
    if chat.id is not None:
        head["id"] = "cmpl-" + chat.id.removeprefix("chatcmpl-")
    head["object"] = _OBJECT
    for name in _KEPT:
        value = getattr(chat, name)
        if value != _NULL:
            head[name] = value
    return head


def _choice(choice: _Choice, said: _Said | None, reason: str | None) -> dict[str, Any]:
    if reason is not None and reason not in _REASONS:
        reason = "stop"
    return {
        "text": _text(said),
        "index": choice.index,
        "logprobs": None,
        "finish_reason": reason,
    }


def _text(said: _Said | None) -> str:
    return "" if said is None else said.content or said.refusal or ""
