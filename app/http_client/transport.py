"""Our own HTTP/1.1 client behind the HTTPX types: a pool of `Connection`s per origin.

Written because the client is the largest cost of proxying a request: see
`loadtest/bench_transport.py` for what it saves over the transports that can be had ready made.
It speaks what an upstream API needs and no more: no proxies, redirects, cookies, compression,
HTTP/2 or request bodies that are produced while they are sent.
"""

import asyncio
import functools
import ssl
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Self

import httpx

from app.http_client.connection import Connection, StaleConnectionError, TimeoutMap
from app.http_client.pool import ConnectionPool

STALE_WINDOW_S = 1.0
"""A kept connection that dies this soon after a request, unanswered, was probably closed before."""

_Origin = tuple[bytes, bytes, int | None]


@functools.cache
def default_ssl_context() -> ssl.SSLContext:
    """Verify certificates and host names against the system's store; offer only HTTP/1.1."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


class HttptoolsTransport(httpx.AsyncBaseTransport):
    """Send HTTPX requests over pooled keep-alive connections, without the HTTPX client layer.

    `request.extensions["timeout"]` bounds each phase as it does in HTTPX (`connect`, `read`,
    `write`, `pool`; seconds, None or absent for no bound), with one addition: `read` is looked
    up again at every read, so whoever owns the mapping may change it while a body arrives.
    `request.extensions["progress"]`, where it is there, is told (`sent = True`) when the first byte
    of the request goes out: until then it surely costs nothing.
    The response has one extension, `linger`: called in place of the rest of the body, it gives
    the connection a moment to finish and be reused, where `aclose` drops it at once.

    A request that fails without a single byte of answer on a connection that was kept from an
    earlier one is a `StaleConnectionError`: it may have been read, so whoever sends it again must
    know. `request.extensions["fresh"]`, where it is there and true, asks for a new connection.

    Parameters
    ----------
    max_connections
        Per origin, busy and idle ones together; beyond it requests wait for `pool` seconds.
    keepalive_expiry_s
        An idle connection is dropped after this time; keep it below what upstreams allow.
    reuse
        Whether connections are kept; where not, each request has one of its own.
    ssl_context
        For `https` origins; the default verifies against the system's certificates.
    """

    def __init__(
        self,
        *,
        max_connections: int = 1000,
        keepalive_expiry_s: float = 30.0,
        reuse: bool = True,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._max_connections = max_connections
        self._keepalive_expiry_s = keepalive_expiry_s
        self._reuse = reuse
        self._ssl_context = ssl_context or default_ssl_context()
        self._pools: dict[_Origin, ConnectionPool] = {}
        self._closed = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send `request`; return when the head of its answer is there.

        Raises
        ------
        httpx.TransportError
            ConnectError, ConnectTimeout, PoolTimeout, WriteTimeout, ReadTimeout, ReadError
            (reset), RemoteProtocolError (cut short or malformed), LocalProtocolError.
        """
        timeouts: TimeoutMap = request.extensions.get("timeout") or {}
        stream = request.stream
        body = b"".join(stream) if isinstance(stream, httpx.ByteStream) else await request.aread()
        head = _head_of(request, body)
        pool = self._pool(request.url)
        fresh = not self._reuse or request.extensions.get("fresh", False)
        connection = await pool.acquire(timeouts, fresh=fresh)
        if not connection.reused:
            return await _exchange(request, (head, body), pool, connection, timeouts)
        started = pool.loop.time()
        try:
            return await _exchange(request, (head, body), pool, connection, timeouts)
        except (httpx.RemoteProtocolError, httpx.ReadError) as error:
            if connection.got_bytes or pool.loop.time() - started > STALE_WINDOW_S:
                raise
            raise StaleConnectionError("a kept connection ended as it was used") from error

    async def aclose(self) -> None:
        """Drop every connection, busy ones included, and refuse further requests."""
        self._closed = True
        for pool in self._pools.values():
            pool.close()
        for _ in range(100):  # the event loop lets go of aborted sockets in its next rounds
            if all(pool.detached() for pool in self._pools.values()):
                return
            await asyncio.sleep(0)

    def _pool(self, url: httpx.URL) -> ConnectionPool:
        if self._closed:
            raise RuntimeError("the transport is closed")
        origin = (url.raw_scheme, url.raw_host, url.port)
        pool = self._pools.get(origin)
        if pool is None:
            if origin[0] not in (b"http", b"https"):
                raise httpx.UnsupportedProtocol(f"cannot speak {url.scheme!r}")
            pool = self._pools[origin] = ConnectionPool(
                host=url.raw_host.decode("ascii"),
                port=url.port or (443 if url.scheme == "https" else 80),
                ssl_context=self._ssl_context if url.scheme == "https" else None,
                max_connections=self._max_connections,
                keepalive_expiry_s=self._keepalive_expiry_s,
                keep=self._reuse,
            )
        return pool

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self.aclose()

    async def __aenter__(self) -> Self:
        return self


