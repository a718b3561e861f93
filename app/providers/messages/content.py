"""OpenAI's content parts as blocks of Anthropic's.

References
----------
Anthropic, "Create a Message" and "Vision", platform.claude.com/docs.
"""

import base64
import binascii
import re
from typing import Any, NoReturn

import msgspec

from app.errors import UpstreamUnsupportedError

Blocks = list[dict[str, Any]]

NULL = msgspec.Raw(b"null")
_DATA_URL = re.compile(r"\s*data:([^;,\s]*)(?:;[^;,]*)*?;base64,", re.IGNORECASE)
MAX_TOLD_CHARS = 500
"""Of what a refusal says, since it may repeat a client's words, however many."""
_MAX_LABEL_CHARS = 500
"""Of a data URL; what is matched is bounded, since matching holds every other thread up."""
_IMAGE_TYPES = frozenset({"image/gif", "image/jpeg", "image/png", "image/webp"})
_OTHER_NAMES = {
    "image/jpg": "image/jpeg",
    "image/pjpeg": "image/jpeg",
    "image/x-png": "image/png",
    "application/x-pdf": "application/pdf",
}
"""Names that clients write for a type which has another one."""
_BEGINNINGS = {
    "iVBORw0KGgo": "image/png",
    "/9j/": "image/jpeg",
    "R0lGOD": "image/gif",
    "UklGR": "image/webp",
    "JVBERi0": "application/pdf",
}
"""How base64 of a type begins. Anthropic refuses data that is not what its label says."""


class _ImageUrl(msgspec.Struct):
    url: str


class _File(msgspec.Struct):
    file_data: str | None = None
    filename: str | None = None


class Part(msgspec.Struct):
    """One part of a message's content."""

    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: _ImageUrl | str | None = None
    file: _File | None = None
    cache_control: msgspec.Raw = NULL


def refuse(message: str, where: str) -> NoReturn:
    """Refuse a message, naming its place.

    Raises
    ------
    UpstreamUnsupportedError
        Always.
    """
    raise UpstreamUnsupportedError(f"{where}: {message[:MAX_TOLD_CHARS]}", param="messages")


def content_blocks(
    content: str | list[Part] | None, where: str, *, text_only: str | None = None
) -> Blocks:
    """Return the blocks of a message's content, without the blank ones.

    Parameters
    ----------
    text_only
        Whose content may hold nothing but text, for the message of a refusal.

    Raises
    ------
    UpstreamUnsupportedError
        For a part that Anthropic's API has no block for.
    """
    if not isinstance(content, list):
        return text_blocks(content)
    blocks: Blocks = []
    for part in content:
        if text_only is not None and part.type not in ("text", "refusal"):
            refuse(f"Anthropic models take text alone from {text_only}", where)
        found = _block(part, where)
        if found is not None:
            blocks.append(found)
        mark_cached(blocks, part.cache_control)
    return blocks


def text_blocks(text: str | None) -> Blocks:
    """Return the block of a text; none for white space, which the API refuses."""
    return [{"type": "text", "text": text}] if text and not text.isspace() else []


def mark_cached(blocks: Blocks, mark: msgspec.Raw) -> None:
    """Put a mark of the prompt cache on the last block, if there is one that can bear it."""
    if mark != NULL and blocks and type(blocks[-1]) is dict:
        blocks[-1]["cache_control"] = mark


def _block(part: Part, where: str) -> dict[str, Any] | None:
    match part.type:
        case "text" | "refusal":
            blocks = text_blocks(part.text or part.refusal)
            return blocks[0] if blocks else None
        case "image_url" if part.image_url is not None:
            url = part.image_url if isinstance(part.image_url, str) else part.image_url.url
            return {"type": "image", "source": _image(url.strip(), where)}
        case "file" if part.file is not None:
            return _document(part.file, where)
        case _:
            refuse(f"content of type {part.type} is not supported by Anthropic models", where)


def _image(url: str, where: str) -> dict[str, str]:
    if url[:8].lower() == "https://":
        return {"type": "url", "url": url}
    media_type, data = _base64_of(url)
    if media_type not in _IMAGE_TYPES:
        refuse(
            "Anthropic models take images as https addresses or as base64 data of the types "
            + ", ".join(sorted(_IMAGE_TYPES)),
            where,
        )
    return {"type": "base64", "media_type": media_type, "data": data}


def _document(file: _File, where: str) -> dict[str, Any]:
    source: dict[str, Any]
    media_type, data = _base64_of(file.file_data or "")
    if media_type == "application/pdf":
        source = {"type": "base64", "media_type": media_type, "data": data}
    elif media_type.startswith("text/"):
        source = {"type": "text", "media_type": "text/plain", "data": _plain_text(data, where)}
    else:
        refuse(
            "Anthropic models take files as base64 data of the types application/pdf and text/*",
            where,
        )
    block: dict[str, Any] = {"type": "document", "source": source}
    if file.filename:
        block["title"] = file.filename
    return block


def _plain_text(data: str, where: str) -> str:
    try:
        text = base64.b64decode(data, validate=True).decode()
    except (binascii.Error, ValueError):
        refuse("a text file must be base64 of UTF-8", where)
    if not text or text.isspace():
        refuse("a file without text cannot be sent to Anthropic models", where)
    return text


def _base64_of(url: str) -> tuple[str, str]:
    """Return the type and the data of a data URL, or of bare base64; both empty if it is neither.

    What the data begins with is believed rather than its label.
    """
    found = _DATA_URL.match(url[:_MAX_LABEL_CHARS])
    label = found[1].lower() if found else ""
    data = url[found.end() :] if found else url.strip()
    told = next((kind for start, kind in _BEGINNINGS.items() if data.startswith(start)), None)
    if not found and told is None:
        return "", ""
    return told or _OTHER_NAMES.get(label, label), "".join(data.split())
