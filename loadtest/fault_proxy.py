"""A proxy in front of an upstream that breaks a chosen share of its answers, in seeded ways.

It takes the whole answer of the upstream behind it and plays it to the client as the fault wants:
so it knows, to the token, what every call was billed and how much of it was handed over.
"""

import asyncio
import contextlib
import hashlib
import itertools
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import TracebackType
from typing import Any, Self

import httpx
import msgspec

from app.stub.http import Exchange, Headers, HttpProtocol, close_server

MAX_CALLS = 200_000
_BURSTS = 4
_DRIPS = 200
_JSON = (b"content-type", b"application/json")


class ProxyFault(StrEnum):
    """What goes wrong with an answer."""

    LATENCY = "latency"
    """It begins late, and is whole."""
    SLOW_DRIP = "slow_drip"
    """It comes in crumbs that respect no boundary, and is whole."""
    RESET_BEFORE_HEADERS = "reset_before_headers"
    RESET_AFTER_HEADERS = "reset_after_headers"
    RESET_MID_BODY = "reset_mid_body"
    HALF_CLOSE = "half_close"
    """Half the body, then the sending side is closed and the rest of the connection stays."""
    STALL_BEFORE_HEADERS = "stall_before_headers"
    STALL_MID_BODY = "stall_mid_body"
    GARBAGE = "garbage"
    """Events that are not JSON; for whole answers, a page of HTML."""
    TRUNCATED = "truncated"
    """JSON cut in the middle, inside a body that is framed in order."""
    WRONG_LENGTH = "wrong_length"
    """Ten bytes fewer than were promised."""
    NO_DONE = "no_done"
    """A stream without its end marker; for whole answers, no usage."""
    THROTTLED = "throttled"
    THROTTLED_WITH_RETRY_AFTER = "throttled_with_retry_after"
    SERVER_ERROR = "server_error"
    OVERLOADED = "overloaded"


UNHARMED = frozenset({None, ProxyFault.LATENCY, ProxyFault.SLOW_DRIP})
"""What leaves an answer whole."""

_REFUSALS: Mapping[ProxyFault, tuple[int, Headers]] = {
    ProxyFault.THROTTLED: (429, []),
    ProxyFault.THROTTLED_WITH_RETRY_AFTER: (429, [(b"retry-after", b"1")]),
    ProxyFault.SERVER_ERROR: (500, []),
    ProxyFault.OVERLOADED: (503, []),
}


def even_shares(total: float, *faults: ProxyFault) -> dict[ProxyFault, float]:
    """Return shares that sum to `total`, the same for each fault; for all faults if none is said.

    The faults that keep a gateway waiting for a timeout get a tenth of what the others get.
    """
    chosen = faults or tuple(ProxyFault)
    slow = {ProxyFault.STALL_BEFORE_HEADERS, ProxyFault.STALL_MID_BODY}
    weights = {fault: 0.1 if fault in slow else 1.0 for fault in chosen}
    return {fault: total * weight / sum(weights.values()) for fault, weight in weights.items()}


@dataclass(slots=True, kw_only=True)
class Call:
    """One request to the upstream, and what came of it.

    Attributes
    ----------
    tag
        The request's `user` field, by which a caller finds its own calls.
    input_tokens, output_tokens
        What the upstream billed; None where it was not asked.
    handed_over
        Whether the client took the whole answer, its usage included.
    """

    tag: str
    model: str
    stream: bool
    fault: ProxyFault | None
    status: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    handed_over: bool = False


