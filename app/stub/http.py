"""A small HTTP/1.1 server with control over every byte, failures at the socket included."""

import asyncio
import logging
import os
import socket
import struct
from collections.abc import Awaitable, Callable
from http.client import responses
from typing import cast
from urllib.parse import parse_qsl

import httptools

Headers = list[tuple[bytes, bytes]]

_logger = logging.getLogger(__name__)


class Exchange:
    """One request, and the means to answer it.

    Attributes
    ----------
    method, path, query, headers, body
        The request.
    connection
        A number that tells connections apart.
    bytes_sent
        Of the body, so far.
    """

    def __init__(self, protocol: "HttpProtocol", *, method: str, target: bytes) -> None:
        path, _, query = target.decode("latin-1").partition("?")
        self.method = method
        self.path = path
        self.query = dict(parse_qsl(query))
        self.headers: Headers = []
        self.body = b""
        self.keep_alive = True
        self.connection = protocol.number
        self.bytes_sent = 0
        self._protocol = protocol
        self._chunked = False

    def start(self, status: int, headers: Headers, *, content_length: int | None = None) -> None:
        """Send the head; without a length the body is chunked."""
        self._chunked = content_length is None
        framing = (
            (b"transfer-encoding", b"chunked")
            if content_length is None
            else (b"content-length", b"%d" % content_length)
        )
        phrase = responses.get(status, "Unassigned").encode()
        lines = [b"HTTP/1.1 %d %b" % (status, phrase)]
        lines += [b"%b: %b" % header for header in (framing, *headers)]
        self._protocol.write(b"\r\n".join(lines) + b"\r\n\r\n")

    async def send(self, data: bytes) -> None:
        """Send a piece of the body; waits while the client does not take it."""
        self.bytes_sent += len(data)
        self._protocol.write(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)
        await self._protocol.drained()

    async def finish(self) -> None:
        """End the body."""
        if self._chunked:
            self._protocol.write(b"0\r\n\r\n")
        await self._protocol.drained()

    async def answer(self, status: int, headers: Headers, body: bytes) -> None:
        """Send a whole answer."""
        self.start(status, headers, content_length=len(body))
        await self.send(body)

    async def flushed(self) -> None:
        """Wait until the kernel has taken all that was sent: a reset throws away the rest."""
        await asyncio.sleep(0)
        while self._protocol.unsent_bytes():  # noqa: ASYNC110 - no event tells of it
            await asyncio.sleep(0)

    def close(self) -> None:
        """Close the connection in order, whatever was promised."""
        self._protocol.close()

    def half_close(self) -> None:
        """Say that nothing more will come, and go on listening."""
        self._protocol.half_close()

    def reset(self) -> None:
        """Reset the connection: the client sees `ECONNRESET`."""
        self._protocol.reset()

    async def stall(self) -> None:
        """Do nothing until the client goes away."""
        await asyncio.get_running_loop().create_future()


Handler = Callable[[Exchange], Awaitable[None]]


class HttpProtocol(asyncio.Protocol):
    """One client connection; the handler of a request is cancelled when its client goes away."""

    def __init__(self, handler: Handler, connections: set["HttpProtocol"], *, number: int) -> None:
        self.number = number
        self._handler = handler
        self._connections = connections
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._exchange: Exchange | None = None
        self._task: asyncio.Task[None] | None = None
        self._target = b""
        self._headers: Headers = []
        self._body: list[bytes] = []
        self._writable: asyncio.Future[None] | None = None

    # --- what an exchange calls ---------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Send bytes."""
        cast("asyncio.Transport", self._transport).write(data)

    async def drained(self) -> None:
        """Wait until the client has taken most of what was sent."""
        if self._writable is not None:
            await self._writable

    def unsent_bytes(self) -> int:
        """Count what the kernel has not taken yet."""
        return cast("asyncio.Transport", self._transport).get_write_buffer_size()

    def close(self) -> None:
        """Close in order."""
        cast("asyncio.Transport", self._transport).close()

    def half_close(self) -> None:
        """Close the sending half only."""
        cast("asyncio.Transport", self._transport).write_eof()

    def reset(self) -> None:
        """Close with a reset."""
        transport = cast("asyncio.Transport", self._transport)
        with socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno())) as sock:
            # Lingering for zero seconds is how a reset is asked for.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()

    async def aclose(self) -> None:
        """Cancel what runs and drop the connection."""
        task = self._task
        if self._transport is not None:
            self._transport.abort()
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    # --- what the event loop calls ------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the socket."""
        self._transport = cast("asyncio.Transport", transport)
        self._connections.add(self)

    def data_received(self, data: bytes) -> None:
        """Parse what came; a client that speaks no HTTP, or out of turn, is dropped."""
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            cast("asyncio.Transport", self._transport).abort()

    def eof_received(self) -> None:
        """Let the event loop close: a client that closes its half has gone away."""

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - why does not matter
        """Cancel the handler."""
        self._connections.discard(self)
        self.resume_writing()
        if self._task is not None:
            self._task.cancel()

    def pause_writing(self) -> None:
        """Make `drained` wait."""
        self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        """Let `drained` go on."""
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._writable = None

    # --- what the parser calls ----------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Refuse a request before the last one is answered; the parser reports it as an error."""
        if self._task is not None:
            raise ValueError("pipelining is not supported")

    def on_url(self, url: bytes) -> None:
        """Keep the target, which may come in pieces."""
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep one header."""
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Tell clients that ask first to go ahead."""
        if (b"expect", b"100-continue") in self._headers:
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, data: bytes) -> None:
        """Keep one piece of the body."""
        self._body.append(data)

    def on_message_complete(self) -> None:
        """Start the handler."""
        exchange = Exchange(self, method=self._parser.get_method().decode(), target=self._target)
        exchange.headers = self._headers
        exchange.body = b"".join(self._body)
        exchange.keep_alive = self._parser.should_keep_alive()
        self._target, self._headers, self._body = b"", [], []
        self._task = self._loop.create_task(self._run(exchange))

    async def _run(self, exchange: Exchange) -> None:
        try:
            await self._handler(exchange)
        except Exception:  # the outermost edge: a client is not left to wait for an answer
            _logger.exception("%s %s failed", exchange.method, exchange.path)
            self.close()
        finally:
            self._task = None
        if not exchange.keep_alive:
            self.close()


_ROUNDS_OF_ACCEPTING = 3
"""Of the event loop, from the accepting of a connection to its protocol's being told."""


async def close_server(server: asyncio.Server | None, connections: set[HttpProtocol]) -> None:
    """Stop listening and drop every client; returns when no socket is left."""
    if server is not None:
        # Nobody ever closes what is half accepted when asyncio's server is closed: take no more,
        # and let what was accepted in the last moment get its protocol first.
        for listening in server.sockets:
            asyncio.get_running_loop().remove_reader(listening.fileno())
        for _ in range(_ROUNDS_OF_ACCEPTING):
            await asyncio.sleep(0)
        server.close()
    while connections:
        for connection in list(connections):
            await connection.aclose()
        await asyncio.sleep(0)  # the event loop tells of lost connections in its next round
    if server is not None:
        await server.wait_closed()
