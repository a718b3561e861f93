"""Measure what a request costs on its way through the application, without sockets.

    python -m loadtest.bench_path [--requests 1500] [--rounds 9] [--profile pinned] [--dialects]

Processor time of the event loop's thread from the ASGI scope to the last byte of the answer: key
authentication, limits and budgets on key, team and gateway, metrics, log line and outcome are on,
the decision is made by the shipped router, the upstream answers at once out of memory. What HTTP
costs towards client and upstream, and what is written by other threads, is not in it. It is the
quickest way to see what a change buys, and works on older commits too (`PYTHONPATH=THERE`).

`--dialects` asks the same of a pinned model in Anthropic's dialect as well, from an upstream that
speaks it and from one that does not, in turns with chat completions: what the machine does besides
falls on all of them alike.
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
import tempfile
import time
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import uvloop
import yaml

from app.config import load_config
from app.main import create_app
from app.providers.base import Chunk, ModelCall
from app.telemetry.logs import JsonFormatter, JsonLines, configure_logging
from app.types import ToldUsage
from loadtest.gateways import FULL, configuration, make_keys
from loadtest.scenarios import find

_PINNED = "gpt-4-1106-preview"
_WARM_UP = 300
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


_NATIVE_ANSWER = msgspec.json.encode(
    {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [{"type": "text", "text": "word " * 100}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 60, "output_tokens": 100},
    }
)
_CHAT, _MESSAGES = "/v1/chat/completions", "/v1/messages"


class Instant:
    """A provider that has its answer ready.

    Attributes
    ----------
    native_dialects
        Those besides chat completions that it speaks.
    """

    def __init__(self) -> None:
        self.native_dialects: frozenset[str] = frozenset()

    async def send(self, call: ModelCall) -> AsyncGenerator[Chunk, None]:
        """Answer."""
        # Commits that know no other dialect have no field of it.
        told = {"dialect": "messages"} if getattr(call, "dialect", "") == "messages" else {}
        yield Chunk(
            **told,
            data=_NATIVE_ANSWER if told else _ANSWER,
            usage=ToldUsage(input_tokens=60, output_tokens=100),
            content_events=1,
            content_chars=500,
            response_model="m",
            finish_reason="stop",
        )

    async def aclose(self) -> None:
        """Let go of nothing."""


@contextlib.asynccontextmanager
async def application(directory: Path) -> AsyncIterator[tuple[Any, str, Instant]]:
    """Run the application with everything on; yields it, the secret of a key and the provider."""
    path = directory / "gateway.yaml"
    path.write_text(yaml.safe_dump(configuration(FULL, 1)))
    (secret,) = await asyncio.to_thread(make_keys, path, 1)
    app = create_app(load_config(path))
    provider = Instant()
    for slot in app.state.steelyard.gateway.dispatcher.pool.slots():
        object.__setattr__(slot.deployment, "provider", provider)
    configure_logging()
    with open(os.devnull, "w", encoding="utf-8") as nowhere:  # noqa: ASYNC230, PTH123
        logging.getLogger().handlers[:] = [JsonLines(nowhere, JsonFormatter())]
        async with app.router.lifespan_context(app):
            yield app, secret, provider


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


def bodies(model: str, n: int) -> list[bytes]:
    """Return `n` different short chats."""
    scenario, rng = find("pinned, 1 connection"), random.Random(7)
    return [msgspec.json.encode(scenario.make(model, rng)[0]) for _ in range(n)]


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


async def compare(n_requests: int, n_rounds: int) -> None:
    """Print what a pinned request costs in each dialect, and relative to chat completions."""
    with tempfile.TemporaryDirectory() as folder:
        async with application(Path(folder)) as (app, secret, provider):
            headers, asked = headers_with(secret), bodies(_PINNED, n_requests)
            with_limit = [
                msgspec.json.encode({**msgspec.json.decode(body), "max_tokens": 1000})
                for body in asked
            ]
            cases: dict[str, tuple[str, frozenset[str]]] = {
                "chat": (_CHAT, frozenset()),
                "messages, passed through": (_MESSAGES, frozenset({"messages"})),
                "messages, translated": (_MESSAGES, frozenset()),
            }
            took_us: dict[str, list[float]] = {name: [] for name in cases}
            for turn in range(n_rounds + 1):
                for name, (path, native) in cases.items():
                    provider.native_dialects = native
                    began = time.thread_time()
                    for body in with_limit:
                        await ask(app, headers, body, path)
                    if turn:  # the first one warms up
                        spent_us = (time.thread_time() - began) / n_requests * 1e6
                        took_us[name].append(spent_us)
                    await asyncio.sleep(0.1)  # the writers have their turn
            chat = sorted(took_us["chat"])
            for name, each in took_us.items():
                each.sort()
                print(
                    f"{name:25} {each[0]:7.1f} µs at least, {each[n_rounds // 2]:7.1f} median; "
                    f"{each[0] / chat[0]:.2f} and {each[n_rounds // 2] / chat[n_rounds // 2]:.2f} "
                    "of chat"
                )


async def measure(n_requests: int, n_rounds: int, profiled: str | None) -> None:
    """Print processor time per request, the least and the median of the rounds."""
    with tempfile.TemporaryDirectory() as folder:
        async with application(Path(folder)) as (app, secret, _):
            headers = headers_with(secret)
            for kind, model in (("pinned", _PINNED), ("routed", "auto")):
                asked = bodies(model, n_requests)
                for body in asked[:_WARM_UP]:
                    await ask(app, headers, body)
                profile = cProfile.Profile() if kind == profiled else None
                took_us = []
                for _ in range(n_rounds):
                    if profile is not None:
                        profile.enable()
                    began = time.thread_time()
                    for body in asked:
                        await ask(app, headers, body)
                    took_us.append((time.thread_time() - began) / n_requests * 1e6)
                    if profile is not None:
                        profile.disable()
                    await asyncio.sleep(0.3)  # the writers have their turn
                took_us.sort()
                print(
                    f"{kind:8} {took_us[0]:7.1f} µs at least, {took_us[n_rounds // 2]:7.1f} median"
                )
                if profile is not None:
                    pstats.Stats(profile).sort_stats("tottime").print_stats(60)


def main() -> None:
    """Measure both kinds of request."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=1500, help="per round")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--profile", choices=("pinned", "routed"), help="where the time goes")
    parser.add_argument("--dialects", action="store_true", help="compare the inbound dialects")
    options = parser.parse_args()
    if options.dialects:
        uvloop.run(compare(options.requests, options.rounds))
        return
    uvloop.run(measure(options.requests, options.rounds, options.profile))


if __name__ == "__main__":
    main()
