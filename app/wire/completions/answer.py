"""Answers to plain prompts: read from chat completions, whole and in pieces."""

from collections.abc import Iterator
from typing import Any

import msgspec

from app.errors import UpstreamInvalidResponseError
from app.wire.chat_answer import NULL, Choice, Completion, Said, read_completion

_REASONS = frozenset({"stop", "length", "content_filter"})
"""Why a completion can end; what else a chat ends by, such as a call of a tool, is a stop."""


class _Text(msgspec.Struct, kw_only=True, gc=False):
    text: str
    index: int
    logprobs: None = None
    finish_reason: str | None


class _Texts(msgspec.Struct, kw_only=True, omit_defaults=True, gc=False):
    """A whole answer, or an event of one, as it is written."""

    id: str | None = None
    object: str
    created: Any = None
    model: str | None = None
    system_fingerprint: msgspec.Raw | None = None
    service_tier: msgspec.Raw | None = None
    choices: list[_Text]
    usage: msgspec.Raw | None = None


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
    choices = [_choice(each, _text(each.said)) for each in chat.choices or ()]
    return _encode(_told(chat, choices, usage=chat.usage))


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
        said = [
            _choice(each, text)
            for each in chat.choices or ()
            if (text := _text(each.said)) or each.finish_reason
        ]
        if said:
            yield b"data: %b\n\n" % _encode(_told(chat, said))


def text_payload(payload: bytes) -> bytes:
    """Return an event of a chat completion's stream as one that brings nothing but its usage."""
    chat = read_completion(payload)
    return _encode(_told(chat, [], usage=NULL if chat.choices else chat.usage))


def _told(chat: Completion, choices: list[_Text], *, usage: msgspec.Raw = NULL) -> _Texts:
    return _Texts(
        id=None if chat.id is None else "cmpl-" + chat.id.removeprefix("chatcmpl-"),
        object="text_completion",
        created=chat.created,
        model=chat.model,
        system_fingerprint=_unless_null(chat.system_fingerprint),
        service_tier=_unless_null(chat.service_tier),
        choices=choices,
        usage=_unless_null(usage),
    )


def _unless_null(raw: msgspec.Raw) -> msgspec.Raw | None:
    return None if raw is NULL or raw == NULL else raw


def _choice(choice: Choice, text: str) -> _Text:
    reason = choice.finish_reason
    if reason is not None and reason not in _REASONS:
        reason = "stop"
    return _Text(text=text, index=choice.index or 0, finish_reason=reason)


def _text(said: Said | None) -> str:
    return "" if said is None else said.text or said.refusal or ""
