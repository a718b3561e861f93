"""Measure what the provider adds to a streamed answer: CPU µs per event, paced and in bursts.

    python loadtest/bench_stream.py

"Parse" is `ChatStream.feed` alone on bytes in memory; "end to end" is `OpenAIProvider.send` over
loopback from a server in another process, 64 streams of 100 events/s at once, transport and event
loop included. Medians over interleaved rounds.
"""

import argparse
import asyncio
import multiprocessing
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from app.http_client.transport import HttptoolsTransport
from app.providers.base import ModelCall, Timeouts
from app.providers.chat.stream import ChatStream
from app.providers.openai import OpenAIProvider
from loadtest.bench_transport import N_EVENTS, serve

EVENT = (
    b'data: {"id":"chatcmpl-123456789","object":"chat.completion.chunk","created":1795302370,'
    b'"model":"gpt-4o-mini-2024-07-18","service_tier":"default","system_fingerprint":"fp_1",'
    b'"choices":[{"index":0,"delta":{"content":" word"},"logprobs":null,"finish_reason":null}],'
    b'"usage":null}\n\n'
)
CRLF_EVENT = EVENT.replace(b"\n", b"\r\n")
N_STREAMS = 64


def feed_us(reads: list[bytes], events_per_read: float) -> Callable[[], float]:
    def measure() -> float:
        chat = ChatStream()
        started = time.process_time()
        for data in reads:
            chat.feed(data)
        return (time.process_time() - started) / (len(reads) * events_per_read) * 1e6

    return measure


async def end_to_end_us(port: int) -> float:
    """Return CPU µs per event of this process, everything included."""
    provider = OpenAIProvider(
        base_url=f"http://127.0.0.1:{port}/stream", api_key="sk", transport=HttptoolsTransport()
    )
    call = ModelCall(
        request_id="bench",
        upstream_model="m",
        fields={"messages": b'[{"role":"user","content":"x"}]'},
        stream=True,
        timeouts=Timeouts(),
    )

    async def one() -> int:
        n_chunks = 0
        async for _ in provider.send(call):
            n_chunks += 1
        return n_chunks

    await asyncio.gather(*(one() for _ in range(N_STREAMS)))
    started = time.process_time()
    counts = await asyncio.gather(*(one() for _ in range(N_STREAMS)))
    used = time.process_time() - started
    if min(counts) < N_EVENTS * 0.9:
        raise RuntimeError("events were not delivered one by one: nothing was measured")
    await provider.aclose()
    return used / sum(counts) * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    cut = [EVENT[:200], EVENT[200:]] * 2000
    cases = {
        "parse, one event per read": feed_us([EVENT] * 4000, 1),
        "parse, 50 events per read": feed_us([EVENT * 50] * 80, 50),
        "parse, CRLF, one event per read": feed_us([CRLF_EVENT] * 4000, 1),
        "parse, every event cut in two": feed_us(cut, 0.5),
    }
    rounds: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(args.rounds):
        for name, measure in cases.items():
            rounds[name].append(measure())
    parent, child = multiprocessing.Pipe()
    server = multiprocessing.Process(target=serve, args=(child,), daemon=True)
    server.start()
    try:
        port = parent.recv()
        rounds["end to end, 64 paced streams"] = [
            uvloop.run(end_to_end_us(port)) for _ in range(args.rounds)
        ]
    finally:
        server.terminate()
        server.join()
    print(
        f"Python {platform.python_version()}, uvloop {uvloop.__version__}, {os.cpu_count()} CPUs; "
        "CPU µs per event, median (min-max)"
    )
    for name, values in rounds.items():
        print(f"{name:36}{statistics.median(values):7.1f} ({min(values):.1f}-{max(values):.1f})")


if __name__ == "__main__":
    main()
