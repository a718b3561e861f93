"""Compare ways of calling an upstream behind the HTTPX types: CPU per request and requests/s.

    python loadtest/bench_transport.py [--seconds 2] [--rounds 5] [--concurrency 64]

The upstream is a minimal server in another process that answers a canned
completion, so that it is not the limit. Every transport is called the same way, directly
(`handle_async_request`, no client layer), but for `httpx client`, which is stock HTTPX as most
use it. Rounds are interleaved, so that a noisy machine is unfair to all alike; the medians are
printed. "Reads" is how many pieces an answer was delivered in: a transport that delivers a
stream in one piece held its first event back until its last. CPU is user and system time of
this process, which does nothing else.

Transports whose package is absent are skipped, and why is printed:
`pip install httpx-aiohttp pyreqwest` adds them.
"""

import argparse
import asyncio
import multiprocessing
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection
from pathlib import Path

import httpx
import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from app.http_client.transport import HttptoolsTransport

REQUEST_BODY = b'{"model":"m","messages":[{"role":"user","content":"%b"}]}' % (b"x" * 300)
ANSWER = b'{"id":"c","choices":[{"message":{"role":"assistant","content":"%b"}}]}' % (b"y" * 900)
N_EVENTS = 100
EVENT = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":" word"}}]}\n\n'

TIMEOUT = {"connect": 5.0, "read": 30.0, "write": 30.0, "pool": 5.0}


class Upstream(asyncio.Protocol):
    """Answer any request whose body is `REQUEST_BODY`, as cheaply as Python can."""

    whole = (
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nserver: bench\r\n"
        b"x-request-id: 1\r\ncontent-length: %d\r\n\r\n%b" % (len(ANSWER), ANSWER)
    )
    head = (
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    event = b"%x\r\n%b\r\n" % (len(EVENT), EVENT)
    done = b"e\r\ndata: [DONE]\n\n\r\n"

    def __init__(self) -> None:
        self.buffer = b""
        self.pacing: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the socket."""
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer as soon as the body is there."""
        self.buffer += data
        while self.buffer.endswith(b"}") and b"\r\n\r\n" in self.buffer:
            streaming = self.buffer.startswith(b"POST /stream")
            self.buffer = b""
            if streaming:
                self.transport.write(self.head)
                self.pacing = asyncio.ensure_future(self.pace())
            else:
                self.transport.write(self.whole)

    async def pace(self) -> None:
        """Send events at a steady rate."""
        for _ in range(N_EVENTS):
            self.transport.write(self.event)
            await asyncio.sleep(0.01)
        self.transport.write(self.done)
        self.transport.write(b"0\r\n\r\n")


def serve(ready: Connection) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Upstream, "127.0.0.1", 0)
        ready.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    uvloop.run(main())


# --- the contestants --------------------------------------------------------------------------

Call = Callable[[httpx.URL], Awaitable[tuple[int, int]]]
"""Sends one request; returns the bytes and the number of reads of its answer."""


def _headers(url: httpx.URL) -> list[tuple[bytes, bytes]]:
    return [
        (b"Host", url.netloc),
        (b"Content-Type", b"application/json"),
        (b"Accept-Encoding", b"identity"),
        (b"Authorization", b"Bearer sk-bench"),
        (b"Content-Length", b"%d" % len(REQUEST_BODY)),
    ]


def direct(transport: httpx.AsyncBaseTransport) -> Call:
    async def call(url: httpx.URL) -> tuple[int, int]:
        request = httpx.Request(
            "POST",
            url,
            headers=_headers(url),
            stream=httpx.ByteStream(REQUEST_BODY),
            extensions={"timeout": dict(TIMEOUT)},
        )
        response = await transport.handle_async_request(request)
        total = reads = 0
        async for data in response.stream:
            total += len(data)
            reads += 1
        await response.stream.aclose()
        return total, reads

    return call


def own() -> tuple[Call, httpx.AsyncBaseTransport]:
    transport = HttptoolsTransport()
    return direct(transport), transport


def httpx_aiohttp() -> tuple[Call, httpx.AsyncBaseTransport]:
    from aiohttp import ClientSession, ClientTimeout, TCPConnector  # noqa: PLC0415 - may be absent
    from httpx_aiohttp import AiohttpTransport  # noqa: PLC0415 - may be absent

    session = ClientSession(connector=TCPConnector(limit=0), timeout=ClientTimeout(total=None))
    transport = AiohttpTransport(client=session)
    return direct(transport), transport


