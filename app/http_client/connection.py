"""One HTTP/1.1 connection: bytes in, bytes out, one exchange at a time."""

import asyncio
import math
import select
import ssl
from collections.abc import Callable, Iterable, Mapping
from typing import cast

import httptools
import httpx

MAX_HEAD_BYTES = 64 * 1024
"""How long a status line and its headers may be before the answer is given up; and how much may
come later without a byte of the body: in the frames of chunks, in trailers."""

HIGH_WATER_BYTES = 256 * 1024
"""Unread body at which reading from the socket pauses, so that a slow client slows its upstream."""

LINGER_S = 1.0
"""How long a connection may take to finish a body whose last meaningful byte was read."""

_GONE = select.POLLHUP | select.POLLERR | getattr(select, "POLLRDHUP", 0)
"""What the system says of a socket whose peer has closed it."""

_LATE_S = 0.005
"""How much later than asked for a wait may be given up."""

TimeoutMap = Mapping[str, float | None]
"""The `timeout` request extension of HTTPX: `connect`, `read`, `write`, `pool`, in seconds."""


class StaleConnectionError(httpx.ReadError):
    """A kept connection ended as it was used again, before a byte of the answer."""


class CertificateError(httpx.ConnectError):
    """The peer's certificate cannot be verified; `reason` is what OpenSSL says of it."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the certificate cannot be verified: {reason}")
        self.reason = reason


class Connection(asyncio.Protocol):
    """A socket and the exchange that it is busy with.

    The owner calls `begin`, then `read_head`, then `read` until `complete`; `abort` at any time.
    `on_closed` is called once, as soon as the connection cannot be used any more.
    """

    __slots__ = (
        "_buffered_bytes",
        "_due_s",
        "_framing_bytes",
        "_is_head_request",
        "_late",
        "_linger",
        "_linger_timer",
        "_loop",
        "_parser",
        "_parts",
        "_poll",
        "_read_paused",
        "_timer",
        "_timer_at_s",
        "_transport",
        "_waiter",
        "_write_paused",
        "busy",
        "closed",
        "complete",
        "detached",
        "error",
        "got_bytes",
        "has_head",
        "headers",
        "idle_since",
        "on_closed",
        "reusable",
        "reused",
        "status",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._waiter: asyncio.Future[None] | None = None
        self._linger: Callable[[Connection], None] | None = None
        self._linger_timer: asyncio.TimerHandle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at_s = math.inf
        self._due_s = math.inf
        self._late: tuple[type[httpx.TimeoutException], float] = (httpx.ReadTimeout, 0.0)
        self._write_paused = False
        self._poll: select.poll | None = None
        self.on_closed: Callable[[Connection], None] | None = None
        self.closed = False
        self.detached = False
        """Whether the event loop has let go of the socket."""
        self.busy = False
        self.reused = False
        self.idle_since = 0.0
        self._reset(is_head_request=False)

    def _reset(self, *, is_head_request: bool) -> None:
        self._is_head_request = is_head_request
        self._framing_bytes = 0
        self._parts: list[bytes] = []
        self._buffered_bytes = 0
        self._read_paused = False
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.has_head = False
        self.complete = False
        self.reusable = False
        self.got_bytes = False
        self.error: httpx.TransportError | None = None

    # --- what the owner calls -----------------------------------------------------------------

    def begin(self, message: Iterable[bytes], *, is_head_request: bool) -> None:
        """Send one whole request, which comes in pieces so that nobody has to keep it in one."""
        self._reset(is_head_request=is_head_request)
        self.busy = True
        cast("asyncio.Transport", self._transport).writelines(message)

    async def read_head(self, timeouts: TimeoutMap) -> None:
        """Wait until `status` and `headers` of the final answer are there.

        The read timeout bounds the whole wait, however slowly the head drips in.

        Raises
        ------
        httpx.TransportError
            If the connection dies, times out or carries no HTTP.
        """
        if self._write_paused and not self.has_head:
            await self._wait(timeouts.get("write"), httpx.WriteTimeout)
        while not self.has_head:
            if self.error is not None:
                raise self.error
            await self._wait(timeouts.get("read"), httpx.ReadTimeout)

    async def read(self, timeouts: TimeoutMap) -> bytes:
        """Return what has arrived of the body, waiting only if that is nothing; empty at its end.

        Raises
        ------
        httpx.TransportError
            If the body is cut short, malformed or late; what came before is returned first.
        """
        while not self._parts:
            if self.complete:
                return b""
            if self.error is not None:
                raise self.error
            await self._wait(timeouts.get("read"), httpx.ReadTimeout)
        data = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts.clear()
        self._buffered_bytes = 0
        if self._read_paused and not self.closed:
            self._read_paused = False
            cast("asyncio.Transport", self._transport).resume_reading()
        return data

    def drained(self) -> bool:
        """Whether the exchange is over and all of its body was read."""
        return self.complete and not self._parts

    def fit_for_reuse(self) -> bool:
        """Whether another exchange may follow on this connection."""
        transport = self._transport
        return (
            self.complete
            and self.reusable
            and not self.closed
            and transport is not None
            # The answer came before the request was fully sent: the rest would corrupt the next.
            and transport.get_write_buffer_size() == 0
        )

    def peer_has_closed(self) -> bool:
        """Whether the peer ended a connection that is idle, and the event loop did not look yet."""
        if self._poll is None:
            self._poll = select.poll()
            sock = cast("asyncio.Transport", self._transport).get_extra_info("socket")
            self._poll.register(sock.fileno(), _GONE)
        return bool(self._poll.poll(0))

    def linger(self, then: Callable[["Connection"], None], *, timeout_s: float = LINGER_S) -> None:
        """Throw away the rest of the body and call `then` at its end, or give up shortly."""
        self._parts.clear()
        self._buffered_bytes = 0
        if self.complete or self.closed:
            then(self)
            return
        self._linger = then
        self._linger_timer = self._loop.call_later(timeout_s, self.abort)
        if self._read_paused:
            self._read_paused = False
            cast("asyncio.Transport", self._transport).resume_reading()

    def abort(self) -> None:
        """Drop the connection now; the peer sees it end."""
        self._end(httpx.ReadError("the connection was closed"))

    async def _wait(self, timeout_s: float | None, error: type[httpx.TimeoutException]) -> None:
        """Sleep until something happens; the caller looks at what it was."""
        waiter = self._waiter = self._loop.create_future()
        if timeout_s is None:
            self._due_s = math.inf
        else:
            self._due_s = self._loop.time() + timeout_s
            self._late = error, timeout_s
            if self._timer_at_s > self._due_s + _LATE_S:
                self._set_timer(self._due_s)
        try:
            await waiter
        finally:
            self._waiter = None

    def _set_timer(self, at_s: float) -> None:
        """Look again at `at_s`: one timer serves a whole exchange and those that follow.

        A stream waits for every chunk; a timer for each would cost as much as reading it.
        """
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at_s = at_s
        self._timer = self._loop.call_at(at_s, self._look)

    def _look(self) -> None:
        self._timer, self._timer_at_s = None, math.inf
        waiter = self._waiter
        if waiter is None or waiter.done() or self._due_s == math.inf:
            return
        if self._loop.time() < self._due_s - _LATE_S:
            self._set_timer(self._due_s)
        else:
            error, timeout_s = self._late
            waiter.set_exception(error(f"nothing happened for {timeout_s:.3g} s"))

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _end(self, error: httpx.TransportError) -> None:
        """Close the socket; `error` is what a reader of an unfinished exchange is told."""
        if self.closed:
            return
        self.closed = True
        if self.busy and not self.complete and self.error is None:
            self.error = error
        if self._linger_timer is not None:
            self._linger_timer.cancel()
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._transport.abort()
        self._wake()
        if self.on_closed is not None:
            self.on_closed(self)

    # --- what the event loop calls ------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the socket; event loops set TCP_NODELAY on it by themselves."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Parse what came and wake whoever waits for it."""
        if not self.busy:
            self.abort()  # nobody asked: the peer is out of step, or says goodbye in words
            return
        self.got_bytes = True
        self._framing_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self.reusable = False
            if not self.complete:
                self._end(httpx.RemoteProtocolError(f"malformed HTTP answer: {error}"))
                return
        if self._framing_bytes > MAX_HEAD_BYTES and not self.complete:
            part = "frames or trailers" if self.has_head else "head"
            self._end(httpx.RemoteProtocolError(f"answer {part} over {MAX_HEAD_BYTES} bytes"))
            return
        if not self.has_head:
            return
        if self._linger is not None:
            self._keep_lingering()
        elif self._buffered_bytes > HIGH_WATER_BYTES and not self._read_paused and not self.closed:
            self._read_paused = True
            cast("asyncio.Transport", self._transport).pause_reading()
        self._wake()

    def _keep_lingering(self) -> None:
        self._parts.clear()
        if self.complete and self._linger is not None and self._linger_timer is not None:
            then, self._linger = self._linger, None
            self._linger_timer.cancel()
            self._linger_timer = None
            then(self)
        elif self._buffered_bytes > HIGH_WATER_BYTES:
            self.abort()

    def eof_received(self) -> None:
        """End the exchange: complete if only the end of the connection could end its body."""
        if self.closed:
            return
        if self.has_head and not self.complete and not self._body_is_framed():
            self.complete = True
        self._end(
            httpx.RemoteProtocolError(
                "peer closed the connection in the middle of an answer"
                if self.got_bytes
                else "peer closed the connection without an answer"
            )
        )

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell a waiting reader that the connection broke."""
        self.detached = True
        if isinstance(exc, ssl.SSLError):
            # A TLS peer that vanishes without close_notify may have been cut off by anyone.
            self._end(httpx.ReadError(f"TLS connection broke: {exc.reason}"))
        elif exc is not None:
            self._end(httpx.ReadError(f"connection broke: {type(exc).__name__}"))
        else:
            self.eof_received()

    def pause_writing(self) -> None:
        """Remember that the peer does not take the request as fast as it is sent."""
        self._write_paused = True

    def resume_writing(self) -> None:
        """Let `read_head` go on to wait for the answer."""
        self._write_paused = False
        self._wake()

    def _body_is_framed(self) -> bool:
        return any(
            name.lower() == b"content-length"
            or (name.lower() == b"transfer-encoding" and value.lower().endswith(b"chunked"))
            for name, value in self.headers
        )

    # --- what the parser calls ----------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Refuse bytes after the end of the answer; the error marks the connection unfit."""
        if self.complete:
            raise ValueError("data after the end of the answer")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep one header as it came; trailers are none."""
        if not self.has_head:
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Note the final status; interim (1xx) answers are skipped."""
        status = self._parser.get_status_code()
        if status < 200:
            self.headers = []
            return
        self.status = status
        self.has_head = True
        if self._is_head_request:
            # The parser would wait for a body of the announced length, which never comes.
            self.complete = True

    def on_body(self, data: bytes) -> None:
        """Keep one piece of the body."""
        self._framing_bytes = 0
        self._parts.append(data)
        self._buffered_bytes += len(data)

    def on_message_complete(self) -> None:
        """End the exchange, unless this was an interim answer."""
        if self.has_head and not self.complete:
            self.complete = True
            self.reusable = self._parser.should_keep_alive()
