"""Models behind one upstream that fail in seeded ways, and know what each call was told and billed.

What goes wrong is drawn from the seed, the request's tag, the model and how often that was asked,
so that a run can be made again; which calls there are depends on the gateway.
"""

import asyncio
import contextlib
import json
import math
import random
import re
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

TAG = re.compile(r"\bt\d{6}\b")
"""What a prompt holds, by which its calls are found."""
JUDGE = "sim-medium"
"""Judges, plans and guards."""
_CALLED = ("sim-nano", "sim-small", "sim-large")
LONG_CHARS = 60_000
"""Of an answer that nobody would hold back."""
_STALL_S, _SLOW_S = 2.0, 0.05
_OPTIONS = ("The answer is (A).", "A", "(B)", "I think it is B.")
_INPUT_TOKENS = 10


class Fault(StrEnum):
    """What goes wrong with one call."""

    BAD_REQUEST = "400"
    UNAUTHORIZED = "401"
    NOT_FOUND = "404"
    TOO_LONG_PROMPT = "400 context length"
    THROTTLED = "429"
    BROKEN = "500"
    OVERLOADED = "503"
    SLOW = "slow"
    STALLED = "stalled"
    STALLED_MIDWAY = "stalled midway"
    HUNG_UP = "hung up"
    TRUNCATED = "truncated"
    GARBAGE = "garbage"
    NO_CHOICES = "no choices"
    NO_CONTENT = "no content"
    TWO_CHOICES = "two choices"
    ODD_CONTENT = "odd content"
    ODD_LOGPROBS = "odd logprobs"
    NO_USAGE = "no usage"
    FILTERED = "filtered"
    ERROR_EVENT = "error event"
    LONG = "long"


_STATUS = {
    Fault.BAD_REQUEST: (400, "invalid_request_error", "bad_value"),
    Fault.UNAUTHORIZED: (401, "invalid_request_error", "invalid_api_key"),
    Fault.NOT_FOUND: (404, "invalid_request_error", "model_not_found"),
    Fault.TOO_LONG_PROMPT: (400, "invalid_request_error", "context_length_exceeded"),
    Fault.THROTTLED: (429, "rate_limit_error", None),
    Fault.BROKEN: (500, "server_error", None),
    Fault.OVERLOADED: (503, "server_error", None),
}
_RARE = {Fault.STALLED: 0.15, Fault.STALLED_MIDWAY: 0.15, Fault.LONG: 0.3, Fault.UNAUTHORIZED: 0.5}
"""Relative to the others: what keeps everybody waiting, or leaves a model alone for long."""
BILLED_AS_TOLD = frozenset(
    {None, Fault.SLOW, Fault.FILTERED, Fault.TWO_CHOICES, Fault.ODD_LOGPROBS, Fault.ODD_CONTENT}
)
"""What leaves an answer whole, with its usage."""


@dataclass(slots=True, kw_only=True)
class ModelCall:
    """One call as the upstream saw it.

    Attributes
    ----------
    output_tokens
        What it told, different for every call of a request; None where it told nothing.
    handed_over
        Whether all of an answer was written.
    said
        What the answer was to say.
    """

    tag: str
    model: str
    fault: Fault | None
    output_tokens: int | None = None
    handed_over: bool = False
    said: object = None


