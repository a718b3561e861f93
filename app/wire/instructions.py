"""What an operator says to a model before the client's own messages, in whichever dialect."""

from collections.abc import Callable, Mapping

import msgspec

from app.paths import CHAT_COMPLETIONS, MESSAGES, RESPONSES
from app.wire.body import Body, Fields

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.decode
_NOTHING = frozenset({b"", b"null", b'""', b"[]"})


def with_instructions(body: Body, text: str) -> Body:
    """Return a request with a text before everything else that its model is told.

    A client's own system prompt stays and comes after it. In a dialect that has no place for such
    a text the request goes on as the chat completion that it comes to.
    """
    add = _ADDERS.get(body.dialect)
    if add is None:
        return Body(_to_chat(body.chat(), text), untold=body.untold)
    return body.retold(add(body.sent, text), lambda chat: _to_chat(chat, text))


def before_messages(messages: bytes, first: bytes) -> bytes:
    """Return a JSON array of messages with others, a JSON array too, before them."""
    first, messages = first.strip(), messages.strip()
    if messages == b"[]" or not messages:
        return first
    return first[:-1] + b"," + messages[1:]


def _to_chat(fields: Fields, text: str) -> Fields:
    first = _encode([{"role": "system", "content": text}])
    return {**fields, "messages": before_messages(fields.get("messages", b"[]"), first)}


def _to_messages(fields: Fields, text: str) -> Fields:
    raw = fields.get("system", b"null").strip()
    if raw in _NOTHING:
        return {**fields, "system": _encode(text)}
    if raw.startswith(b'"'):
        return {**fields, "system": _encode(f"{text}\n\n{_decode(raw, type=str)}")}
    return {**fields, "system": before_messages(raw, _encode([{"type": "text", "text": text}]))}


def _to_responses(fields: Fields, text: str) -> Fields:
    raw = fields.get("instructions", b"null").strip()
    if raw in _NOTHING:
        return {**fields, "instructions": _encode(text)}
    return {**fields, "instructions": _encode(f"{text}\n\n{_decode(raw, type=str)}")}


_ADDERS: Mapping[str, Callable[[Fields, str], Fields]] = {
    CHAT_COMPLETIONS: _to_chat,
    MESSAGES: _to_messages,
    RESPONSES: _to_responses,
}