@dataclass(slots=True, kw_only=True)
class FaultProxy:
    """Listen on loopback and forward to `upstream`; an async context manager.

    Parameters
    ----------
    upstream
        Origin of what stands behind it, such as ``http://127.0.0.1:8081``.
    shares
        Fault → share of the calls in [0, 1]; may be replaced while it runs.
    seed
        Which calls are hit depends on this, the call's tag and how often that came before.
    latency_s
        How late `LATENCY` begins, and how long `SLOW_DRIP` takes in all.
    pace_s
        Pause between the bursts in which a stream is sent; 0 sends it at once.
    """

    upstream: str
    shares: Mapping[ProxyFault, float] = field(default_factory=dict)
    seed: int = 0
    latency_s: float = 0.05
    pace_s: float = 0.0
    calls: deque[Call] = field(default_factory=lambda: deque(maxlen=MAX_CALLS), init=False)
    host: str = field(default="127.0.0.1", init=False)
    port: int = field(default=0, init=False)
    _seen: Counter[str] = field(default_factory=Counter, init=False)
    _connections: set[HttpProtocol] = field(default_factory=set, init=False)
    _numbers: Any = field(default_factory=itertools.count, init=False)
    _server: asyncio.Server | None = field(default=None, init=False)
    _client: httpx.AsyncClient = field(init=False)

    @property
    def origin(self) -> str:
        """Where it listens."""
        return f"http://{self.host}:{self.port}"

    @property
    def open_connections(self) -> int:
        """How many clients are connected."""
        return len(self._connections)

    async def __aenter__(self) -> Self:
        # Nothing is closed before the end: a call that is given up while HTTPX closes connections
        # that were idle for long, or are too many, leaves the others of them open for good.
        limits = httpx.Limits(
            max_connections=500, max_keepalive_connections=500, keepalive_expiry=None
        )
        self._client = httpx.AsyncClient(
            base_url=self.upstream, trust_env=False, timeout=60, limits=limits
        )
        await self.accept()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.refuse()
        await self._client.aclose()

    async def accept(self) -> None:
        """Listen, on the port it had before."""
        self._server = await asyncio.get_running_loop().create_server(
            lambda: HttpProtocol(self._handle, self._connections, number=next(self._numbers)),
            self.host,
            self.port,
            backlog=1024,
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        """Drop every connection and refuse new ones, as a host whose server died does."""
        server, self._server = self._server, None
        await close_server(server, self._connections)

    def draw(self, tag: str) -> ProxyFault | None:
        """Return what happens to the next call of a tag."""
        self._seen[tag] += 1
        digest = hashlib.sha256(f"{self.seed}\n{tag}\n{self._seen[tag]}".encode()).digest()
        left = int.from_bytes(digest[:7]) / 2**56
        for fault, share in self.shares.items():
            left -= share
            if left < 0:
                return fault
        return None

    async def _handle(self, exchange: Exchange) -> None:
        body = msgspec.json.decode(exchange.body)
        tag = str(body.get("user", ""))
        call = Call(
            tag=tag,
            model=body["model"],
            stream=body.get("stream") is True,
            fault=self.draw(tag),
        )
        self.calls.append(call)
        if call.fault is ProxyFault.RESET_BEFORE_HEADERS:
            exchange.reset()
            return
        if call.fault is not None and call.fault in _REFUSALS:
            call.status, headers = _REFUSALS[call.fault]
            error = {"message": "Simulated.", "type": "server_error", "param": None, "code": None}
            await exchange.answer(
                call.status, [_JSON, *headers], msgspec.json.encode({"error": error})
            )
            return
        answer = await self._client.post(
            exchange.path,
            content=exchange.body,
            headers={"content-type": "application/json"},
        )
        call.status = answer.status_code
        if answer.status_code != httpx.codes.OK:
            await exchange.answer(answer.status_code, [_JSON], answer.content)
            return
        _bill(call, answer.content)
        await self._play(exchange, call, answer.content)
        # Of a stream that is ten bytes too short nothing is missing: its end marker has come.
        if call.fault in UNHARMED or (call.fault is ProxyFault.WRONG_LENGTH and call.stream):
            call.handed_over = True

    async def _play(self, exchange: Exchange, call: Call, body: bytes) -> None:
        kind = b"text/event-stream" if call.stream else b"application/json"
        headers: Headers = [(b"content-type", kind)]
        pieces, rest = _pieces(body, call)
        if call.fault is ProxyFault.STALL_BEFORE_HEADERS:
            await exchange.stall()
        if call.fault is ProxyFault.LATENCY:
            await asyncio.sleep(self.latency_s)
        length = None if call.stream else len(body)
        if call.fault is ProxyFault.WRONG_LENGTH:
            length = len(body) + 10
        elif length is not None and call.fault in _REWRITTEN:
            length = sum(map(len, pieces))
        exchange.start(200, headers, content_length=length)
        if call.fault is ProxyFault.RESET_AFTER_HEADERS:
            await exchange.flushed()
            exchange.reset()
            return
        pause_s = self.latency_s / _DRIPS if call.fault is ProxyFault.SLOW_DRIP else self.pace_s
        for i, piece in enumerate(pieces):
            if i and pause_s:
                await asyncio.sleep(pause_s)
            await exchange.send(piece)
        if rest:
            await exchange.send(rest)
        await _end(exchange, call.fault)


_REWRITTEN = frozenset({ProxyFault.GARBAGE, ProxyFault.TRUNCATED, ProxyFault.NO_DONE})
_HALVED = frozenset({ProxyFault.RESET_MID_BODY, ProxyFault.HALF_CLOSE, ProxyFault.STALL_MID_BODY})


async def _end(exchange: Exchange, fault: ProxyFault | None) -> None:
    match fault:
        case ProxyFault.RESET_MID_BODY:
            await exchange.flushed()
            exchange.reset()
        case ProxyFault.HALF_CLOSE:
            exchange.half_close()
            await exchange.stall()
        case ProxyFault.STALL_MID_BODY:
            await exchange.stall()
        case ProxyFault.WRONG_LENGTH:
            exchange.close()
        case _:
            await exchange.finish()


def _pieces(body: bytes, call: Call) -> tuple[list[bytes], bytes]:
    """Return the bursts in which a body is sent, and what comes after the last one."""
    if call.fault is ProxyFault.SLOW_DRIP:
        size = max(1, len(body) // _DRIPS)
        return [body[i : i + size] for i in range(0, len(body), size)], b""
    if call.fault is ProxyFault.TRUNCATED:
        # Not between two events: in the middle of one.
        end = body.index(b"{", len(body) // 2) + 9 if call.stream else len(body) // 2
        return [body[:end]], b""
    if not call.stream:
        if call.fault is ProxyFault.GARBAGE:
            return [b"<html><body>Bad gateway</body></html>"], b""
        if call.fault is ProxyFault.NO_DONE:
            decoded = msgspec.json.decode(body)
            del decoded["usage"]
            return [msgspec.json.encode(decoded)], b""
        return [body[: len(body) // 2] if call.fault in _HALVED else body], b""
    events = body.split(b"\n\n")[:-1]
    if call.fault in _HALVED or call.fault is ProxyFault.GARBAGE:
        events = events[: len(events) // 2]
    if call.fault is ProxyFault.NO_DONE:
        events = events[:-1]
    size = -(-len(events) // _BURSTS)
    bursts = [events[i : i + size] for i in range(0, len(events), size)]
    rest = b"data: {this is not JSON\n\n" if call.fault is ProxyFault.GARBAGE else b""
    return [b"".join(event + b"\n\n" for event in burst) for burst in bursts], rest


def _bill(call: Call, body: bytes) -> None:
    """Note what the upstream's answer says that it cost."""
    usage = None
    if not call.stream:
        usage = msgspec.json.decode(body)["usage"]
    else:
        for event in reversed(body.split(b"\n\n")):
            with contextlib.suppress(msgspec.DecodeError):
                usage = msgspec.json.decode(event.removeprefix(b"data: ")).get("usage")
                break
    if usage is not None:
        call.input_tokens = usage["prompt_tokens"]
        call.output_tokens = usage["completion_tokens"]
