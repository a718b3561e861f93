"""Measure what a request costs on its way through the application, without sockets.

    python -m loadtest.bench_path [--requests 1500] [--rounds 9] [--profile pinned] [--count]
    python -m loadtest.bench_path --workflow [--words 100]
    python -m loadtest.bench_path --dialects [--stream] [--scenario "tool calls, routed"] [--count]

Processor time of the event loop's thread from the ASGI scope to the last byte of the answer: key
authentication, limits and budgets on key, team and gateway, metrics, log line and outcome are on,
the decision is made by the shipped router, the upstream answers at once out of memory. What HTTP
costs towards client and upstream, and what is written by other threads, is not in it. It is the
quickest way to see what a change buys.

Another commit is measured by `PYTHONPATH=THERE python -P loadtest/bench_path.py`, THERE being where
it is checked out. Without `-P`, and with `-m`, the folder that Python is started in or finds this
file in comes before `PYTHONPATH`; what was measured is printed.

`--dialects` asks the same of a pinned model in every dialect that clients chat in, from an upstream
that speaks it and from one that does not, in turns with chat completions: what the machine does
besides falls on all of them alike. Here what the provider does is in it too.

`--workflow` compares a cascade of two stages with its two calls; see `loadtest/workflow_path.py`.

`--count` tells calls of functions and bytecodes per request in place of times: they are the same on
a machine that is busy, but weigh nothing of what is done in C.
"""

import os

for _variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import argparse
import asyncio
import contextlib
import cProfile
import logging
import pstats
import random
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec
import uvloop
import yaml

import app
from app.config import load_config
from app.main import create_app
from app.providers.base import Chunk, ModelCall
from app.telemetry.logs import JsonFormatter, JsonLines, configure_logging
from app.usage import ToldUsage
from loadtest.gateways import FULL, configuration, make_keys
from loadtest.scenarios import find

_PINNED = "gpt-4-1106-preview"
_WARM_UP = 300
_COUNTED = 50
"""Requests that are counted, after as many that were not."""
_ANSWER = msgspec.json.encode(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "word " * 100},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 60, "completion_tokens": 100, "total_tokens": 160},
    }
)

_CHAT = "/v1/chat/completions"
_NO_POLICIES: Mapping[str, Any] = {}


class Instant:
    """A provider that has its answer ready."""

    native_dialects: frozenset[str] = frozenset()
    token_counter = None

    async def send(self, call: ModelCall) -> AsyncGenerator[Chunk, None]:
        """Answer as the model that was asked."""
        yield Chunk(
            data=_ANSWER,
            usage=ToldUsage(input_tokens=60, output_tokens=100),
            content_events=1,
            content_chars=500,
            response_model=call.upstream_model,
            finish_reason="stop",
        )

    async def aclose(self) -> None:
        """Let go of nothing."""


@contextlib.asynccontextmanager
async def application(
    policies: Mapping[str, Any] = _NO_POLICIES,
    *,
    change: Callable[[dict[str, Any]], None] = lambda _: None,
) -> AsyncIterator[tuple[Any, list[tuple[bytes, bytes]]]]:
    """Run the application with everything on, and further policies.

    Parameters
    ----------
    change
        Makes something else of the configuration.

    Yields it and the headers that clients send.
    """
    with contextlib.ExitStack() as stack:
        path = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "gateway.yaml"
        document = configuration(FULL, 1)
        document["policies"] |= policies
        change(document)
        path.write_text(yaml.safe_dump(document))
        (secret,) = await asyncio.to_thread(make_keys, path, 1)
        app = create_app(load_config(path))
        configure_logging()
        nowhere = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))  # noqa: ASYNC230, PTH123
        logging.getLogger().handlers[:] = [JsonLines(nowhere, JsonFormatter())]
        async with app.router.lifespan_context(app):
            yield app, headers_with(secret)


def call_through(app: Any, provider: Any) -> None:
    """Have every upstream called by this provider."""
    for slot in app.state.steelyard.gateway.dispatcher.pool.slots():
        object.__setattr__(slot.deployment, "provider", provider)


async def ask(app: Any, headers: list[tuple[bytes, bytes]], body: bytes, path: str = _CHAT) -> None:
    """Send one request through the application, as a server would."""
    told = False
    gone = asyncio.get_running_loop().create_future()

    async def receive() -> dict[str, Any]:
        nonlocal told
        if told:
            await gone
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    status = 0

    async def send(message: dict[str, Any]) -> None:
        nonlocal status
        status = message.get("status", status)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "scheme": "http",
        "http_version": "1.1",
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
        "headers": headers,
        "state": {},
        # What our own server offers in place of a task that waits for the client to go.
        "extensions": {"steelyard.on_disconnect": lambda _call: None},
    }
    await app(scope, receive, send)
    if status != 200:
        raise RuntimeError(f"answered {status}")


def bodies(model: str, n: int, scenario: str = "pinned, 1 connection") -> list[bytes]:
    """Return `n` different chats, short ones unless a scenario of others is named."""
    make, rng = find(scenario).make, random.Random(7)
    return [msgspec.json.encode(make(model, rng)[-1]) for _ in range(n)]


