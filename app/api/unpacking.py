"""Compressed request bodies: unpacked in bounded pieces, never beyond what a body may have."""

import asyncio
import zlib
from collections.abc import Callable, Generator, Iterator

from app.errors import BodyTooLargeError, InvalidRequestError, UnsupportedMediaTypeError
from app.head import RequestHead

_PIECE_BYTES = 256 * 1024
"""How much is unpacked at once: other requests get their turn in between."""

_PLAIN = frozenset({b"", b"identity"})
_GZIP_WINDOW, _ZLIB_WINDOW, _RAW_WINDOW = 31, 15, -15
_ZSTD_WINDOW_BYTES = 8 * 1024 * 1024
"""What RFC 9659 lets a sender ask for; a frame may ask for gigabytes otherwise."""

Unpack = Callable[[bytes], Iterator[bytes]]


def packed(head: RequestHead) -> str | None:
    """Return in which way a body is compressed; None where it is not.

    Raises
    ------
    UnsupportedMediaTypeError
        If it is in a way that is not known, or in more than one.
    """
    codings = [
        coding
        for value in head.all(b"content-encoding")
        for coding in value.lower().replace(b" ", b"").replace(b"\t", b"").split(b",")
        if coding not in _PLAIN
    ]
    if not codings:
        return None
    name = codings[0].decode("latin-1")
    if len(codings) > 1 or name not in _UNPACKERS:
        told = b", ".join(codings)[:80].decode("latin-1")
        raise UnsupportedMediaTypeError(
            f"content-encoding {told!r} is not supported; send the body as it is, or as gzip, "
            "deflate or zstd"
        )
    return name


async def unpacked(
    body: bytes | bytearray,
    coding: str,
    *,
    max_bytes: int,
    on_part: Callable[[int], None] | None,
) -> bytes | bytearray:
    """Unpack a body.

    Parameters
    ----------
    coding
        As `packed` told it.
    on_part
        Told how many bytes each part has before it is kept; what it raises ends the unpacking.

    Raises
    ------
    BodyTooLargeError
        As soon as there is more of it than `max_bytes`.
    InvalidRequestError
        If it is not what it says to be, or not all of it.
    """
    whole = bytearray()
    for piece in _UNPACKERS[coding](bytes(body)):
        if len(whole) + len(piece) > max_bytes:
            raise BodyTooLargeError(
                f"the request body, unpacked, exceeds the limit of {max_bytes} bytes"
            )
        if on_part is not None:
            on_part(len(piece))
        whole += piece
        if len(piece) == _PIECE_BYTES:
            await asyncio.sleep(0)
    return whole


def _gzip(body: bytes) -> Iterator[bytes]:
    while body:  # a file of gzip may have several members
        body = yield from _inflated(body, _GZIP_WINDOW, "gzip")


def _deflate(body: bytes) -> Iterator[bytes]:
    # The name stands for zlib's format, yet some send what is in it alone.
    is_zlib = len(body) > 1 and body[0] & 15 == 8 and int.from_bytes(body[:2]) % 31 == 0
    rest = yield from _inflated(body, _ZLIB_WINDOW if is_zlib else _RAW_WINDOW, "deflate")
    if rest:
        raise InvalidRequestError("there is more in the request body than its deflate")


def _inflated(body: bytes, window: int, name: str) -> Generator[bytes, None, bytes]:
    """Yield what is in one member; return what follows it."""
    inflater = zlib.decompressobj(window)
    while not inflater.eof:
        try:
            piece = inflater.decompress(body, _PIECE_BYTES)
        except zlib.error as error:
            raise InvalidRequestError(f"the request body is no valid {name}") from error
        yield piece
        body = inflater.unconsumed_tail
        if not (piece or body or inflater.eof):
            raise InvalidRequestError(f"the request body ends in the middle of its {name}")
    return inflater.unused_data


def _zstd(body: bytes) -> Iterator[bytes]:
    import zstandard  # noqa: PLC0415  (most gateways never need it)

    unpacker = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES)
    # One that is cut at the end of a block is read as if that were all: it is no JSON then.
    with unpacker.stream_reader(body, read_across_frames=True) as reader:
        while True:
            try:
                piece = reader.read(_PIECE_BYTES)
            except zstandard.ZstdError as error:
                raise InvalidRequestError("the request body is no valid zstd") from error
            if not piece:
                return
            yield piece


_UNPACKERS: dict[str, Unpack] = {
    "gzip": _gzip,
    "x-gzip": _gzip,
    "deflate": _deflate,
    "zstd": _zstd,
}
