"""How closely Gemini models look at the pictures of a request.

References
----------
Google, "Media resolution", ai.google.dev: a level for the whole request, which every model that
sees takes; files and videos go by it, too.
"""

from typing import Any

import msgspec

_LEVELS = {
    "low": "MEDIA_RESOLUTION_LOW",
    "high": "MEDIA_RESOLUTION_HIGH",
    "original": "MEDIA_RESOLUTION_HIGH",
}
_decode = msgspec.json.Decoder().decode


def media_resolution(messages: bytes) -> str | None:
    """Return the level that the `detail` of all pictures comes to; None where one leaves it open.

    Of different ones the closer look counts. Files, which would be looked at as closely, leave it
    open.
    """
    if b'"detail"' not in messages:
        return None
    levels: set[str] = set()
    for part in _parts(_decode(messages)):
        if part.get("type") == "file":
            return None
        if part.get("type") == "image_url":
            image = part.get("image_url")
            level = _LEVELS.get(str(image.get("detail"))) if isinstance(image, dict) else None
            if level is None:
                return None
            levels.add(level)
    return min(levels, default=None)  # of the two, "HIGH" stands first


def _parts(messages: Any) -> list[dict[str, Any]]:
    return [
        part
        for message in messages
        if isinstance(message, dict) and isinstance(message.get("content"), list)
        for part in message["content"]
        if isinstance(part, dict)
    ]
