"""A load generator that is not the bottleneck: closed and open loop, streams, held streams.

A process of its own, told what to do by one line of JSON on standard input (`Plan`). It connects,
warms up, prints `{"ready": true}`, waits for a line, sends for `seconds`, and prints what it saw
(`Report`): so that whoever drives it can read the processor time of the gateway right before and
right after.

- ``closed``: every connection sends its next request when it has its answer.
- ``open``: requests leave at a constant rate, whatever became of those before. A latency counts
  from when the request was sent; `late_ms` tells how much later than planned that was.
- ``hold``: every connection opens one stream and waits; the line ends them.
"""

import asyncio
import functools
import itertools
import math
import re
import resource
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Literal, cast

import httptools
import msgspec
import uvloop

_TIMEOUT_S = 60.0
_TOLD = re.compile(rb"@(\d+)@")


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to send.

    Attributes
    ----------
    requests
        A file; one line per conversation, a JSON list of request bodies. A connection sends the
        turns of a conversation one after the other.
    keys
        A file of bearer tokens, one a line, taken in turn; without it all are `sk-bench`.
    rate
        Requests per second of the open loop.
    """

    port: int
    requests: str
    host: str = "127.0.0.1"
    path: str = "/v1/chat/completions"
    headers: dict[str, str] = {}
    keys: str | None = None
    mode: Literal["closed", "open", "hold"] = "closed"
    connections: int = 1
    rate: float = 0.0
    seconds: float = 3.0
    warm_up: int = 50


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """Percentiles in milliseconds."""

    p50: float
    p90: float
    p99: float
    max: float

    @classmethod
    def of(cls, values: list[float]) -> "Spread | None":
        """Return those of `values`, or None if there are none."""
        if not values:
            return None
        values.sort()
        p50, p90, p99 = (round(values[int(len(values) * q)], 4) for q in (0.5, 0.9, 0.99))
        return cls(p50=p50, p90=p90, p99=p99, max=round(values[-1], 4))


class Report(msgspec.Struct, kw_only=True):
    """What came back; times in milliseconds."""

    requests: int
    elapsed_s: float
    statuses: dict[str, int]
    problems: dict[str, int]
    latency_ms: Spread | None
    first_chunk_ms: Spread | None
    transit_ms: Spread | None
    late_ms: Spread | None
    chunks: int
    load_cpu_s: float
    example: str = ""
    """The beginning of an answer that was no 200."""


class Tally:
    """What was seen since the last `clear`."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget the warm-up."""
        self.statuses: Counter[str] = Counter()
        self.problems: Counter[str] = Counter()
        self.latency_ms: list[float] = []
        self.first_chunk_ms: list[float] = []
        self.transit_ms: list[float] = []
        self.late_ms: list[float] = []
        self.chunks = 0
        self.example = ""

    def report(self, elapsed_s: float, cpu_s: float) -> Report:
        """Summarize."""
        return Report(
            requests=len(self.latency_ms),
            elapsed_s=round(elapsed_s, 4),
            statuses=dict(self.statuses),
            problems=dict(self.problems),
            latency_ms=Spread.of(self.latency_ms),
            first_chunk_ms=Spread.of(self.first_chunk_ms),
            transit_ms=Spread.of(self.transit_ms),
            late_ms=Spread.of(self.late_ms),
            chunks=self.chunks,
            load_cpu_s=round(cpu_s, 3),
            example=self.example,
        )


