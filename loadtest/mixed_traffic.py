"""Requests of every kind to a gateway on simulated models, and what is owed to each: one good end.

The simulated models are deterministic, so every answer is compared with what was to be said.
"""

import asyncio
import json
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import httpx

from app.stub.answers.compose import compose
from app.stub.tiers import TIERS

_DONE = "[DONE]"
_ERROR_KEYS = {"message", "type", "param", "code"}


class Kind(StrEnum):
    """What a client sends."""

    SHORT = "short_chat"
    LONG_PROMPT = "long_prompt"
    CONVERSATION = "growing_conversation"
    TOOLS = "tool_call_loop"
    STREAM = "streaming"
    CANCELLED = "client_cancellation"
    INVALID = "invalid_request"
    TOO_LONG = "context_overflow"


class Ended(StrEnum):
    """How it ended for the client."""

    ANSWER = "answer"
    REFUSED = "refused"
    """An error in place of an answer."""
    CUT = "cut"
    """A stream that ended in an error event."""
    LEFT = "left"
    """The client went away on purpose."""
    BROKEN = "broken"
    """None of these: what must never be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One request; `tag` is its `user` field and stands in its prompt too."""

    tag: str
    kind: Kind
    body: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    """Sent in place of the body, for requests that are not even JSON."""
    leave_after_events: int | None = None

    @property
    def stream(self) -> bool:
        """Whether the answer is to be streamed."""
        return self.body.get("stream") is True


@dataclass(slots=True, kw_only=True)
class End:
    """What came of a request; `problem` says what was wrong with its end, if anything was."""

    ask: Ask
    ended: Ended
    status: int = 0
    code: str | None = None
    model: str | None = None
    text: str = ""
    usage: Mapping[str, Any] | None = None
    problem: str | None = None
    duration_s: float = 0.0


class BrokenEndError(AssertionError):
    """An answer that is no answer."""


_TOOL = {
    "type": "function",
    "function": {
        "name": "look_up",
        "description": "Look something up.",
        "parameters": {
            "type": "object",
            "properties": {"what": {"type": "string"}, "n": {"type": "integer", "minimum": 3}},
            "required": ["what", "n"],
        },
    },
}
_WORDS = ("weigh", "lever", "pivot", "balance", "beam", "price", "model", "route", "answer", "cost")


@dataclass(slots=True, kw_only=True)
class Mix:
    """Make requests; the same seed makes the same ones.

    Parameters
    ----------
    models
        That are asked for: `auto` and its policies, and pinned ones.
    weights
        Kind → how often it comes, relative to the others.
    max_tokens
        Of answers.
    """

    seed: int
    models: tuple[str, ...]
    weights: Mapping[Kind, float]
    max_tokens: int = 60
    _rng: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._rng = random.Random(self.seed)

    def draw(self, tag: str) -> Ask:
        """Return the next request."""
        kinds = list(self.weights)
        return self.make(tag, self._rng.choices(kinds, [self.weights[k] for k in kinds])[0])

    def make(self, tag: str, kind: Kind) -> Ask:
        """Return a request of a kind."""
        rng = self._rng
        body: dict[str, Any] = {
            "model": rng.choice(self.models),
            "messages": [{"role": "user", "content": self._prompt(tag, 12)}],
            "max_tokens": rng.randrange(10, self.max_tokens),
            "user": tag,
        }
        leave = None
        raw = None
        match kind:
            case Kind.LONG_PROMPT:
                body["messages"] = [{"role": "user", "content": self._prompt(tag, 3_000)}]
                body["stream"] = rng.random() < 0.5
            case Kind.CONVERSATION:
                body["messages"] = [
                    {"role": "system", "content": f"You are of group {rng.randrange(20)}."},
                    *self._turns(f"{rng.randrange(1_000)}", rng.randrange(1, 5)),
                    *body["messages"],
                ]
                body["stream"] = rng.random() < 0.5
            case Kind.TOOLS:
                body["messages"][0]["content"] += " look_up"
                body |= {"tools": [_TOOL], "model": "auto", "stream": rng.random() < 0.5}
            case Kind.STREAM | Kind.CANCELLED:
                body["stream"] = True
                if rng.random() < 0.5:
                    body["stream_options"] = {"include_usage": True}
                if kind is Kind.CANCELLED:
                    leave = rng.randrange(3)
            case Kind.INVALID:
                raw = rng.choice([b"{", b"[]", b'{"model":"auto"}', b'{"model":1,"messages":[]}'])
            case Kind.TOO_LONG:
                body["messages"] = [{"role": "user", "content": self._prompt(tag, 150_000)}]
                body["model"] = "auto"
        return Ask(tag=tag, kind=kind, body=body, raw=raw, leave_after_events=leave)

    def _prompt(self, tag: str, n_words: int) -> str:
        return f"{tag}: " + " ".join(self._rng.choices(_WORDS, k=n_words))

    def _turns(self, topic: str, n: int) -> list[dict[str, str]]:
        turns = []
        for i in range(n):
            turns.append({"role": "user", "content": f"Turn {i} on {topic}: {' '.join(_WORDS)}?"})
            turns.append({"role": "assistant", "content": f"Answer {i} on {topic}."})
        return turns