def headers_with(secret: str) -> list[tuple[bytes, bytes]]:
    """Return the headers that client libraries send."""
    return [
        (b"host", b"gateway"),
        (b"authorization", f"Bearer {secret}".encode()),
        (b"content-type", b"application/json"),
        (b"accept", b"application/json"),
        (b"user-agent", b"OpenAI/Python 2.8.0"),
        *((f"x-stainless-{i}".encode(), b"value") for i in range(8)),
    ]


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is measured: some requests, and what answers them."""

    name: str
    path: str
    provider: Any
    bodies: Sequence[bytes]


def ways(n_requests: int) -> list[Subject]:
    """Return a model that clients name, and one that is chosen."""
    return [
        Subject(name=name, path=_CHAT, provider=Instant(), bodies=bodies(model, n_requests))
        for name, model in (("pinned", _PINNED), ("routed", "auto"))
    ]


def dialects(n_requests: int, scenario: str, *, stream: bool) -> list[Subject]:
    """Return the requests of a scenario in every dialect, chat completions first."""
    from loadtest.dialects import cases  # noqa: PLC0415 - commits of before have none

    chats = bodies(_PINNED, n_requests, scenario)
    return [
        Subject(
            name=case.name,
            path=case.path,
            provider=case.provider,
            bodies=case.bodies(chats, stream=stream),
        )
        for case in cases()
    ]


async def measure(subjects: Sequence[Subject], n_rounds: int, profiled: str | None) -> None:
    """Print processor time per request, the least and the median of the rounds."""
    took_us: dict[str, list[float]] = {each.name: [] for each in subjects}
    profile = cProfile.Profile()
    async with application() as (app, headers):
        for turn in range(n_rounds + 1):
            for subject in subjects:
                call_through(app, subject.provider)
                # The first turn warms up.
                asked = subject.bodies if turn else subject.bodies[:_WARM_UP]
                if turn and subject.name == profiled:
                    profile.enable()
                began = time.thread_time()
                for body in asked:
                    await ask(app, headers, body, subject.path)
                if turn:
                    took_us[subject.name].append((time.thread_time() - began) / len(asked) * 1e6)
                profile.disable()
                await asyncio.sleep(0.1)  # the writers have their turn
    told = {name: (min(times), statistics.median(times)) for name, times in took_us.items()}
    tell(told, ("µs at least", "µs median"))
    if profiled is not None:
        pstats.Stats(profile).sort_stats("tottime").print_stats(60)


async def count(subjects: Sequence[Subject]) -> None:
    """Print how many functions are called for a request, and how many bytecodes are run."""
    told = {}
    async with application() as (app, headers):
        for subject in subjects:
            call_through(app, subject.provider)
            for body in subject.bodies[_COUNTED:]:
                await ask(app, headers, body, subject.path)
            counter = Counter()
            for watched in (counter.calls, counter.bytecodes):
                with watched():
                    for body in subject.bodies[:_COUNTED]:
                        await ask(app, headers, body, subject.path)
            told[subject.name] = counter.n_calls / _COUNTED, counter.n_bytecodes / _COUNTED
    tell(told, ("calls", "bytecodes"))


class Counter:
    """Counts what the interpreter does in this thread."""

    def __init__(self) -> None:
        self.n_calls = 0
        self.n_bytecodes = 0

    @contextlib.contextmanager
    def calls(self) -> Iterator[None]:
        """Count calls of functions, those written in C too."""

        def note(_frame: FrameType, event: str, _argument: object) -> None:
            self.n_calls += event in {"call", "c_call"}

        sys.setprofile(note)
        try:
            yield
        finally:
            sys.setprofile(None)

    @contextlib.contextmanager
    def bytecodes(self) -> Iterator[None]:
        """Count bytecodes."""

        def note(frame: FrameType, event: str, _argument: object) -> Any:
            frame.f_trace_lines, frame.f_trace_opcodes = False, True
            self.n_bytecodes += event == "opcode"
            return note

        sys.settrace(note)
        try:
            yield
        finally:
            sys.settrace(None)


def tell(told: Mapping[str, tuple[float, float]], units: tuple[str, str]) -> None:
    """Print two figures of each subject, and how they compare with those of the first."""
    first, *_ = told
    for name, figures in told.items():
        values = ", ".join(
            f"{figure:9,.1f} {unit}" for figure, unit in zip(figures, units, strict=True)
        )
        ratios = " and ".join(
            f"{figure / of_first:.2f}"
            for figure, of_first in zip(figures, told[first], strict=True)
        )
        print(f"{name:28} {values}; {ratios} of {first}")


def main() -> None:
    """Measure both kinds of request, or every dialect."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=1500, help="per round")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--profile", metavar="NAME", help="where the time goes, of one line")
    parser.add_argument("--count", action="store_true", help="calls and bytecodes, no times")
    parser.add_argument("--dialects", action="store_true", help="compare the inbound dialects")
    parser.add_argument("--workflow", action="store_true", help="compare a cascade with its calls")
    parser.add_argument("--words", type=int, default=100, help="of answers with --workflow")
    parser.add_argument("--stream", action="store_true", help="answers of a hundred pieces")
    parser.add_argument(
        "--scenario", default="pinned, 1 connection", help="of loadtest/scenarios.py"
    )
    options = parser.parse_args()
    print("measuring", Path(app.__file__).parents[1])
    if options.workflow:
        from loadtest import workflow_path  # noqa: PLC0415 - commits of before have none

        uvloop.run(
            workflow_path.count(options.words)
            if options.count
            else workflow_path.measure(
                options.requests, options.rounds, options.words, options.profile
            )
        )
        return
    n_requests = 2 * _COUNTED if options.count else options.requests
    subjects = (
        dialects(n_requests, options.scenario, stream=options.stream)
        if options.dialects
        else ways(n_requests)
    )
    uvloop.run(
        count(subjects) if options.count else measure(subjects, options.rounds, options.profile)
    )


if __name__ == "__main__":
    main()
