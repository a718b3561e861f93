"""Server-sent events of chat completions on the way to the client."""

from collections.abc import Mapping
from typing import Any

import msgspec

from app.usage import Usage
from app.wire.usage import usage_object

DONE = b"data: [DONE]\n\n"

PING = b": ping\n\n"
"""A comment: clients skip it. No `id:`, which some clients choke on."""

_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ENVELOPE = ("id", "object", "created", "model")
_NONE = msgspec.Raw(b"[]")


def event(payload: bytes) -> bytes:
    """Frame one JSON payload."""
    return b"data: " + payload + b"\n\n"


def add_fields(payload: bytes, fields: Mapping[str, Any]) -> bytes:
    """Add fields at the end of a JSON object without touching the rest of its bytes."""
    body = payload.rstrip()
    head = body[:-1].rstrip()
    comma = b"" if head.endswith(b"{") else b","
    return head + comma + msgspec.json.encode(fields)[1:]


def add_fields_to_first_event(events: bytes, fields: Mapping[str, Any]) -> bytes:
    """Add fields to the JSON object of the first event among `events`."""
    # At the start of a line: a comment may hold the word too.
    start = 0 if events.startswith(b"data: ") else events.find(b"\ndata: ") + 1
    if not events.startswith(b"data: ", start):
        return events
    start += len(b"data: ")
    end = events.index(b"\n", start)
    return events[:start] + add_fields(events[start:end], fields) + events[end:]


def usage_event(payload: bytes, usage: Usage | None, *, cost_usd: float | None) -> bytes:
    """Frame the event that tells a client of its tokens, with what the answer cost.

    Parameters
    ----------
    payload
        The upstream's own usage event, or any other of its stream, whose id, time and model are
        taken over.
    usage
        As it is accounted for; None where that is not known any more.
    """
    chunk = _OBJECT.decode(payload)
    if chunk.pop("choices", _NONE) != _NONE:
        told, chunk = None, {key: chunk[key] for key in _ENVELOPE if key in chunk}
    else:
        told = chunk.pop("usage", None)
    record = {**usage_object(told, usage), "cost_usd": cost_usd}
    return event(msgspec.json.encode({**chunk, "choices": [], "usage": record}))
