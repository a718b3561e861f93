"""Messages of AWS' event streams, framed as its servers do."""

import json
import struct
import zlib
from collections.abc import Mapping

from tests.support.fixtures import fixture


def framed(headers: Mapping[str, str], payload: bytes) -> bytes:
    """Return one message."""
    told = b"".join(
        struct.pack(f">B{len(name)}sBH", len(name), name.encode(), 7, len(value)) + value.encode()
        for name, value in headers.items()
    )
    prelude = struct.pack(">II", 16 + len(told) + len(payload), len(told))
    data = prelude + struct.pack(">I", zlib.crc32(prelude)) + told + payload
    return data + struct.pack(">I", zlib.crc32(data))


def event(kind: str, fields: object) -> bytes:
    """Return an event, or an exception where its type begins with `!`."""
    payload = json.dumps(fields, ensure_ascii=False).encode()
    if kind.startswith("!"):
        return framed({":exception-type": kind[1:], ":message-type": "exception"}, payload)
    headers = {
        ":event-type": kind,
        ":content-type": "application/json",
        ":message-type": "event",
    }
    return framed(headers, payload)


def recorded(name: str) -> list[bytes]:
    """Return the messages of a recorded stream."""
    lines = fixture(f"bedrock/{name}.jsonl").decode().splitlines()
    return [event(*json.loads(line)) for line in lines]