class Connection(asyncio.Protocol):
    """One keep-alive connection; one request at a time."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._done: asyncio.Future[bool] | None = None
        self.began_to_answer = asyncio.Event()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the socket."""
        self._transport = cast("asyncio.Transport", transport)
        self._parser = httptools.HttpResponseParser(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail what is under way."""
        self._transport = None
        self._finish("lost" if exc is None else type(exc).__name__)

    @property
    def usable(self) -> bool:
        """Whether it can send."""
        return self._transport is not None and not self._transport.is_closing()

    def send(self, request: bytes) -> "asyncio.Future[bool]":
        """Send; the result says whether the answer came whole and well."""
        self._done = asyncio.get_running_loop().create_future()
        self._first = self._cut = False
        self._body = b""
        self._began_ns = time.monotonic_ns()
        assert self._transport is not None  # noqa: S101  (whoever sends looked at `usable`)
        self._transport.write(request)
        return self._done

    def close(self) -> None:
        """Drop the socket."""
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Look for the times that streams tell, then parse."""
        told = _TOLD.findall(data) if b"@" in data else ()
        if told:
            now_ns = time.monotonic_ns()
            if not self._first:
                self._first = True
                self._tally.first_chunk_ms.append((now_ns - self._began_ns) / 1e6)
                self.began_to_answer.set()
            self._tally.chunks += len(told)
            self._tally.transit_ms.extend((now_ns - int(each)) / 1e6 for each in told)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._finish("no HTTP")
            self.close()

    def on_body(self, body: bytes) -> None:
        """Keep the beginning, where something is wrong."""
        if not self._body:
            self._body = body[:300]
        if b'"error"' in body:
            self._cut = True

    def on_message_complete(self) -> None:
        """Count the answer."""
        status = self._parser.get_status_code()
        self._tally.statuses[str(status)] += 1
        if status != 200 or self._cut:
            self._tally.example = self._body.decode(errors="replace")
            self._finish(f"status {status}")
        else:
            self._finish(None)
        keep = self._parser.should_keep_alive()
        self._parser = httptools.HttpResponseParser(self)
        if not keep:
            self.close()

    def _finish(self, problem: str | None) -> None:
        if self._done is None or self._done.done():
            return
        if problem is None:
            self._tally.latency_ms.append((time.monotonic_ns() - self._began_ns) / 1e6)
        else:
            self._tally.problems[problem] += 1
        self._done.set_result(problem is None)


class Generator:
    """Sends what a plan says."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.tally = Tally()
        self._conversations = itertools.cycle(
            [
                [msgspec.json.encode(body) for body in msgspec.json.decode(line)]
                for line in Path(plan.requests).read_bytes().splitlines()
            ]
        )
        tokens = [b"sk-bench"] if plan.keys is None else Path(plan.keys).read_bytes().split()
        self._tokens = itertools.cycle(tokens)
        fixed = "".join(f"{name}: {value}\r\n" for name, value in plan.headers.items())
        self._head = (
            f"POST {plan.path} HTTP/1.1\r\nhost: {plan.host}:{plan.port}\r\n"
            f"content-type: application/json\r\n{fixed}authorization: Bearer "
        ).encode()

    def render(self, body: bytes) -> bytes:
        """Return a whole request."""
        return b"%b%b\r\ncontent-length: %d\r\n\r\n%b" % (
            self._head,
            next(self._tokens),
            len(body),
            body,
        )

    async def connect(self) -> Connection:
        """Open a connection."""
        _, connection = await asyncio.get_running_loop().create_connection(
            functools.partial(Connection, self.tally), self.plan.host, self.plan.port
        )
        return connection

    async def closed(self, *, until: float, at_most: int | None = None) -> None:
        """Keep every connection busy until then (on the loop's clock)."""
        loop = asyncio.get_running_loop()
        left = at_most

        async def line(connection: Connection) -> None:
            nonlocal left
            while loop.time() < until and left != 0:
                for body in next(self._conversations):
                    if loop.time() >= until or (left is not None and left <= 0):
                        return
                    if left is not None:
                        left -= 1
                    if not connection.usable:
                        connection = await self.connect()
                    async with asyncio.timeout(_TIMEOUT_S):
                        await connection.send(self.render(body))

        await asyncio.gather(*(line(each) for each in self.connections))

    async def open(self, *, seconds: float) -> None:
        """Send at a constant rate."""
        loop = asyncio.get_running_loop()
        idle = list(self.connections)
        running: set[asyncio.Task[None]] = set()

        async def one(planned: float) -> None:
            connection = idle.pop() if idle else await self.connect()
            if not connection.usable:
                connection = await self.connect()
            self.tally.late_ms.append(max(0.0, loop.time() - planned) * 1e3)
            async with asyncio.timeout(_TIMEOUT_S):
                await connection.send(self.render(next(self._conversations)[-1]))
            idle.append(connection)

        began = loop.time()
        for number in range(int(self.plan.rate * seconds)):
            planned = began + number / self.plan.rate
            delay = planned - loop.time()
            if delay > 0:
                await asyncio.sleep(delay)
            task = asyncio.create_task(one(planned))
            running.add(task)
            task.add_done_callback(running.discard)
        if running:
            await asyncio.gather(*running)

    async def run(self) -> None:
        """Carry out the plan."""
        plan, loop = self.plan, asyncio.get_running_loop()
        if plan.mode == "hold":
            await self._hold()
            return
        self.connections = [await self.connect() for _ in range(plan.connections)]
        await self.closed(until=math.inf, at_most=plan.warm_up)
        _say({"ready": True, "warm_up": dict(self.tally.statuses), "example": self.tally.example})
        await _line()
        self.tally.clear()
        began, cpu = loop.time(), _cpu_s()
        if plan.mode == "open":
            await self.open(seconds=plan.seconds)
        else:
            await self.closed(until=began + plan.seconds)
        _say(self.tally.report(loop.time() - began, _cpu_s() - cpu))

    async def _hold(self) -> None:
        connections = []
        began, cpu = asyncio.get_running_loop().time(), _cpu_s()
        for _ in range(self.plan.connections):
            connection = await self.connect()
            connection.send(self.render(next(self._conversations)[-1]))
            connections.append(connection)
        async with asyncio.timeout(_TIMEOUT_S):
            for connection in connections:
                await connection.began_to_answer.wait()
        _say({"ready": True, "warm_up": {}, "example": ""})
        await _line()
        for connection in connections:
            connection.close()
        elapsed = asyncio.get_running_loop().time() - began
        _say(self.tally.report(elapsed, _cpu_s() - cpu))


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _say(value: object) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(value) + b"\n")
    sys.stdout.buffer.flush()


async def _line() -> bytes:
    return await asyncio.get_running_loop().run_in_executor(None, sys.stdin.buffer.readline)


def main() -> None:
    plan = msgspec.json.decode(sys.stdin.buffer.readline(), type=Plan)
    uvloop.run(Generator(plan).run())


if __name__ == "__main__":
    main()
