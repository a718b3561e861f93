"""Flags that a user wrote before a prompt: `[Flag: smallest model] Explain ...`.

Whoever can put text anywhere into a conversation could otherwise steer where it goes. So they count
at one place alone: the very first characters of the newest user turn, in a part that is plain
text. In what tools returned, in documents and in what others said they are text like any other.
Before earlier turns they are taken away too, where they counted in their time, so that a
conversation reads the same in every one of its requests.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from app.errors import InvalidRequestError
from routers.types import Conversation, Role
from routers.wishes import NO_FLAGS, Flags, WishError, parse_flags

_FLAG = re.compile(r"\[\s*flags?\s*:([^\[\]\r\n]{0,500})\][ \t]*(?:\r?\n)?", re.IGNORECASE)
_BEGINS = re.compile(r"\[\s*flags?\s*:", re.IGNORECASE)
_MAX_IN_A_ROW = 10
_TEXTS = ("text", "input_text")
_ENVELOPE = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ITEMS = msgspec.json.Decoder(list[msgspec.Raw])


@dataclass(frozen=True, slots=True)
class Taken:
    """The flags before a prompt, and the body of the request without them."""

    flags: Flags
    body: bytes


def may_hold_flags(conversation: Conversation) -> bool:
    """Return whether a user's turn begins with what may be a flag: it is worth a closer look."""
    return any(
        message.role is Role.USER and _BEGINS.match(message.text)
        for message in conversation.messages
    )


def take_flags(body: bytes) -> Taken | None:
    """Take the flags before prompts out of a body that was understood; None where there are none.

    Raises
    ------
    InvalidRequestError
        If those of the newest user turn cannot be understood, or nothing else stands there.
    """
    fields = _ENVELOPE.decode(body)
    name = next((each for each in ("messages", "input", "prompt") if each in fields), None)
    if name is None:
        return None
    value = bytes(fields[name])
    flags: Flags | None = None
    if value[:1] == b'"':
        text, flags = _taken(msgspec.json.decode(value, type=str), name)
        changed: Any = text if flags is not None else None
    elif value[:1] == b"[" and name != "prompt":
        changed, flags = _of_turns(_ITEMS.decode(value), name)
    elif value[:1] == b"[":
        changed, flags = _of_prompts(_ITEMS.decode(value), name)
    else:
        return None
    if changed is None:
        return None
    return Taken(flags or NO_FLAGS, msgspec.json.encode({**fields, name: changed}))


def _of_prompts(items: list[msgspec.Raw], name: str) -> tuple[list[str] | None, Flags | None]:
    """Return a list of one prompt without its flags; more than one has no newest turn."""
    prompts = [msgspec.json.decode(item) for item in items]
    if len(prompts) != 1 or not isinstance(prompts[0], str):
        return None, None
    text, flags = _taken(prompts[0], f"{name}[0]")
    return (None if flags is None else [text]), flags


def _of_turns(items: list[msgspec.Raw], name: str) -> tuple[list[Any] | None, Flags | None]:
    """Return the turns without flags, None where nothing changed, and those of the newest one."""
    changed: list[Any] | None = None
    found: Flags | None = None
    newest = True
    for position in reversed(range(len(items))):
        item = msgspec.json.decode(items[position])
        if not isinstance(item, dict) or item.get("role") != "user" or _is_result(item):
            continue
        where = f"{name}[{position}].content"
        content, flags = _of_content(item.get("content"), where, strict=newest)
        if flags is not None:
            changed = list(items) if changed is None else changed
            changed[position] = {**item, "content": content}
            found = flags if newest else found
        newest = False
    return changed, found


def _is_result(item: Mapping[str, Any]) -> bool:
    """Whether a turn holds nothing but what tools returned, which is nobody's turn."""
    content = item.get("content")
    return (
        isinstance(content, list)
        and bool(content)
        and all(isinstance(part, dict) and part.get("type") == "tool_result" for part in content)
    )


def _of_content(content: Any, where: str, *, strict: bool) -> tuple[Any, Flags | None]:
    if isinstance(content, str):
        return _taken(content, where, strict=strict)
    if not isinstance(content, list) or not content:
        return content, None
    first = content[0]
    if (
        not isinstance(first, dict)
        or first.get("type") not in _TEXTS
        or not isinstance(first.get("text"), str)
    ):
        return content, None
    alone = len(content) == 1
    text, flags = _taken(first["text"], where, strict=strict, alone=alone)
    if flags is None:
        return content, None
    return ([{**first, "text": text}] if text else []) + content[1:], flags


def _taken(
    text: str, where: str, *, strict: bool = True, alone: bool = True
) -> tuple[str, Flags | None]:
    """Return a text without the flags before it, and these; None where it begins with none.

    Parameters
    ----------
    strict
        Whether what cannot be understood is an error; else it is text.
    alone
        Whether nothing else is said beside it.
    """
    flags: Flags | None = None
    rest = text
    for _ in range(_MAX_IN_A_ROW):
        match = _FLAG.match(rest)
        if match is None:
            break
        try:
            more = parse_flags(match.group(1))
        except WishError as error:
            if strict:
                raise InvalidRequestError(f"{where}: {error}", param=where) from error
            return text, None
        flags = more if flags is None else more.over(flags)
        rest = rest[match.end() :]
    if strict and flags is None and _BEGINS.match(text):
        raise InvalidRequestError(
            f"{where} begins with a flag that has no end: [Flag: size=1]", param=where
        )
    if flags is not None and alone and not rest.strip():
        if strict:
            raise InvalidRequestError(f"{where} holds nothing but flags", param=where)
        return text, None
    return rest, flags
