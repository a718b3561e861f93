"""Compressed answers, unpacked as they arrive and never much at a time."""

import zlib
from collections.abc import AsyncIterator, Sequence
from typing import Self

import httpx

from app.errors import UpstreamInvalidResponseError

PIECE_BYTES = 256 * 1024
"""How much is unpacked at once: a small read may hold a thousand times its size."""

_KNOWN = frozenset({"gzip", "x-gzip", "deflate"})
_PLAIN = frozenset({"", "identity"})
_ZLIB_OR_GZIP, _RAW = 47, -15
_HEAD_BYTES = 2
"""What tells the formats apart."""


def inflated(body: AsyncIterator[bytes], encodings: str) -> AsyncIterator[bytes]:
    """Return the body without its compression, which it was asked not to have.

    Parameters
    ----------
    encodings
        The value of `content-encoding`.

    Raises
    ------
    UpstreamInvalidResponseError
        If it is compressed in a way that cannot be undone here.
    """
    for encoding in reversed([each.strip().lower() for each in encodings.split(",")]):
        if encoding in _KNOWN:
            body = _Inflated(body)
        elif encoding not in _PLAIN:
            name = encoding if encoding.isalnum() and len(encoding) < 16 else "unknown"
            raise UpstreamInvalidResponseError(
                f"the upstream compressed its answer ({name}), which it was asked not to"
            )
    return body


class _Inflated(AsyncIterator[bytes]):
    """What is left of a compressed body; each item is at most `PIECE_BYTES`."""

    def __init__(self, body: AsyncIterator[bytes]) -> None:
        self._body = body
        self._inflater = zlib.decompressobj(_ZLIB_OR_GZIP)
        self._head = b""
        self._began = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        while True:
            packed = self._inflater.unconsumed_tail
            if not packed:
                read = await anext(self._body, None)
                if read is None:
                    if (self._began or self._head) and not self._inflater.eof:
                        raise UpstreamInvalidResponseError("the upstream's answer was cut short")
                    raise StopAsyncIteration
                packed = read
                if not self._began:
                    self._head = packed = self._head + read
                    if len(packed) < _HEAD_BYTES:
                        continue
            data = self._unpack(packed)
            if data:
                return data

    def _unpack(self, packed: bytes) -> bytes:
        try:
            data = self._inflater.decompress(packed, PIECE_BYTES)
        except zlib.error:
            if self._began:
                raise UpstreamInvalidResponseError(
                    "the upstream's answer is compressed, and damaged"
                ) from None
            self._inflater = zlib.decompressobj(_RAW)  # what some servers call deflate
            self._began = True
            return self._unpack(packed)
        self._began = True
        return data


def plain_body(
    stream: httpx.AsyncByteStream, headers: Sequence[tuple[bytes, bytes]]
) -> AsyncIterator[bytes]:
    """Return a body as it was before its `content-encoding`, where it has one."""
    encodings = [value for name, value in headers if name.lower() == b"content-encoding"]
    body = stream.__aiter__()
    return inflated(body, b",".join(encodings).decode("latin-1")) if encodings else body