class _Body(httpx.AsyncByteStream, AsyncIterator[bytes]):
    """The body of an answer; each item is what had arrived, as soon as it had."""

    def __init__(self, connection: Connection, pool: ConnectionPool, timeouts: TimeoutMap) -> None:
        self._connection: Connection | None = connection
        self._pool = pool
        self._timeouts = timeouts

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        connection = self._connection
        if connection is None:
            raise StopAsyncIteration
        try:
            data = await connection.read(self._timeouts)
        except BaseException:
            self._connection = None
            connection.abort()
            raise
        if connection.drained():
            self._connection = None
            self._pool.release(connection)
        if not data:
            raise StopAsyncIteration
        return data

    async def aclose(self) -> None:
        """Drop the connection, unless the answer had arrived in full."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._pool.release(connection)

    def linger(self) -> None:
        """Ignore the rest of the body, but let the connection live if it ends in a moment."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.linger(self._pool.release)


async def _exchange(
    request: httpx.Request,
    message: tuple[bytes, bytes],
    pool: ConnectionPool,
    connection: Connection,
    timeouts: TimeoutMap,
) -> httpx.Response:
    """Send one message on one connection and wait for the head of the answer."""
    progress = request.extensions.get("progress")
    if progress is not None:
        progress.sent = True
    try:
        connection.begin(message, is_head_request=request.method == "HEAD")
        await connection.read_head(timeouts)
    except BaseException:
        connection.abort()
        raise
    body = _Body(connection, pool, timeouts)
    if connection.drained():
        await body.aclose()
    return httpx.Response(
        connection.status,
        headers=connection.headers,
        stream=body,
        extensions={"http_version": b"HTTP/1.1", "linger": body.linger},
        request=request,
    )


def _head_of(request: httpx.Request, body: bytes) -> bytes:
    """Return the head of a request as it goes over the wire, with the length of its body."""
    method = request.method.encode("ascii")
    lines = [b"%b %b HTTP/1.1" % (method, request.url.raw_path)]
    has_host = has_length = False
    for name, value in request.headers.raw:
        match name.lower():
            case b"transfer-encoding":
                continue  # the body is whole: a length frames it
            case b"host":
                has_host = True
            case b"content-length":
                has_length = True
        lines.append(b"%b: %b" % (name, value))
    if not has_host:
        lines.append(b"Host: %b" % request.url.netloc)
    if not has_length and (body or method in (b"POST", b"PUT", b"PATCH")):
        lines.append(b"Content-Length: %d" % len(body))
    head = b"\r\n".join(lines)
    if head.count(b"\n") != len(lines) - 1 or head.count(b"\r") != len(lines) - 1:
        raise httpx.LocalProtocolError("a header of the request contains a line break")
    return b"%b\r\n\r\n" % head
