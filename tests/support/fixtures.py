"""Recorded shapes of upstreams' answers, and what a client reads out of a stream."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from app.providers.base import Chunk

FIXTURES = Path(__file__).parents[1] / "fixtures"


def fixture(path: str) -> bytes:
    """Read one recorded answer."""
    return (FIXTURES / path).read_bytes()


def events(chunks: Iterable[Chunk]) -> list[dict[str, Any]]:
    """Decode what the client is sent, which must be in canonical framing."""
    data = b"".join(chunk.data for chunk in chunks)
    frames = data.split(b"\n\n")
    assert frames.pop() == b""
    assert all(frame.startswith((b"data: ", b":")) for frame in frames)
    return [json.loads(frame[6:]) for frame in frames if not frame.startswith(b":")]


def assembled(chunks: Iterable[Chunk]) -> dict[str, Any]:
    """Put the deltas of the first choice together, as clients do."""
    message: dict[str, Any] = {"content": "", "reasoning_content": "", "refusal": None}
    calls: dict[int, dict[str, Any]] = {}
    blocks: list[dict[str, Any]] = []
    for event in events(chunks):
        (choice,) = event["choices"]
        delta = choice["delta"]
        message["content"] += delta.get("content") or ""
        message["reasoning_content"] += delta.get("reasoning_content") or ""
        message["refusal"] = delta.get("refusal") or message["refusal"]
        message["finish_reason"] = choice["finish_reason"]
        blocks += delta.get("thinking_blocks") or []
        for part in delta.get("tool_calls") or ():
            call = calls.setdefault(part["index"], {"id": part.get("id"), "name": "", "args": ""})
            call["name"] += part["function"].get("name", "")
            call["args"] += part["function"].get("arguments", "")
    message["tool_calls"] = [calls[index] for index in sorted(calls)]
    message["thinking_blocks"] = blocks
    return message
