"""What of a row of outcomes is no text: described beside it, or held by its messages."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from routers.errors import DataError
from routers.files import shown_value
from routers.media.arms import LEVELS
from routers.media.parts import TEXT_TYPES, Attachments, Looked
from routers.media.pictures import MAX_EDGE_PX
from routers.media.recordings import MAX_PAGES, MAX_SECONDS
from routers.media.tokens import neutral_picture
from routers.media.values import Item, Media, Paper, Picture, Recording

_KEYS = ("images", "audio_s", "pages")
_IMAGE_KEYS = ("width", "height", "detail")
_TOKENS_OF_SOUND, _TOKENS_OF_A_FILE = 5_000, 10_000
"""Assumed of what is only described, as of what a request only names by its address."""


def media_of_messages(messages: Sequence[Any]) -> Media | None:
    """Return the pictures, recordings and files that messages hold; None of none."""
    looked = Looked()
    found = [
        looked.into(kind, json.dumps(part).encode())
        for message in messages
        if isinstance(message, Mapping) and isinstance(message.get("content"), list)
        for part in message["content"]
        if isinstance(part, Mapping)
        and isinstance(kind := part.get("type"), str)
        and kind not in TEXT_TYPES
    ]
    return Attachments.of(found).media


def described_media(where: str, record: Mapping[str, Any]) -> Media | None:
    """Return what the `media` of a row describes; None where it has none.

    Raises
    ------
    DataError
        If it cannot be understood.
    """
    told = record.get("media")
    if told is None:
        return None
    if not isinstance(told, Mapping) or not set(told) <= set(_KEYS):
        raise DataError(f"{where}: 'media' must be an object of {', '.join(_KEYS)}")
    items: list[Item] = [
        *(_picture(where, each) for each in _listed(where, told, "images")),
        *(
            Recording(
                tokens=_TOKENS_OF_SOUND,
                tokens_upper=2 * _TOKENS_OF_SOUND,
                seconds=_number(where, "audio_s", each, MAX_SECONDS),
            )
            for each in _listed(where, told, "audio_s")
        ),
    ]
    for each in _listed(where, told, "pages"):
        pages = _number(where, "pages", each, MAX_PAGES)
        items.append(
            Paper(
                tokens=_TOKENS_OF_A_FILE,
                tokens_upper=2 * _TOKENS_OF_A_FILE,
                pages=None if pages is None else round(pages),
            )
        )
    return Media.of(items)


def described(media: Media) -> dict[str, Any]:
    """Return media as a row describes them; `described_media` reads it."""
    told: dict[str, Any] = {}
    if media.pictures:
        told["images"] = [
            {"width": each.width_px, "height": each.height_px, "detail": each.detail}
            for each in media.pictures
        ]
    if media.recordings:
        told["audio_s"] = [each.seconds for each in media.recordings]
    if media.papers:
        told["pages"] = [each.pages for each in media.papers]
    return told


def _listed(where: str, told: Mapping[str, Any], name: str) -> list[Any]:
    value = told.get(name) or []
    if not isinstance(value, list):
        raise DataError(f"{where}: 'media.{name}' must be a list, got {shown_value(value)}")
    return value


def _picture(where: str, told: Any) -> Picture:
    if not isinstance(told, Mapping) or not set(told) <= set(_IMAGE_KEYS):
        raise DataError(
            f"{where}: one of 'media.images' must be an object of {', '.join(_IMAGE_KEYS)}"
        )
    width, height = (
        _number(where, f"images.{name}", told.get(name), MAX_EDGE_PX)
        for name in ("width", "height")
    )
    detail = told.get("detail")
    if detail not in (None, "auto", *LEVELS):
        raise DataError(
            f"{where}: 'detail' must be auto, {', '.join(LEVELS)}, got {shown_value(detail)}"
        )
    size = None if width is None or height is None else (round(width), round(height))
    tokens, upper = neutral_picture(size, detail)
    return Picture(
        tokens=tokens,
        tokens_upper=upper,
        width_px=None if size is None else size[0],
        height_px=None if size is None else size[1],
        detail=detail,
    )


def _number(where: str, name: str, value: Any, most: float) -> float | None:
    if value is None:
        return None
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not math.isfinite(value)
        or not 0 < value <= most
    ):
        raise DataError(
            f"{where}: 'media.{name}' must be a number above 0 and at most {most:g}, or null; got "
            f"{shown_value(value)}"
        )
    return float(value)
