"""Answers to plain prompts: read from chat completions, whole and in pieces."""

from collections.abc import Iterator
from typing import Any

import msgspec

from app.errors import UpstreamInvalidResponseError
from app.wire.chat_answer import NULL, Choice, Completion, Said, read_completion

_REASONS = frozenset({"stop", "length", "content_filter"})
"""Why a completion can end; what else a chat ends by, such as a call of a tool, is a stop."""

_KEPT = ("created", "model", "system_fingerprint", "service_tier")
_OBJECT = "text_completion"

_encode = msgspec.json.Encoder().encode


def is_text_completion(body: bytes) -> bool:
    """Whether a whole answer is one to a plain prompt already: its choices have no messages."""
    try:
        return all(choice.message is None for choice in read_completion(body).choices or ())
    except UpstreamInvalidResponseError:
        return False


def whole_text(body: bytes) -> bytes:
    """Return a whole chat completion as a completion.

    Raises
    ------
    UpstreamInvalidResponseError
        If it is none.
    """
    chat = read_completion(body)
    answer = _head(chat)
    answer["choices"] = [_choice(each) for each in chat.choices or ()]
    if chat.usage != NULL:
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
        try:
            chat = read_completion(frame[6:])
        except UpstreamInvalidResponseError:
            continue  # nothing that has a text
        said = [each for each in chat.choices or () if _text(each.said) or each.finish_reason]
        if said:
            piece = _head(chat)
            piece["choices"] = [_choice(each) for each in said]
            yield b"data: %b\n\n" % _encode(piece)


def text_payload(payload: bytes) -> bytes:
    """Return an event of a chat completion's stream as one that brings nothing but its usage."""
    chat = read_completion(payload)
    event = {**_head(chat), "choices": []}
    return _encode(event if chat.choices else {**event, "usage": chat.usage})


def _head(chat: Completion) -> dict[str, Any]:
    head: dict[str, Any] = {}
    if chat.id is not None:
        head["id"] = "cmpl-" + chat.id.removeprefix("chatcmpl-")
    head["object"] = _OBJECT
    for name in _KEPT:
        value = getattr(chat, name)
        if value is not None and value != NULL:
            head[name] = value
    return head


def _choice(choice: Choice) -> dict[str, Any]:
    reason = choice.finish_reason
    if reason is not None and reason not in _REASONS:
        reason = "stop"
    return {
        "text": _text(choice.said),
        "index": choice.index or 0,
        "logprobs": None,
        "finish_reason": reason,
    }


def _text(said: Said | None) -> str:
    return "" if said is None else said.text or said.refusal or ""