def pyreqwest() -> tuple[Call, httpx.AsyncBaseTransport]:
    from pyreqwest.client import ClientBuilder  # noqa: PLC0415 - may be absent
    from pyreqwest.compatibility.httpx import HttpxTransport  # noqa: PLC0415 - may be absent

    transport = HttpxTransport(ClientBuilder().build(), close_client=True)
    return direct(transport), transport


def stock_httpx() -> tuple[Call, httpx.AsyncBaseTransport]:
    transport = httpx.AsyncHTTPTransport(limits=httpx.Limits(max_connections=1000))
    return direct(transport), transport


def httpx_client() -> tuple[Call, httpx.AsyncClient]:
    client = httpx.AsyncClient(limits=httpx.Limits(max_connections=1000), trust_env=False)

    async def call(url: httpx.URL) -> tuple[int, int]:
        headers = {"content-type": "application/json", "authorization": "Bearer sk-bench"}
        async with client.stream("POST", url, headers=headers, content=REQUEST_BODY) as response:
            total = reads = 0
            async for data in response.aiter_raw():
                total += len(data)
                reads += 1
        return total, reads

    return call, client


CONTESTANTS = {
    "own (httptools)": own,
    "httpx-aiohttp": httpx_aiohttp,
    "pyreqwest": pyreqwest,
    "stock httpx transport": stock_httpx,
    "stock httpx client": httpx_client,
}


# --- measuring --------------------------------------------------------------------------------


async def measure(
    call: Call, url: httpx.URL, *, concurrency: int, seconds: float
) -> tuple[float, float, float]:
    """Return requests/s, CPU µs per request and reads per answer."""
    await asyncio.gather(*(call(url) for _ in range(concurrency)))  # connect
    requests = all_reads = 0
    end = time.perf_counter() + seconds

    async def worker() -> None:
        nonlocal requests, all_reads
        while time.perf_counter() < end:
            _, reads = await call(url)
            requests += 1
            all_reads += reads

    started, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(worker() for _ in range(concurrency)))
    elapsed, used = time.perf_counter() - started, time.process_time() - cpu
    return requests / elapsed, used / requests * 1e6, all_reads / requests


async def run(args: argparse.Namespace, origin: str) -> None:
    calls: dict[str, Call] = {}
    owners = []
    for name, make in CONTESTANTS.items():
        try:
            calls[name], owner = make()
        except ImportError as error:
            print(f"skipped {name}: {error}")
            continue
        owners.append(owner)
    for title, path, concurrency in (
        (f"whole answers, {args.concurrency} at a time", "/whole", args.concurrency),
        ("whole answers, 1 at a time", "/whole", 1),
        (
            f"streams of {N_EVENTS} events at 100/s, {args.concurrency} at a time",
            "/stream",
            args.concurrency,
        ),
    ):
        url = httpx.URL(origin + path)
        rounds: dict[str, list[tuple[float, float, float]]] = {name: [] for name in calls}
        for _ in range(args.rounds):
            for name, call in calls.items():
                rounds[name].append(
                    await measure(call, url, concurrency=concurrency, seconds=args.seconds)
                )
        print(f"\n## {title}")
        print(
            f"{'':24}{'requests/s':>12}{'CPU µs/req':>12}{'(min-max)':>16}{'reads':>7}{'x own':>7}"
        )
        base = statistics.median(row[1] for row in rounds["own (httptools)"])
        for name, rows in rounds.items():
            rate, cpu, reads = (statistics.median(column) for column in zip(*rows, strict=True))
            spread = f"({min(r[1] for r in rows):,.0f}-{max(r[1] for r in rows):,.0f})"
            print(f"{name:24}{rate:12,.0f}{cpu:12,.0f}{spread:>16}{reads:7.0f}{cpu / base:7.2f}")
    for owner in owners:
        await owner.aclose()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=2.0, help="per round and transport")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--concurrency", type=int, default=64)
    args = parser.parse_args()
    root = Path(__file__).resolve().parents[1]
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    print(
        f"commit {commit or 'unknown'}, Python {platform.python_version()}, "
        f"uvloop {uvloop.__version__}, {os.cpu_count()} CPUs, {platform.machine()}; "
        f"command: {' '.join(['python', 'loadtest/bench_transport.py', *sys.argv[1:]])}"
    )
    parent, child = multiprocessing.Pipe()
    server = multiprocessing.Process(target=serve, args=(child,), daemon=True)
    server.start()
    try:
        uvloop.run(run(args, f"http://127.0.0.1:{parent.recv()}"))
    finally:
        server.terminate()
        server.join()


if __name__ == "__main__":
    main()
