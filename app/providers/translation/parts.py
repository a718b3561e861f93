"""OpenAI's content parts, and what is in their data URLs."""

import base64
import binascii
import re
from typing import Any

import msgspec

from app.errors import UpstreamUnsupportedError
from app.providers.translation.fields import MAX_TOLD_CHARS

Blocks = list[dict[str, Any]]
"""Pieces of content in an upstream's own shape."""

NULL = msgspec.Raw(b"null")
_DATA_URL = re.compile(r"\s*data:([^;,\s]*)(?:;[^;,]*)*?;base64,", re.IGNORECASE)
_MAX_LABEL_CHARS = 500
"""Of a data URL; what is matched is bounded, since matching holds every other thread up."""
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
"""How base64 of a type begins. Vendors refuse data that is not what its label says."""


class _ImageUrl(msgspec.Struct):
    url: str


class File(msgspec.Struct):
    """A file that came with the message."""

    file_data: str | None = None
    filename: str | None = None
    file_id: str | None = None


class InputAudio(msgspec.Struct):
    """A recording that came with the message."""

    data: str
    format: str = "wav"


class Part(msgspec.Struct):
    """One part of a message's content."""

    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: _ImageUrl | str | None = None
    file: File | None = None
    input_audio: InputAudio | None = None
    cache_control: msgspec.Raw = NULL

    @property
    def image_address(self) -> str | None:
        """Where an image is, or itself as a data URL; None for what is no image."""
        if self.type != "image_url" or self.image_url is None:
            return None
        url = self.image_url if isinstance(self.image_url, str) else self.image_url.url
        return url.strip()


def unsupported_content(message: str, where: str) -> UpstreamUnsupportedError:
    """Return the refusal of a message, which names its place."""
    return UpstreamUnsupportedError(f"{where}: {message[:MAX_TOLD_CHARS]}", param="messages")


def is_address(url: str) -> bool:
    """Whether the content is somewhere in the web."""
    return url[:8].lower() == "https://"


def typed_data(url: str) -> tuple[str, str]:
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


def plain_text(data: str, where: str, *, vendor: str) -> str:
    """Return the text in the base64 of a text file.

    Raises
    ------
    UpstreamUnsupportedError
        If there is none.
    """
    try:
        text = base64.b64decode(data, validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise unsupported_content("a text file must be base64 of UTF-8", where) from error
    if not text or text.isspace():
        raise unsupported_content(f"a file without text cannot be sent to {vendor}", where)
    return text
