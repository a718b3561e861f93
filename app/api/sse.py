"""Server-sent events on the way to the client."""

from collections.abc import Mapping
from typing import Any

import msgspec

from app.types import Usage

DONE = b"data: [DONE]\n\n"

STREAM_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]

_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])


def event(payload: bytes) -> bytes:
    """Frame one JSON payload."""
    return b"data: " + payload + b"\n\n"


def add_field(payload: bytes, name: str, value: Any) -> bytes:
    """Add a field at the end of a JSON object without touching the rest of its bytes."""
    body = payload.rstrip()
    head = body[:-1].rstrip()
    comma = b"" if head.endswith(b"{") else b","
    return head + comma + msgspec.json.encode({name: value})[1:]


def add_field_to_first_event(events: bytes, name: str, value: Any) -> bytes:
    """Add a field to the JSON object of the first event among `events`."""
    # At the start of a line: a comment may hold the word too.
    start = 0 if events.startswith(b"data: ") else events.find(b"\ndata: ") + 1
    if not events.startswith(b"data: ", start):
        return events
    start += len(b"data: ")
    end = events.index(b"\n", start)
    return events[:start] + add_field(events[start:end], name, value) + events[end:]


def usage_event(payload: bytes, *, cost_usd: float | None) -> bytes:
    """Frame the upstream's usage event with what the answer cost added to `usage`."""
    chunk = _OBJECT.decode(payload)
    usage: dict[str, Any] = dict(_OBJECT.decode(chunk["usage"]))
    usage["cost_usd"] = cost_usd
    return event(msgspec.json.encode({**chunk, "usage": usage}))


def made_up_usage_event(template: bytes, usage: Usage, *, cost_usd: float | None) -> bytes:
    """Frame a usage event of our own, for an upstream that sent none; it says so."""
    chunk: Mapping[str, Any] = _OBJECT.decode(template)
    kept = {key: chunk[key] for key in ("id", "object", "created", "model") if key in chunk}
    return event(
        msgspec.json.encode(
            {
                **kept,
                "choices": [],
                "usage": {
                    "prompt_tokens": usage.input_tokens,
                    "completion_tokens": usage.output_tokens,
                    "total_tokens": usage.input_tokens + usage.output_tokens,
                    "estimated": True,
                    "cost_usd": cost_usd,
                },
            }
        )
    )
