"""Compressed request bodies: unpacked in bounded pieces, never beyond what a body may have."""

import asyncio
import zlib
from collections.abc import Callable

from app.errors import BodyTooLargeError, InvalidRequestError, UnsupportedMediaTypeError
from app.head import RequestHead

_PIECE_BYTES = 256 * 1024
"""How much is unpacked at once: other requests get their turn in between."""

_GZIP = frozenset({b"gzip", b"x-gzip"})
_PLAIN = frozenset({b"", b"identity"})
_GZIP_WINDOW = 31


def packed(head: RequestHead) -> bool:
    """Return whether a body is compressed.

    Raises
    ------
    UnsupportedMediaTypeError
        If it is in another way than gzip, or more than once.
    """
    codings = [
        coding
        for value in head.all(b"content-encoding")
        for coding in value.lower().replace(b" ", b"").replace(b"\t", b"").split(b",")
        if coding not in _PLAIN
    ]
    if not codings:
        return False
    if len(codings) > 1 or codings[0] not in _GZIP:
        told = b", ".join(codings)[:80].decode("latin-1")
        raise UnsupportedMediaTypeError(
            f"content-encoding {told!r} is not supported; send the body as it is, or as gzip"
        )
    return True


async def unpacked(
    body: bytes | bytearray, *, max_bytes: int, on_part: Callable[[int], None] | None
) -> bytes | bytearray:
    """Unpack a body that came as gzip.

    Parameters
    ----------
    on_part
        Told how many bytes each part has before it is kept; what it raises ends the unpacking.

    Raises
    ------
    BodyTooLargeError
        As soon as there is more of it than `max_bytes`.
    InvalidRequestError
        If it is no gzip, or not all of it.
    """
    whole = bytearray()
    rest = bytes(body)
    while rest:  # a file of gzip may have several members
        inflater = zlib.decompressobj(_GZIP_WINDOW)
        while not inflater.eof:
            try:
                piece = inflater.decompress(rest, _PIECE_BYTES)
            except zlib.error as error:
                raise InvalidRequestError("the request body is no valid gzip") from error
            if len(whole) + len(piece) > max_bytes:
                raise BodyTooLargeError(
                    f"the request body, unpacked, exceeds the limit of {max_bytes} bytes"
                )
            if on_part is not None:
                on_part(len(piece))
            whole += piece
            rest = inflater.unconsumed_tail
            if not (piece or rest or inflater.eof):
                raise InvalidRequestError("the request body ends in the middle of its gzip")
            if len(piece) == _PIECE_BYTES:
                await asyncio.sleep(0)
        rest = inflater.unused_data
    return whole