async def send(client: httpx.AsyncClient, ask: Ask) -> End:
    """Ask for a completion and judge how it ends; never raises for what the gateway does."""
    end = End(ask=ask, ended=Ended.BROKEN)
    began = time.perf_counter()
    content = json.dumps(ask.body).encode() if ask.raw is None else ask.raw
    headers = {"content-type": "application/json", **ask.headers}
    try:
        async with client.stream(
            "POST", "/v1/chat/completions", content=content, headers=headers
        ) as response:
            end.status = response.status_code
            end.model = response.headers.get("x-route-model")
            if ask.leave_after_events is not None and response.status_code == httpx.codes.OK:
                await _leave(response, ask.leave_after_events)
                end.ended = Ended.LEFT
            else:
                _judge(end, response, await response.aread())
    except (httpx.HTTPError, BrokenEndError) as error:
        end.ended = Ended.BROKEN
        end.problem = f"{type(error).__name__}: {error}"
    end.duration_s = time.perf_counter() - began
    return end


async def send_all(client: httpx.AsyncClient, asks: list[Ask], *, at_once: int) -> list[End]:
    """Send all requests, up to `at_once` at a time."""
    places = asyncio.Semaphore(at_once)

    async def one(ask: Ask) -> End:
        async with places:
            return await send(client, ask)

    return await asyncio.gather(*(one(ask) for ask in asks))


async def _leave(response: httpx.Response, after_events: int) -> None:
    n_events = 0
    async for data in response.aiter_raw():
        n_events += data.count(b"\n\n")
        if n_events > after_events:
            return


def _judge(end: End, response: httpx.Response, body: bytes) -> None:
    kind = response.headers.get("content-type", "")
    if response.status_code != httpx.codes.OK:
        _require(kind == "application/json", f"an error of type {kind!r}")
        end.code = _error_code(_decoded(body))
        end.ended = Ended.REFUSED
    elif end.ask.stream:
        _require(kind.startswith("text/event-stream"), f"a stream of type {kind!r}")
        _judge_stream(end, body)
    else:
        _require(kind == "application/json", f"an answer of type {kind!r}")
        answer = _decoded(body)
        _require(answer.get("object") == "chat.completion", "not a chat completion")
        _require("error" not in answer, "an answer and an error in one")
        end.text = _spoken(answer["choices"][0]["message"])
        end.usage = answer.get("usage")
        end.ended = Ended.ANSWER
    if end.ended is Ended.ANSWER:
        _require(end.text == expected(end), f"not what was to be said: {end.text[:200]!r}")
    elif end.ended is Ended.CUT:
        _require(expected(end).startswith(end.text), f"not how it was to begin: {end.text[:200]!r}")


def expected(end: End) -> str:
    """Return what the model that served had to say."""
    _require(end.model in TIERS, f"x-route-model: {end.model}")
    model = str(end.model)
    answer = compose(model, TIERS[model], end.ask.body)
    return answer.text + "".join([call.text for call in answer.calls])


def _judge_stream(end: End, body: bytes) -> None:
    *frames, rest = body.decode().split("\n\n")
    _require(not rest, f"a frame without its end: {rest[:80]!r}")
    frames = [frame for frame in frames if not frame.startswith(":")]
    _require(all(frame.startswith("data: ") for frame in frames), "a frame that is no data")
    payloads = [frame.removeprefix("data: ") for frame in frames]
    _require(bool(payloads), "a stream without any event")
    _require(_DONE not in payloads[:-1], "something after the end")
    last = payloads.pop()
    if last == _DONE:
        end.ended = Ended.ANSWER
    else:
        end.code = _error_code(_decoded(last.encode()))
        end.ended = Ended.CUT
    events = [_decoded(payload.encode()) for payload in payloads]
    _require(not any("error" in event for event in events), "an error and then more")
    end.text = "".join(_spoken(c["delta"]) for e in events for c in e["choices"])
    finishes = [c["finish_reason"] for e in events for c in e["choices"] if c["finish_reason"]]
    _require(len(finishes) <= 1, "finished twice")
    _require(end.ended is Ended.CUT or len(finishes) == 1, "an end without a finish reason")
    end.usage = next((e["usage"] for e in events if e.get("usage")), None)


def _spoken(message: Mapping[str, Any]) -> str:
    calls = message.get("tool_calls") or []
    return (message.get("content") or "") + "".join(c["function"]["arguments"] for c in calls)


def _error_code(body: Mapping[str, Any]) -> str:
    _require(set(body) == {"error"}, f"neither an end nor an error: {str(body)[:200]}")
    _require(set(body["error"]) >= _ERROR_KEYS, f"an error without all its keys: {body}")
    return str(body["error"]["code"] or body["error"]["type"])


def _decoded(data: bytes) -> dict[str, Any]:
    try:
        decoded: dict[str, Any] = json.loads(data)
    except ValueError as error:
        raise BrokenEndError(f"not JSON: {data[:80]!r}") from error
    _require(isinstance(decoded, dict), "not an object")
    return decoded


def _require(condition: bool, otherwise: str) -> None:  # noqa: FBT001
    if not condition:
        raise BrokenEndError(otherwise)