class FaultyModels:
    """A server in a thread of its own.

    Parameters
    ----------
    share
        Of the calls in which something goes wrong.
    without
        What never does.
    """

    def __init__(self, *, seed: int, share: float, without: frozenset[Fault] = frozenset()) -> None:
        self.calls: list[ModelCall] = []
        self._seed, self._share = seed, share
        self._faults = [each for each in Fault if each not in without]
        self._seen: Counter[tuple[str, str]] = Counter()
        self._n_of_tag: Counter[str] = Counter()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="faulty models")

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._serve, "127.0.0.1", 0), self._loop
        ).result(10)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _stop(self) -> None:
        self._server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"content-length: *(\d+)", head.lower())
                body = await reader.readexactly(int(length[1]) if length else 0)
                if not await self._answer(json.loads(body), writer):
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(self, body: Mapping[str, Any], writer: asyncio.StreamWriter) -> bool:
        """Answer one call; return whether the connection can be used again."""
        found = TAG.findall(" ".join([str(each.get("content")) for each in body["messages"]]))
        tag, model = found[-1] if found else "", body["model"]
        self._seen[tag, model] += 1
        rng = random.Random(f"{self._seed}/{tag}/{model}/{self._seen[tag, model]}")
        fault = None
        if rng.random() < self._share:
            weights = [_RARE.get(each, 1.0) for each in self._faults]
            (fault,) = rng.choices(self._faults, weights)
        call = ModelCall(tag=tag, model=model, fault=fault)
        self.calls.append(call)
        if fault in _STATUS:
            status, kind, code = _STATUS[fault]
            error = {"message": f"no: {fault}", "type": kind, "param": None, "code": code}
            await _write(writer, _whole({"error": error}, status))
            return True
        if fault is Fault.SLOW:
            await asyncio.sleep(rng.random() * _SLOW_S)
        if fault is Fault.STALLED:
            await asyncio.sleep(_STALL_S)
        if fault is Fault.HUNG_UP:
            return False
        if fault is not Fault.NO_USAGE:
            self._n_of_tag[tag] += 1
            most = body.get("max_tokens") or body.get("max_completion_tokens") or 60
            call.output_tokens = max(1, min(most, self._n_of_tag[tag] % 60))
        answer = _completion(body, fault, rng, call.output_tokens, tag=tag)
        if answer["choices"]:
            call.said = answer["choices"][0]["message"]["content"]
        if not body.get("stream"):
            return await self._send_whole(writer, answer, call)
        return await self._send_events(writer, answer, call)

    async def _send_whole(
        self, writer: asyncio.StreamWriter, answer: dict[str, Any], call: ModelCall
    ) -> bool:
        data = _whole(answer, 200)
        if call.fault is Fault.GARBAGE:
            data = _framed(b"<html>no</html>", 200, b"text/html")
        if call.fault in {Fault.TRUNCATED, Fault.ERROR_EVENT, Fault.STALLED_MIDWAY}:
            await _write(writer, data[:-20])
            if call.fault is Fault.STALLED_MIDWAY:
                await asyncio.sleep(_STALL_S)
            return False
        await _write(writer, data)
        call.handed_over = True
        return True

    async def _send_events(
        self, writer: asyncio.StreamWriter, answer: dict[str, Any], call: ModelCall
    ) -> bool:
        head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
        events = [b"data: %b\n\n" % json.dumps(each).encode() for each in _pieces(answer)]
        if call.fault is Fault.GARBAGE:
            events = [b"data: {no json\n\n", b"\x00\xff\n\n"]
        half = events[: max(1, len(events) // 2)]
        await _write(writer, head + b"".join(half))
        if call.fault is Fault.TRUNCATED:
            return False
        if call.fault is Fault.STALLED_MIDWAY:
            await asyncio.sleep(_STALL_S)
            return False
        if call.fault is Fault.ERROR_EVENT:
            error = {"message": "no", "type": "server_error", "param": None, "code": None}
            await _write(writer, b"data: %b\n\n" % json.dumps({"error": error}).encode())
            return False
        await _write(writer, b"".join(events[len(half) :]) + b"data: [DONE]\n\n")
        call.handed_over = True
        return False


def _says(body: Mapping[str, Any], rng: random.Random, tag: str) -> str:
    """Return what a model says: what it is asked for, more or less."""
    if body["model"] != JUDGE:
        return rng.choice(_OPTIONS)
    asked = str(body["messages"][0]["content"])
    if asked.startswith("You guard"):
        return rng.choice(("safe", "safe", "safe", "Safe.", "unsafe\nS1", "I cannot tell."))
    if asked.startswith("You plan"):
        called = rng.choice((*_CALLED, "auto"))
        turns = (
            *[f"<think>One more.</think><call>{called}: what of {tag}?</call>"] * 5,
            *["<think>I know.</think><answer>It is B.</answer>"] * 2,
            "I would ask somebody.",
        )
        return rng.choice(turns)
    return rng.choice("12345")


def _completion(
    body: Mapping[str, Any],
    fault: Fault | None,
    rng: random.Random,
    output_tokens: int | None,
    *,
    tag: str,
) -> dict[str, Any]:
    said: Any = _says(body, rng, tag)
    if fault is Fault.LONG:
        said = "word " * (LONG_CHARS // 5)
    if fault is Fault.NO_CONTENT:
        said = None
    if fault is Fault.ODD_CONTENT:
        said = rng.choice([[{"type": "text", "text": "B"}], ""])
    choice: dict[str, Any] = {
        "index": 0,
        "message": {"role": "assistant", "content": said},
        "finish_reason": "content_filter" if fault is Fault.FILTERED else "stop",
    }
    if body.get("logprobs"):
        tokens = [
            {"token": "t", "logprob": math.log(rng.uniform(0.2, 1.0)), "top_logprobs": []}
            for _ in range(3)
        ]
        odd = rng.choice([5, {"content": 5}, {"content": [None]}])
        choice["logprobs"] = odd if fault is Fault.ODD_LOGPROBS else {"content": tokens}
    choices = [] if fault is Fault.NO_CHOICES else [choice]
    if fault is Fault.TWO_CHOICES:
        choices.append({**choice, "index": 1})
    usage = {
        "prompt_tokens": _INPUT_TOKENS,
        "completion_tokens": output_tokens,
        "total_tokens": _INPUT_TOKENS + (output_tokens or 0),
    }
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": body["model"],
        "choices": choices,
        **({} if output_tokens is None else {"usage": usage}),
    }


def _pieces(answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return an answer as the events of a stream."""
    head = {**answer, "object": "chat.completion.chunk"}
    usage = head.pop("usage", None)
    events = []
    for choice in answer["choices"]:
        index, said = choice["index"], choice["message"]["content"]
        deltas: list[Any] = [{"role": "assistant", "content": ""}]
        if isinstance(said, str) and said:
            middle = len(said) // 2
            deltas += [{"content": said[:middle]}, {"content": said[middle:]}]
        elif said is not None:
            deltas.append({"content": said})
        for delta in deltas:
            piece = {"index": index, "delta": delta, "finish_reason": None}
            if delta is deltas[-1] and "logprobs" in choice:
                piece["logprobs"] = choice["logprobs"]
            events.append({**head, "choices": [piece]})
        end = {"index": index, "delta": {}, "finish_reason": choice["finish_reason"]}
        events.append({**head, "choices": [end]})
    if usage is not None:
        events.append({**head, "choices": [], "usage": usage})
    return events or [{**head, "choices": []}]


def _whole(answer: object, status: int) -> bytes:
    return _framed(json.dumps(answer).encode(), status, b"application/json")


def _framed(data: bytes, status: int, kind: bytes) -> bytes:
    head = b"HTTP/1.1 %d X\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n"
    return head % (status, kind, len(data)) + data


async def _write(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(data)
    with contextlib.suppress(ConnectionError):
        await writer.drain()
