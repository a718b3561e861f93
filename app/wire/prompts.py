"""A system prompt of the operator's beside the client's own, in each dialect as it says it.

What the client says is never left out: it comes before, or after.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import msgspec

from app.paths import CHAT_COMPLETIONS, MESSAGES, RESPONSES
from app.wire.body import Fields
from app.wire.decoding import DECODE_ERRORS

_MESSAGES = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
_SYSTEM_ROLES = frozenset({b'"system"', b'"developer"'})
_PARAGRAPH = "\n\n"
_encode = msgspec.json.Encoder().encode


class Position(StrEnum):
    """Where a prompt stands beside the client's own."""

    APPEND = "append"
    PREPEND = "prepend"
    IF_NONE = "if_none"
    """It is left out where the client has one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemPrompt:
    """What a model is told besides what the client tells it.

    Attributes
    ----------
    name
        Of the variant that has it, as clients are told of it.
    """

    name: str
    text: str
    position: Position


def with_prompt(fields: Fields, prompt: SystemPrompt, *, dialect: str) -> Fields:
    """Return a request with a system prompt; the same where it has none to be beside.

    A body that is no request of its dialect is left as it is: the upstream says what is wrong.
    """
    try:
        return _ADDERS[dialect](fields, prompt)
    except DECODE_ERRORS:
        return fields


def _in_chat(fields: Fields, prompt: SystemPrompt) -> Fields:
    messages = _MESSAGES.decode(fields.get("messages", b"[]"))
    spoken = [bytes(each.get("role", b"")) in _SYSTEM_ROLES for each in messages]
    if prompt.position is Position.IF_NONE and any(spoken):
        return fields
    n_leading = next((i for i, is_system in enumerate(spoken) if not is_system), len(spoken))
    if not n_leading:
        said = {"role": msgspec.Raw(b'"system"'), "content": msgspec.Raw(_encode(prompt.text))}
        return {**fields, "messages": _encode([said, *messages])}
    # One message of the two: many a model's template takes a single one.
    at = 0 if prompt.position is Position.PREPEND else n_leading - 1
    content = _joined(bytes(messages[at].get("content", b"null")), prompt)
    messages[at] = {**messages[at], "content": msgspec.Raw(content)}
    return {**fields, "messages": _encode(messages)}


def _in_messages(fields: Fields, prompt: SystemPrompt) -> Fields:
    raw = fields.get("system", b"null")
    if prompt.position is Position.IF_NONE and raw.strip() not in (b"null", b'""', b"[]"):
        return fields
    return {**fields, "system": _joined(raw, prompt)}


def _in_responses(fields: Fields, prompt: SystemPrompt) -> Fields:
    raw = fields.get("instructions", b"null")
    if prompt.position is Position.IF_NONE and (
        raw.strip() not in (b"null", b'""') or _has_system_item(fields)
    ):
        return fields
    return {**fields, "instructions": _joined(raw, prompt)}


def _has_system_item(fields: Fields) -> bool:
    raw = fields.get("input", b"null").lstrip()
    if not raw.startswith(b"["):
        return False
    return any(bytes(each.get("role", b"")) in _SYSTEM_ROLES for each in _MESSAGES.decode(raw))


def _joined(raw: bytes, prompt: SystemPrompt) -> bytes:
    """Return a text, or a list of parts, with the prompt before or after it."""
    said: Any = msgspec.json.decode(raw)
    first = prompt.position is Position.PREPEND
    if not said:
        return _encode(prompt.text)
    if isinstance(said, str):
        both = (prompt.text, said) if first else (said, prompt.text)
        return _encode(_PARAGRAPH.join(both))
    if not isinstance(said, list):
        return raw
    part = {"type": "text", "text": prompt.text}
    return _encode([part, *said] if first else [*said, part])


_ADDERS: Mapping[str, Callable[[Fields, SystemPrompt], Fields]] = {
    CHAT_COMPLETIONS: _in_chat,
    MESSAGES: _in_messages,
    RESPONSES: _in_responses,
}
