"""AWS' event streams, parsed from bytes as they arrive.

References
----------
AWS, "Event stream encoding", smithy.io/2.0/aws/amazon-eventstream.html: each message has its length
and that of its headers, a checksum of both, headers, a payload, and a checksum of all of it.
"""

import struct
import zlib
from collections.abc import Iterator, Mapping

import msgspec

from app.errors import UpstreamInvalidResponseError

_PRELUDE = struct.Struct(">III")
_CHECKSUM = struct.Struct(">I")
_MIN_BYTES = _PRELUDE.size + _CHECKSUM.size
MAX_MESSAGE_BYTES = 24 * 1024 * 1024
"""What the encoding allows."""

_STRING = 7
_SIZES = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
"""Of values, by their type; those of bytes (6) and strings (7) are told."""


class Message(msgspec.Struct, frozen=True):
    """One message; of its headers those that are text."""

    headers: Mapping[str, str]
    payload: bytes


class EventStreamParser:
    """Split a byte stream into messages, however it was cut on its way.

    Parameters
    ----------
    max_message_bytes
        The size at which a message is refused.
    """

    __slots__ = ("_buffer", "_max_message_bytes")

    def __init__(self, *, max_message_bytes: int = MAX_MESSAGE_BYTES) -> None:
        self._buffer = bytearray()
        self._max_message_bytes = min(max_message_bytes, MAX_MESSAGE_BYTES)

    @property
    def pending_bytes(self) -> int:
        """How much is kept of a message whose end has not come yet."""
        return len(self._buffer)

    def feed(self, data: bytes) -> Iterator[Message]:
        """Yield the messages that `data` completes.

        Raises
        ------
        UpstreamInvalidResponseError
            If the stream is damaged, or a message larger than allowed; after those before it.
        """
        buffer = self._buffer
        buffer += data
        at = 0
        try:
            while (size := self._size_of_next(at)) is not None:
                headers_size = _PRELUDE.unpack_from(buffer, at)[1]
                yield _message(bytes(buffer[at : at + size]), headers_size)
                at += size
        finally:
            del buffer[:at]

    def _size_of_next(self, at: int) -> int | None:
        """Return the size of the message that begins there; None while it is not whole."""
        buffer = self._buffer
        if len(buffer) - at < _PRELUDE.size:
            return None
        size, headers_size, checksum = _PRELUDE.unpack_from(buffer, at)
        if zlib.crc32(buffer[at : at + 8]) != checksum:
            raise _damaged("a checksum is wrong")
        if size > self._max_message_bytes:
            raise UpstreamInvalidResponseError(
                f"the upstream sent an event of over {self._max_message_bytes} bytes"
            )
        if size < _MIN_BYTES or headers_size > size - _MIN_BYTES:
            raise _damaged("lengths contradict each other")
        return size if len(buffer) - at >= size else None


def _message(data: bytes, headers_size: int) -> Message:
    end = len(data) - _CHECKSUM.size
    if zlib.crc32(data[:end]) != _CHECKSUM.unpack_from(data, end)[0]:
        raise _damaged("a checksum is wrong")
    payload_at = _PRELUDE.size + headers_size
    try:
        headers = _headers(data[_PRELUDE.size : payload_at])
    except (IndexError, struct.error, KeyError, UnicodeDecodeError) as error:
        raise _damaged("a header cannot be read") from error
    return Message(headers, data[payload_at:end])


def _headers(data: bytes) -> dict[str, str]:
    headers = {}
    at = 0
    while at < len(data):
        name_end = at + 1 + data[at]
        name = data[at + 1 : name_end].decode()
        kind = data[name_end]
        at = name_end + 1
        if kind in _SIZES:
            at += _SIZES[kind]
        else:
            size = int.from_bytes(data[at : at + 2], "big")
            value = data[at + 2 : at + 2 + size]
            at += 2 + size
            if kind == _STRING:
                headers[name] = value.decode()
            elif kind > _STRING:
                raise KeyError(kind)
        if at > len(data):
            raise IndexError(at)
    return headers


def _damaged(how: str) -> UpstreamInvalidResponseError:
    return UpstreamInvalidResponseError(f"the upstream's event stream is damaged: {how}")
