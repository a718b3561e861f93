"""Pictures: small files that decode, of one colour each, which what was asked for decides."""

import base64
import hashlib
import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

from app.stub.dialects.base import Refused
from app.stub.endpoints.small import Event, Made, asks_to_stream

_MAX_PICTURES = 10
_MAX_PARTIAL = 3
_MAX_SOURCES = 16
_PIXELS = 16
_TOKENS = 256
"""Of a picture, whether it is made or looked at."""
_PARTIAL_TOKENS = 100
_GREY = b"\x80\x80\x80"


def generations(body: Mapping[str, Any]) -> Made:
    """Answer a request for pictures of what a prompt says."""
    return _made(body, prompt=_prompt(body), n_sources=0, kind="image_generation")


def edits(body: Mapping[str, Any]) -> Made:
    """Answer a request to change pictures, which come as files or are named."""
    prompt = _prompt(body)
    sources = body.get("image") or body.get("images") or []
    sources = sources if isinstance(sources, list) else [sources]
    if not sources or not all(isinstance(each, dict) for each in sources):
        raise Refused("'image' must be a file, or files.")
    if len(sources) > _MAX_SOURCES:
        raise Refused(f"At most {_MAX_SOURCES} pictures can be changed at once.")
    return _made(body, prompt=prompt, n_sources=len(sources), kind="image_edit")


def variations(body: Mapping[str, Any]) -> Made:
    """Answer a request for pictures that resemble one."""
    source = body.get("image")
    if not isinstance(source, dict) or not source["bytes"]:
        raise Refused("'image' must be a file that is not empty.")
    told = {**body, "stream": None}  # these are never streamed
    return _made(told, prompt=f"{source['file']} {source['bytes']}", n_sources=1, kind="")


def _prompt(body: Mapping[str, Any]) -> str:
    prompt = body.get("prompt")
    if not isinstance(prompt, str) or not prompt:
        raise Refused("'prompt' must not be empty.")
    return prompt


def _made(body: Mapping[str, Any], *, prompt: str, n_sources: int, kind: str) -> Made:
    count = _number(body, "n", least=1, most=_MAX_PICTURES, default=1)
    colours = [
        hashlib.sha256(f"{index}\n{prompt}".encode("utf-8", "replace")).digest()[:3]
        for index in range(count)
    ]
    if asks_to_stream(body):
        n_partial = _number(body, "partial_images", least=0, most=_MAX_PARTIAL, default=0)
        usage = _usage(prompt, n_sources, count, n_partial=n_partial * count)
        return list(_events(kind, colours, n_partial, usage))
    if body.get("response_format") == "url":
        data = [{"url": f"https://example.com/simulated-{each.hex()}.png"} for each in colours]
    else:
        data = [{"b64_json": _picture(each)} for each in colours]
    return {"created": 0, "data": data, "usage": _usage(prompt, n_sources, count)}


def _number(body: Mapping[str, Any], name: str, *, least: int, most: int, default: int) -> int:
    """Return a number, which a form writes as a text."""
    value = body.get(name)
    if value is None:
        return default
    number = int(value) if isinstance(value, str) and value.isdecimal() else value
    if not isinstance(number, int) or not least <= number <= most:
        raise Refused(f"'{name}' must be from {least} to {most}.")
    return number


def _events(
    kind: str, colours: list[bytes], n_partial: int, usage: dict[str, Any]
) -> Iterator[Event]:
    look = {"size": "1024x1024", "quality": "auto", "background": "opaque", "output_format": "png"}
    for place, colour in enumerate(colours, 1):
        for index in range(n_partial):
            shown = _PIXELS * (index + 1) // (n_partial + 1)
            name = f"{kind}.partial_image"
            told = {"b64_json": _picture(colour, rows=shown), "partial_image_index": index}
            yield Event(name, {"type": name, "created_at": 0, **look, **told})
        name = f"{kind}.completed"
        told = {"b64_json": _picture(colour)}
        if place == len(colours):
            told["usage"] = usage
        yield Event(name, {"type": name, "created_at": 0, **look, **told})


def _usage(prompt: str, n_sources: int, count: int, *, n_partial: int = 0) -> dict[str, Any]:
    n_text, n_seen = (len(prompt) + 3) // 4, _TOKENS * n_sources
    n_made = _TOKENS * count + _PARTIAL_TOKENS * n_partial
    return {
        "input_tokens": n_text + n_seen,
        "output_tokens": n_made,
        "total_tokens": n_text + n_seen + n_made,
        "input_tokens_details": {"text_tokens": n_text, "image_tokens": n_seen},
    }


def _picture(colour: bytes, *, rows: int = _PIXELS) -> str:
    """Return a picture in base64 whose first rows have a colour."""
    return base64.b64encode(_png([colour] * rows + [_GREY] * (_PIXELS - rows))).decode()


def _png(rows: list[bytes]) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    head = struct.pack(">IIBBBBB", _PIXELS, len(rows), 8, 2, 0, 0, 0)
    pixels = b"".join(b"\0" + colour * _PIXELS for colour in rows)
    parts = (b"IHDR", head), (b"IDAT", zlib.compress(pixels)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)
