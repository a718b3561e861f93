"""Answers that are nearly JSON, made JSON: characters cut in halves, NaN, bytes that are no text.

Nothing here runs for an answer that is in order: `is_clean` and a strict decoder come first.
"""

import json
import math
import re
from collections.abc import Iterator
from typing import Any

import msgspec

from app.wire.decoding import DECODE_ERRORS

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_BACKSLASH = ord("\\")
_RAW_BYTES = re.compile("[\udc80-\udcff]+")
_LONE = re.compile("[\ud800-\udfff]")
_ESCAPED_BYTE = 0xDC00
"""What Python adds to a byte that is no UTF-8 when it keeps it in a text."""
_MAX_DIGITS = 4000
_TEXTS = ("content", "reasoning_content", "reasoning", "refusal")
_REPLACEMENT = "\ufffd"

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


def is_clean(data: bytes) -> bool:
    """Whether JSON that a decoder read in parts is valid for clients that read all of it."""
    if _BACKSLASH in data and _SURROGATE.search(data) is not None:
        return is_valid(data)
    if data.isascii():
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def is_valid(data: bytes) -> bool:
    """Whether a strict client can read it."""
    try:
        _decode(data)
    except DECODE_ERRORS:
        return False
    return True


class Mender:
    """Reads what is nearly JSON, and joins characters that one event begins and the next ends."""

    __slots__ = ("halves",)

    def __init__(self) -> None:
        self.halves: dict[tuple[object, ...], str] = {}
        """Beginnings of characters whose ends may come, and which text they stand in."""

    def read(self, data: bytes) -> tuple[Any, bytes]:
        """Return the value, and JSON of it: the same bytes if they are JSON already.

        Raises
        ------
        ValueError
            If it cannot be read in any way.
        """
        try:
            value = _decode(data)
        except DECODE_ERRORS:
            value = None
        else:
            if not self.halves:
                return value, data
        try:
            if value is None:
                value = _loads(data)
            self._join(value)
            value = _mended(value)
            return value, dumps(value)
        except RecursionError as error:
            raise ValueError("nested too deeply") from error

    def read_unmended(self, data: bytes) -> Any:
        """Return the value alone, its halves of characters in place, for `encode` to join.

        Raises
        ------
        ValueError
            If it cannot be read in any way.
        """
        try:
            return _decode(data)
        except DECODE_ERRORS:
            pass
        try:
            return _loads(data)
        except RecursionError as error:
            raise ValueError("nested too deeply") from error

    def encode(self, event: Any) -> bytes:
        """Return JSON of a stream's event whose texts were read unmended."""
        if not self.halves:
            try:
                return _encode(event)
            except UnicodeEncodeError:
                pass  # half a character
        self._join(event)
        return mended_json(event)

    def _join(self, event: object) -> None:
        """Hold back the beginning of a character, and put it before its end."""
        for key, holder, name in _texts_of(event):
            text = self.halves.pop(key, "") + holder[name]
            half = _unfinished(text)
            if half:
                self.halves[key] = half
                text = text[: -len(half)]
            holder[name] = text


def mended_json(value: Any) -> bytes:
    """Return JSON of a value that was read unmended, valid for everybody."""
    return dumps(_mended(value))


def _texts_of(event: object) -> Iterator[tuple[tuple[object, ...], dict[str, Any], str]]:
    """Go through the texts of a stream's event that later events continue."""
    choices = event.get("choices") if isinstance(event, dict) else None
    for i, choice in enumerate(choices if isinstance(choices, list) else ()):
        if not isinstance(choice, dict):
            continue
        where = choice.get("index") if isinstance(choice.get("index"), int) else i
        if isinstance(choice.get("text"), str):  # of a completion without roles
            yield (where, "text"), choice, "text"
        delta = choice.get("delta")
        if not isinstance(delta, dict):
            continue
        for name in _TEXTS:
            if isinstance(delta.get(name), str):
                yield (where, name), delta, name
        calls = delta.get("tool_calls")
        for j, call in enumerate(calls if isinstance(calls, list) else ()):
            function = call.get("function") if isinstance(call, dict) else None
            if isinstance(function, dict) and isinstance(function.get("arguments"), str):
                which = call.get("index") if isinstance(call.get("index"), int) else j
                yield (where, "arguments", which), function, "arguments"


def _unfinished(text: str) -> str:
    """Return the end of a text that is the beginning of a character, if it is."""
    last = text[-1:]
    if "\ud800" <= last <= "\udbff":
        return last
    tail = _RAW_BYTES.search(text[-3:])
    if tail is None or tail.end() != len(text[-3:]):
        return ""
    data = bytes(ord(each) - _ESCAPED_BYTE for each in tail[0])
    for n in range(1, len(data) + 1):
        lead = data[-n]
        if lead >= 0xC2:
            needed = 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4 if lead < 0xF5 else 0
            return tail[0][-n:] if needed > n else ""
    return ""


def _mended(value: Any) -> Any:
    """Return a value whose texts are all valid."""
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, list):
        return [_mended(each) for each in value]
    if isinstance(value, dict):
        return {_text(key): _mended(each) for key, each in value.items()}
    return value


def _text(text: str) -> str:
    if _LONE.search(text) is None:
        return text
    joined = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
    joined = _RAW_BYTES.sub(_characters, joined)
    return _LONE.sub(_REPLACEMENT, joined)


def _characters(found: re.Match[str]) -> str:
    return bytes(ord(each) - _ESCAPED_BYTE for each in found[0]).decode("utf-8", "replace")


def _loads(data: bytes) -> Any:
    text = data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
    return json.loads(
        text, strict=False, parse_constant=_nothing, parse_float=_float, parse_int=_int
    )


def dumps(value: Any) -> bytes:
    """Write what was read, large numbers included, which faster encoders refuse."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _nothing(_name: str) -> None:
    return None


def _float(digits: str) -> float | None:
    value = float(digits)
    return value if math.isfinite(value) else None


def _int(digits: str) -> int | None:
    return int(digits) if len(digits) <= _MAX_DIGITS else None
