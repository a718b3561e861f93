"""What a cascade of two stages costs beyond its two calls, on its way through the application.

The draft is asked for with log-probabilities, read to its end and turned down; the last stage
streams. Beside it: the same request routed to one of the same two models, the same to a model by
name, and one call of the provider alone, which is what the second call cannot cost less than.
"""

import asyncio
import cProfile
import pstats
import statistics
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import httpx
import msgspec

from app.providers.base import ModelCall, Progress, Timeouts
from app.providers.openai import OpenAIProvider
from loadtest import bench_path
from loadtest.dialects import CHAT

_DRAFTS, _LAST = "mistralai/mistral-7b-chat", "gpt-4-1106-preview"
_SINGLE = {"router": "carrot", "candidates": [_DRAFTS, _LAST], "default_model": _LAST}
POLICIES = {
    "single": _SINGLE,
    "cascade": {
        **_SINGLE,
        "workflow": {
            "kind": "cascade",
            "stages": [_DRAFTS, _LAST],
            "acceptor": {"kind": "logprobs", "least_mean": -0.1},
        },
    },
}
_MODELS = {"pinned": _LAST, "routed": "auto:single", "cascade": "auto:cascade"}
_COUNTED = 40
_EVENT = b"data: %b\n\n"
_USAGE = {"prompt_tokens": 60, "completion_tokens": 100, "total_tokens": 160}


def _stream(n_words: int, *, logprobs: bool) -> list[bytes]:
    head = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    told = {"content": [{"token": "word ", "logprob": -1.2, "bytes": None, "top_logprobs": []}]}

    def event(**choice: Any) -> bytes:
        made = {"index": 0, "finish_reason": None, **choice}
        return _EVENT % msgspec.json.encode({**head, "choices": [made]})

    more = {"logprobs": told} if logprobs else {}
    return [
        event(delta={"role": "assistant", "content": ""}),
        *[event(delta={"content": "word "}, **more)] * n_words,
        event(delta={}, finish_reason="stop"),
        _EVENT % msgspec.json.encode({**head, "choices": [], "usage": _USAGE}),
        _EVENT % b"[DONE]",
    ]


class _Memory(httpx.AsyncBaseTransport):
    """Answers with a stream, with log-probabilities where they are asked for."""

    def __init__(self, n_words: int) -> None:
        # As it comes from the network: a hundred words are a few reads.
        self._reads = {
            told: _joined(_stream(n_words, logprobs=told), n_together=16) for told in (False, True)
        }

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        reads = self._reads[b'"logprobs":true' in await request.aread()]
        headers = [(b"content-type", b"text/event-stream")]
        return httpx.Response(200, headers=headers, stream=_Reads(reads), request=request)


class _Reads(httpx.AsyncByteStream):
    def __init__(self, reads: Sequence[bytes]) -> None:
        self._reads = reads

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for each in self._reads:
            yield each


def _joined(events: Sequence[bytes], *, n_together: int) -> list[bytes]:
    return [b"".join(events[i : i + n_together]) for i in range(0, len(events), n_together)]


async def measure(n_requests: int, n_rounds: int, n_words: int, profiled: str | None) -> None:
    """Print processor time per request, and what the cascade adds, round by round in turns."""
    provider = OpenAIProvider(
        base_url="http://127.0.0.1:1/v1", api_key="none", transport=_Memory(n_words)
    )
    asked = {name: _bodies(model, n_requests) for name, model in _MODELS.items()}
    profile = cProfile.Profile()
    took_us: dict[str, list[float]] = {name: [] for name in (*asked, "call")}
    async with bench_path.application(POLICIES) as (app, headers):
        bench_path.call_through(app, provider)
        for turn in range(n_rounds + 1):
            for name, times in took_us.items():
                if turn and name == profiled:
                    profile.enable()
                began = time.thread_time()
                if name == "call":
                    for _ in range(n_requests):
                        await _call(provider)
                else:
                    for body in asked[name]:
                        await bench_path.ask(app, headers, body, CHAT)
                took = (time.thread_time() - began) / n_requests * 1e6
                profile.disable()
                if turn:  # the first one warms up
                    times.append(took)
                await asyncio.sleep(0.05)  # the writers have their turn
    _tell(took_us)
    if profiled is not None:
        pstats.Stats(profile).sort_stats("tottime").print_stats(45)


async def count(n_words: int) -> None:
    """Print how many functions are called, and bytecodes run, for each of the same."""
    provider = OpenAIProvider(
        base_url="http://127.0.0.1:1/v1", api_key="none", transport=_Memory(n_words)
    )
    told = {}
    async with bench_path.application(POLICIES) as (app, headers):
        bench_path.call_through(app, provider)
        for name, model in _MODELS.items():
            bodies = _bodies(model, 2 * _COUNTED)
            for body in bodies[_COUNTED:]:
                await bench_path.ask(app, headers, body, CHAT)
            counter = bench_path.Counter()
            for watched in (counter.calls, counter.bytecodes):
                with watched():
                    for body in bodies[:_COUNTED]:
                        await bench_path.ask(app, headers, body, CHAT)
            told[name] = counter.n_calls / _COUNTED, counter.n_bytecodes / _COUNTED
        counter = bench_path.Counter()
        for watched in (counter.calls, counter.bytecodes):
            with watched():
                for _ in range(_COUNTED):
                    await _call(provider)
        told["call"] = counter.n_calls / _COUNTED, counter.n_bytecodes / _COUNTED
    bench_path.tell(told, ("calls", "bytecodes"))


def _tell(took_us: Mapping[str, Sequence[float]]) -> None:
    for name, times in took_us.items():
        print(
            f"{name:8} {min(times):7,.0f} µs at least, {statistics.median(times):7,.0f} µs median"
        )
    for second in ("call", "pinned"):
        parts = [took_us[each] for each in ("cascade", "routed", second)]
        # What disturbs a round only ever adds to it, so that the leasts are nearest to the work.
        least = min(parts[0]) - min(parts[1]) - min(parts[2])
        added = [cascade - routed - other for cascade, routed, other in zip(*parts, strict=True)]
        print(
            f"cascade - routed - {second}: {least:,.0f} µs of the leasts, "
            f"{statistics.median(added):,.0f} µs median of the rounds' differences"
        )


def _bodies(model: str, n: int) -> list[bytes]:
    chats = [msgspec.json.decode(each) for each in bench_path.bodies(model, n)]
    return [msgspec.json.encode({**chat, "stream": True}) for chat in chats]


async def _call(provider: OpenAIProvider) -> None:
    """Call the model alone, as a draft is asked for."""
    fields = {
        "messages": b'[{"role":"user","content":"What is a steelyard?"}]',
        "logprobs": b"true",
    }
    call = ModelCall(
        request_id="r",
        upstream_model="m",
        dialect="chat_completions",
        fields=fields,
        stream=True,
        timeouts=Timeouts(),
        headers=(),
        max_output_tokens=None,
        progress=Progress(),
        fresh_connection=False,
    )
    async for _ in provider.send(call):
        pass
