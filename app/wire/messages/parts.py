"""Blocks of a user's turn as parts of a chat message."""

from collections.abc import Sequence
from typing import Any, NoReturn

import msgspec

from app.errors import UpstreamUnsupportedError
from app.wire.decoding import DECODE_ERRORS
from app.wire.messages.shapes import NULL, Block, result_blocks

Parts = list[dict[str, Any]]

PARAGRAPH = "\n\n"
_EMPTY = frozenset({b"null", b"[]", b'{"enabled":false}'})
_MAX_TYPE_CHARS = 64
"""Of a type that is told again: it is the client's word."""


class _Source(msgspec.Struct):
    type: str = ""
    media_type: str | None = None
    data: str | None = None
    url: str | None = None
    content: msgspec.Raw = NULL


_decode_source = msgspec.json.Decoder(_Source).decode


class Losses:
    """What is left out of a translation, each named once."""

    def __init__(self) -> None:
        self.names: dict[str, None] = {}

    def add(self, name: str) -> None:
        """Note that something is left out."""
        self.names[name] = None

    def note(self, block: Block) -> None:
        """Note what a block has beside what is told of it."""
        if block.cache_control is not NULL and bytes(block.cache_control) not in _EMPTY:
            self.add("cache_control")
        if block.citations is not NULL and bytes(block.citations) not in _EMPTY:
            self.add("citations")


def parts_of(block: Block, where: str, losses: Losses) -> Parts:
    """Return a block as parts of a message; an empty text, which APIs refuse, as none.

    Raises
    ------
    UpstreamUnsupportedError
        If there is no such part.
    """
    losses.note(block)
    if block.type == "text":
        return text_parts(block.text)
    if block.type == "image":
        return [{"type": "image_url", "image_url": {"url": _url(block, where)}}]
    if block.type == "document":
        return _document(block, where, losses)
    if block.type == "search_result":
        found = PARAGRAPH.join(each.text or "" for each in _inner(block.content, where))
        return text_parts(_titled(block.title, found, string_of(block.source)))
    if block.type != "compaction":
        refuse(f"content of type {type_name(block)} is unknown to this upstream", where)
    return text_parts(string_of(block.content))


def text_parts(text: str | None) -> Parts:
    """Return the part of a text; none if it is empty."""
    return [{"type": "text", "text": text}] if text else []


def content_of(parts: Parts) -> str | Parts:
    """Return texts as one, which every server takes; with something else among them, the list."""
    if all(part["type"] == "text" for part in parts):
        return PARAGRAPH.join(part["text"] for part in parts)
    return parts


def result_of(block: Block, where: str, losses: Losses) -> tuple[str, Parts]:
    """Return what a tool gave back as text, and what of it is no text.

    Raises
    ------
    UpstreamUnsupportedError
        If it holds what there is no part for.
    """
    losses.note(block)
    texts: list[str] = []
    shown: Parts = []
    for each in _inner(block.content, where):
        if each.type == "tool_reference":
            texts.append(f"Tool found: {each.tool_name or each.name or ''}")
            continue
        for part in parts_of(each, where, losses):
            if part["type"] == "text":
                texts.append(part["text"])
            else:
                shown.append(part)
    if shown:
        texts.append(f"(What it shows, {len(shown)} in all, follows in the next message.)")
    text = PARAGRAPH.join(texts)
    return (f"Error: {text or 'no more is told.'}" if block.is_error else text), shown


def string_of(raw: msgspec.Raw) -> str | None:
    """Return a string; None of anything else."""
    try:
        value = msgspec.json.decode(raw)
    except DECODE_ERRORS:
        return None
    return value if isinstance(value, str) else None


def type_name(block: Block) -> str:
    """Return the type of a block as it is told again."""
    return block.type[:_MAX_TYPE_CHARS]


def refuse(message: str, where: str) -> NoReturn:
    """Refuse a turn, naming its place.

    Raises
    ------
    UpstreamUnsupportedError
        Always.
    """
    raise UpstreamUnsupportedError(f"{where}: {message}", param="messages")


def _document(block: Block, where: str, losses: Losses) -> Parts:
    source = _source(block, where)
    if source.type == "text":
        return text_parts(_titled(block.title, source.data or "", block.context))
    about = text_parts(_titled(block.title, "", block.context))
    if source.type == "content":
        inner = _inner(source.content, where)
        return [*about, *(part for each in inner for part in parts_of(each, where, losses))]
    if source.type == "base64":
        media_type = source.media_type or "application/pdf"
        data_url = f"data:{media_type};base64,{source.data or ''}"
        file = {"filename": block.title or "document.pdf", "file_data": data_url}
        return [*(about if block.context else ()), {"type": "file", "file": file}]
    refuse(f"a document by {source.type[:64] or 'no source'} cannot be passed on here", where)


def _titled(title: str | None, text: str, about: str | None) -> str:
    return PARAGRAPH.join(filter(None, (title and f"# {title}", about, text)))


def _inner(raw: msgspec.Raw, where: str) -> Sequence[Block]:
    try:
        return result_blocks(raw)
    except DECODE_ERRORS:
        refuse("blocks within a block cannot be read", where)


def _source(block: Block, where: str) -> _Source:
    try:
        return _decode_source(block.source)
    except DECODE_ERRORS:
        refuse(f"the source of a block of type {type_name(block)} cannot be read", where)


def _url(block: Block, where: str) -> str:
    source = _source(block, where)
    if source.type == "base64":
        return f"data:{source.media_type or 'image/png'};base64,{source.data or ''}"
    if source.type == "url" and source.url:
        return source.url
    refuse(f"an image by {source.type[:64] or 'no source'} cannot be passed on here", where)
