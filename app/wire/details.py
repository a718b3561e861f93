"""How closely a model looks at pictures (`detail`), in a request of either of OpenAI's dialects.

Other dialects have no such thing: upstreams that only speak one of them have no level to ask for.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from app.paths import CHAT_COMPLETIONS, RESPONSES
from app.wire.body import Fields
from app.wire.decoding import DECODE_ERRORS
from routers.media.values import OPEN_DETAIL

_TURNS = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
_PARTS = msgspec.json.Decoder(list[msgspec.Raw])
_PART = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encode = msgspec.json.Encoder().encode
_WHERE: Mapping[str, tuple[str, tuple[str, ...]]] = {
    CHAT_COMPLETIONS: ("messages", ("content",)),
    RESPONSES: ("input", ("content", "output")),
}
"""By dialect the field of the turns, and the keys of a turn that hold parts."""


def with_detail(fields: Fields, level: str, *, dialect: str, every: bool) -> tuple[Fields, int]:
    """Return a request whose pictures are asked to be looked at so, and how many were changed.

    Parameters
    ----------
    every
        Whether that holds for pictures too of which the client names a detail.
    """
    if dialect not in _WHERE:
        return fields, 0
    name, keys = _WHERE[dialect]
    raw = fields.get(name, b"null")
    if b"image" not in raw:
        return fields, 0
    try:
        turns = _TURNS.decode(raw)
        n_changed = sum([_change_turn(turn, keys, level, every=every) for turn in turns])
    except DECODE_ERRORS:
        return (
            fields,
            0,
        )  # a text alone, or what the upstream says better than we what is wrong with
    return ({**fields, name: _encode(turns)}, n_changed) if n_changed else (fields, 0)


def _change_turn(
    turn: dict[str, msgspec.Raw], keys: tuple[str, ...], level: str, *, every: bool
) -> int:
    n_changed = 0
    for key in keys:
        held = turn.get(key)
        if held is None or bytes(memoryview(held)[:1]) != b"[":
            continue
        parts = _PARTS.decode(held)
        for at, part in _pictures(parts):
            changed = _change_picture(part, level, every=every)
            if changed is not None:
                parts[at] = msgspec.Raw(_encode(changed))
                n_changed += 1
        if n_changed:
            turn[key] = msgspec.Raw(_encode(parts))
    return n_changed


def _pictures(parts: list[msgspec.Raw]) -> Iterator[tuple[int, dict[str, msgspec.Raw]]]:
    for at, raw in enumerate(parts):
        if bytes(memoryview(raw)[:1]) == b"{":
            part = _PART.decode(raw)
            if bytes(part.get("type", b"")) in (b'"image_url"', b'"input_image"'):
                yield at, part


def _change_picture(
    part: dict[str, msgspec.Raw], level: str, *, every: bool
) -> dict[str, Any] | None:
    """Return a part with its detail changed; None where it stays as it is."""
    place: dict[str, Any] = part
    image = part.get("image_url")
    nested = bytes(part["type"]) == b'"image_url"' and image is not None
    if nested:
        assert image is not None  # noqa: S101  (for mypy)
        if bytes(memoryview(image)[:1]) == b"{":
            place = dict(_PART.decode(image))
        else:
            place = {"url": image}
    asked = msgspec.json.decode(place["detail"]) if "detail" in place else None
    is_open = asked is None or (isinstance(asked, str) and asked in OPEN_DETAIL)
    if asked == level or not (is_open or every):
        return None
    place["detail"] = level
    return {**part, "image_url": place} if nested else place
