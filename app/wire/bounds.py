"""How much structure a request may have, found out before anything is made of it.

A body of ten megabytes is soon read when it holds a few long texts, and takes seconds when it
holds a million small values. Parsers give no way to stop them half-way, so that what a body is made
of is counted first: every string of JSON has two quotes, and counting bytes is cheap.
"""

import codecs
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import msgspec

from app.errors import InvalidRequestError

_ALWAYS_SIMPLE_BYTES = 4_096
_SIMPLE_BYTES = 128_000
_SIMPLE_QUOTES = 1_000
_SIMPLE_BRACES = 400
"""A body beyond one of these takes over a millisecond, too long for the event loop."""

_SLICE_BYTES = 262_144
"""So many bytes are looked at in one go; between two of them other threads get their turn."""

STRINGS_PER_MESSAGE = 10
"""A message with calls of tools has about so many; several for each that may come are allowed."""

MAX_FIELDS = 1_000
"""Of the body itself; the format knows some forty."""

_MAX_STRINGS_ELSEWHERE = 20_000
"""Strings outside of messages and tools, the names of fields among them."""

_NOTHING = msgspec.Raw(b"")


def is_simple(body: bytes | bytearray) -> bool:
    """Return whether everything that has to be done with a body takes less than a millisecond."""
    n_bytes = len(body)
    return n_bytes <= _ALWAYS_SIMPLE_BYTES or (
        n_bytes <= _SIMPLE_BYTES
        and body.count(b'"') <= _SIMPLE_QUOTES
        and body.count(b"{") <= _SIMPLE_BRACES
    )


def check_structure(body: bytes, *, max_messages: int, large_fields: tuple[str, ...]) -> None:
    """Refuse a body of more values than a request may have; not for the event loop.

    Parameters
    ----------
    large_fields
        Those that hold messages and tools.

    Raises
    ------
    InvalidRequestError
    """
    max_strings = STRINGS_PER_MESSAGE * max_messages
    if _count(body, b'"') <= 2 * min(max_strings, _MAX_STRINGS_ELSEWHERE):
        return
    n_strings = _strings(body)
    if n_strings > max(max_strings, _MAX_STRINGS_ELSEWHERE):
        raise InvalidRequestError(
            f"the request body holds more than {max_strings} strings; make it smaller"
        )
    try:
        large = _decoder_of(large_fields)(body)
    except (msgspec.DecodeError, RecursionError):
        return  # whoever parses it in earnest says better what is wrong
    for name in large_fields:
        n_strings -= _strings(bytes(getattr(large, name)))
    if n_strings > _MAX_STRINGS_ELSEWHERE:
        raise InvalidRequestError(
            f"the request body holds more than {_MAX_STRINGS_ELSEWHERE} strings outside of "
            "messages and tools; make it smaller"
        )


def check_utf8(body: bytes) -> None:
    """Refuse a body that is not UTF-8.

    Raises
    ------
    InvalidRequestError
        Naming the first byte that is wrong.
    """
    if body.isascii():
        return
    decoder = codecs.getincrementaldecoder("utf-8")()
    for start in range(0, len(body), _SLICE_BYTES):
        pending = len(decoder.getstate()[0])
        end = start + _SLICE_BYTES
        try:
            decoder.decode(body[start:end], final=end >= len(body))
        except UnicodeDecodeError as error:
            raise InvalidRequestError(
                f"the request body is not valid UTF-8 (byte {start - pending + error.start})"
            ) from error


@cache
def _decoder_of(large_fields: tuple[str, ...]) -> Callable[[bytes], Any]:
    fields = [(name, msgspec.Raw, _NOTHING) for name in large_fields]
    return msgspec.json.Decoder(msgspec.defstruct("Large", fields)).decode


def _strings(data: bytes) -> int:
    # An escaped quote is text. A backslash that is itself escaped before a closing quote is taken
    # for one too, so that of such strings half the quotes are counted.
    return (_count(data, b'"') - _count(data, b'\\"') + 1) // 2


def _count(data: bytes, what: bytes) -> int:
    return sum(piece.count(what) for piece in _slices(data))


def _slices(data: bytes) -> Iterator[bytes]:
    if len(data) <= _SLICE_BYTES:
        yield data
        return
    for start in range(0, len(data), _SLICE_BYTES):
        yield data[start : start + _SLICE_BYTES]
