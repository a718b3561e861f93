"""How many pixels a picture has, by its header alone.

References
----------
W3C, Portable Network Graphics 11.2.1; CompuServe, GIF89a 18; ITU-T T.81 B.2.2 (JPEG); RFC 9649
(WebP).
"""

import struct

from routers.media.inline import InlineBytes

MAX_EDGE_PX = 100_000
"""No picture that a model takes is longer: a header that says so says nothing."""
_MAX_SEGMENTS = 64
_PNG = b"\x89PNG\r\n\x1a\n"
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})
_END_OF_HEADERS = frozenset({0xD9, 0xDA})

Size = tuple[int, int]


def picture_size(data: InlineBytes) -> Size | None:
    """Return width and height in pixels; None where the header does not tell them."""
    head = data.read(0, 30)
    size: Size | None = None
    if head.startswith(_PNG) and head[12:16] == b"IHDR":
        size = _unpack(">II", head, 16)
    elif head.startswith((b"GIF87a", b"GIF89a")):
        size = _unpack("<HH", head, 6)
    elif head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        size = _webp(head)
    elif head.startswith(b"\xff\xd8"):
        size = _jpeg(data)
    if size is None or not all(0 < edge <= MAX_EDGE_PX for edge in size):
        return None
    return size


def _unpack(form: str, head: bytes, offset: int) -> Size | None:
    try:
        width, height = struct.unpack_from(form, head, offset)
    except struct.error:
        return None
    return width, height


def _webp(head: bytes) -> Size | None:
    kind = head[12:16]
    if kind == b"VP8 " and head[23:26] == b"\x9d\x01\x2a":
        size = _unpack("<HH", head, 26)
        return None if size is None else (size[0] & 0x3FFF, size[1] & 0x3FFF)
    if kind == b"VP8L" and head[20:21] == b"\x2f" and len(head) >= 25:
        bits = int.from_bytes(head[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8X" and len(head) >= 30:
        width, height = head[24:27], head[27:30]
        return int.from_bytes(width, "little") + 1, int.from_bytes(height, "little") + 1
    return None


def _jpeg(data: InlineBytes) -> Size | None:
    """Go from segment to segment until one tells the frame's size."""
    offset = 2
    for _ in range(_MAX_SEGMENTS):
        segment = data.read(offset, 9)
        if len(segment) < 4 or segment[0] != 0xFF:
            return None
        marker = segment[1]
        if marker == 0xFF:  # filled up
            offset += 1
        elif marker in _WITHOUT_LENGTH:
            offset += 2
        elif marker in _START_OF_FRAME:
            size = _unpack(">HH", segment, 5)
            return None if size is None else (size[1], size[0])
        else:
            length = int.from_bytes(segment[2:4])
            if length < 2 or marker in _END_OF_HEADERS:
                return None
            offset += 2 + length
    return None
