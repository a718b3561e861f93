"""Streams of Anthropic's Messages API, read as its client reads them."""

import json
from typing import Any


def events_of(stream: bytes) -> list[dict[str, Any]]:
    """Return the events of a stream; each has its name in a line of its own, and in its data."""
    events = []
    for block in stream.decode().replace("\r\n", "\n").split("\n\n"):
        lines = [line for line in block.split("\n") if line and not line.startswith(":")]
        if not lines:
            continue
        name, data = lines
        assert name.startswith("event: ")
        told = json.loads(data.removeprefix("data: "))
        assert told["type"] == name.removeprefix("event: ")
        events.append(told)
    return events


def accumulated(stream: bytes) -> dict[str, Any]:
    """Put a stream together to the message it amounts to."""
    message: dict[str, Any] = {}
    written: dict[int, str] = {}
    for event in events_of(stream):
        match event["type"]:
            case "message_start":
                message = event["message"]
            case "content_block_start":
                assert event["index"] == len(message["content"])
                message["content"].append(event["content_block"])
            case "content_block_delta":
                index, delta = event["index"], event["delta"]
                kind = delta.pop("type")
                if kind == "input_json_delta":
                    written[index] = written.get(index, "") + delta["partial_json"]
                    continue
                ((name, piece),) = delta.items()
                message["content"][index][name] += piece
            case "message_delta":
                message |= event["delta"]
                message["usage"] |= event["usage"]
    for index, told in written.items():
        message["content"][index]["input"] = json.loads(told)
    message.get("usage", {}).pop("cost_usd", None)
    return message
