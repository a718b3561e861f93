"""OpenAI's content parts as blocks of Anthropic's.

References
----------
Anthropic, "Create a Message" and "Vision", platform.claude.com/docs.
"""

from typing import Any

import msgspec

from app.providers.translation.parts import (
    NULL,
    Blocks,
    File,
    Part,
    is_address,
    plain_text,
    typed_data,
    unsupported_content,
)

VENDOR = "Anthropic models"

_IMAGE_TYPES = frozenset({"image/gif", "image/jpeg", "image/png", "image/webp"})


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
            raise unsupported_content(f"Anthropic models take text alone from {text_only}", where)
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
        case "image_url" if part.image_address is not None:
            return {"type": "image", "source": _image(part.image_address, where)}
        case "file" if part.file is not None:
            return _document(part.file, where)
        case _:
            raise unsupported_content(
                f"content of type {part.type} is not supported by Anthropic models", where
            )


def _image(url: str, where: str) -> dict[str, str]:
    if is_address(url):
        return {"type": "url", "url": url}
    media_type, data = typed_data(url)
    if media_type not in _IMAGE_TYPES:
        raise unsupported_content(
            "Anthropic models take images as https addresses or as base64 data of the types "
            + ", ".join(sorted(_IMAGE_TYPES)),
            where,
        )
    return {"type": "base64", "media_type": media_type, "data": data}


def _document(file: File, where: str) -> dict[str, Any]:
    source: dict[str, Any]
    media_type, data = typed_data(file.file_data or "")
    if media_type == "application/pdf":
        source = {"type": "base64", "media_type": media_type, "data": data}
    elif media_type.startswith("text/"):
        source = {
            "type": "text",
            "media_type": "text/plain",
            "data": plain_text(data, where, vendor=VENDOR),
        }
    else:
        raise unsupported_content(
            "Anthropic models take files as base64 data of the types application/pdf and text/*",
            where,
        )
    block: dict[str, Any] = {"type": "document", "source": source}
    if file.filename:
        block["title"] = file.filename
    return block
