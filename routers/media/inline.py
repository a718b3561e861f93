"""Bytes that a request holds as base64, read here and there without decoding all of them.

Of a picture of megabytes the header alone is of interest. Nothing here trusts what it reads: every
number is a claim of whoever wrote the bytes, every look is bounded.
"""

import binascii
import re

_LOOK_BYTES = 4_096
_CLEANED_BYTES = 262_144
"""Of base64 with escapes or line breaks so much is read: its places have to be made anew."""
_ESCAPES = re.compile(rb"\\[nrt/]|[\s]")
_UNESCAPED = {rb"\/": b"/"}
_URL_SAFE = bytes.maketrans(b"-_", b"+/")


class InlineBytes:
    """Bytes behind their base64; places that are not there read as nothing.

    Parameters
    ----------
    text
        The base64, of which a quotation mark is the end.
    """

    __slots__ = ("_text", "n_bytes")

    def __init__(self, text: bytes | memoryview) -> None:
        head = bytes(text[:_LOOK_BYTES])
        if b"\\" in head or any(space in head for space in (b"\n", b"\r", b" ")):
            text = _ESCAPES.sub(_unescaped, bytes(text[:_CLEANED_BYTES]))
        self._text = text
        self.n_bytes = len(text) // 4 * 3

    def read(self, offset: int, n_bytes: int) -> bytes:
        """Return so many bytes from a place on; fewer where there are no more."""
        if not 0 <= offset < self.n_bytes:
            return b""
        first = offset // 3
        last = -(-(offset + n_bytes) // 3)
        chunk = bytes(self._text[first * 4 : last * 4]).partition(b'"')[0].translate(_URL_SAFE)
        chunk = chunk.rstrip(b"=")
        if len(chunk) % 4 == 1:
            chunk = chunk[:-1]
        try:
            data = binascii.a2b_base64(chunk + b"=" * (-len(chunk) % 4))
        except binascii.Error:
            return b""
        skipped = offset - first * 3
        return data[skipped : skipped + n_bytes]


def _unescaped(found: "re.Match[bytes]") -> bytes:
    return _UNESCAPED.get(found[0], b"")
