"""What is sent: conversations of chat requests, written to files that the load generator reads."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

_TEXT = """
the of and to in a is that for it as was with be by on not he this are or his from at which but have
an had they you were their one all we can her has there been if more when will would who so no out
up into them then she many some could time these two may first than any people made over did down
only way find use water long little very after words called just where most know explain compare
write function python integral theorem history market protein translate summary sort list query
table city weather matrix proof story poem essay energy
"""
_WORDS = tuple(_TEXT.split())

Body = dict[str, Any]
Conversation = list[Body]


def words(n: int, rng: random.Random) -> str:
    """Return `n` everyday words, about as many tokens."""
    return " ".join(rng.choices(_WORDS, k=n))


def _ask(model: str, text: str, **more: Any) -> Conversation:
    return [{"model": model, "messages": [{"role": "user", "content": text}], **more}]


def short(model: str, rng: random.Random) -> Conversation:
    """Make a prompt of 64 tokens."""
    return _ask(model, words(64, rng))


def long(model: str, rng: random.Random) -> Conversation:
    """Make a prompt of 2,000 tokens."""
    return _ask(model, words(2_000, rng))


def burst(model: str, rng: random.Random) -> Conversation:
    """Ask for a stream of 200 chunks that are all there at once."""
    return _ask(model, f"[[stream 200 0]] {words(60, rng)}", stream=True)


def paced(model: str, rng: random.Random) -> Conversation:
    """Ask for a stream of 100 chunks, 100 a second."""
    return _ask(model, f"[[stream 100 10]] {words(60, rng)}", stream=True)


def few(model: str, rng: random.Random) -> Conversation:
    """Ask for a stream of 5 chunks, 50 a second: what counts is the first."""
    return _ask(model, f"[[stream 5 20]] {words(60, rng)}", stream=True)


def idle(model: str, rng: random.Random) -> Conversation:
    """Ask for a stream that says something and then nothing for two minutes."""
    return _ask(model, f"[[stream 2 120000]] {words(60, rng)}", stream=True)


def growing(model: str, rng: random.Random) -> Conversation:
    """Make eight turns of one conversation, each with all that was said before."""
    messages: list[Body] = [{"role": "system", "content": words(40, rng)}]
    turns = []
    for _ in range(8):
        messages.append({"role": "user", "content": words(40, rng)})
        turns.append({"model": model, "messages": list(messages)})
        messages.append({"role": "assistant", "content": words(80, rng)})
    return turns


def tools(model: str, rng: random.Random) -> Conversation:
    """Make a prompt with 8 tools (5 kB); the answer calls one."""
    described = [
        {
            "type": "function",
            "function": {
                "name": f"tool_{number}",
                "description": words(20, rng),
                "parameters": {
                    "type": "object",
                    "properties": {
                        name: {"type": "string", "description": words(8, rng)}
                        for name in ("city", "unit", "when", "why")
                    },
                    "required": ["city"],
                },
            },
        }
        for number in range(8)
    ]
    return _ask(model, words(64, rng), tools=described)


def mixed(model: str, rng: random.Random) -> Conversation:
    """Make mostly short prompts, some streams, some conversations, a few long ones."""
    kind = rng.choices((short, burst, growing, tools, long), weights=(60, 15, 10, 10, 5))[0]
    return kind(model, rng)


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One kind of traffic.

    Attributes
    ----------
    routed
        Whether the gateway chooses the model; else the client names it.
    peers
        Whether the peers get it too (they do not route, and get it with a pinned model).
    per_chunk
        Whether processor time is told per chunk of a stream, not per request.
    """

    name: str
    make: Callable[[str, random.Random], Conversation]
    mode: Literal["closed", "open", "hold"] = "closed"
    connections: int = 1
    rate: float = 0.0
    routed: bool = False
    peers: bool = False
    per_chunk: bool = False
    variety: int = 2_000
    warm_up: int = 100


SCENARIOS: Sequence[Scenario] = (
    Scenario(name="pinned, 1 connection", make=short, peers=True),
    Scenario(name="pinned, 64 connections", make=short, connections=64, peers=True),
    Scenario(name="routed, 1 connection", make=short, routed=True),
    Scenario(name="routed, 64 connections", make=short, connections=64, routed=True),
    Scenario(
        name="routed, 200 requests/s", make=short, mode="open", rate=200, connections=8, routed=True
    ),
    Scenario(name="long prompt, pinned", make=long, peers=True, variety=200),
    Scenario(name="long prompt, routed", make=long, routed=True, variety=200),
    Scenario(name="one stream at a time, pinned", make=few, peers=True, warm_up=5),
    Scenario(name="one stream at a time, routed", make=few, routed=True, warm_up=5),
    Scenario(
        name="stream in a burst, pinned",
        make=burst,
        peers=True,
        per_chunk=True,
        warm_up=20,
    ),
    Scenario(
        name="stream paced, pinned",
        make=paced,
        connections=64,
        peers=True,
        per_chunk=True,
        warm_up=8,
    ),
    Scenario(
        name="stream paced, routed",
        make=paced,
        connections=64,
        routed=True,
        per_chunk=True,
        warm_up=8,
    ),
    Scenario(name="growing conversation, routed", make=growing, connections=8, routed=True),
    Scenario(name="tool calls, routed", make=tools, connections=8, routed=True, variety=500),
    Scenario(name="mixed, routed", make=mixed, connections=16, routed=True, variety=500),
)
IDLE = Scenario(name="1,000 idle streams", make=idle, mode="hold", connections=1_000, variety=50)


def find(name: str) -> Scenario:
    """Return a scenario by name."""
    return next(each for each in SCENARIOS if each.name == name)


def write(scenario: Scenario, model: str, directory: Path) -> Path:
    """Write the conversations; the same every time."""
    rng = random.Random(0)
    path = directory / f"{scenario.make.__name__}-{model.replace('/', '-')}.jsonl"
    if not path.exists():
        path.write_bytes(b"\n".join(_lines(scenario, model, rng)))
    return path


def _lines(scenario: Scenario, model: str, rng: random.Random) -> Iterator[bytes]:
    for _ in range(scenario.variety):
        yield msgspec.json.encode(scenario.make(model, rng))
