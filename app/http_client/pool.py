"""The connections to one origin: opened, kept, handed over, dropped."""

import asyncio
import ssl
from collections import deque

import httpx

from app.http_client.connection import CertificateError, Connection, TimeoutMap


class ConnectionPool:
    """The connections to one origin; the one used last is taken first."""

    def __init__(
        self,
        *,
        host: str,
        port: int,
        ssl_context: ssl.SSLContext | None,
        max_connections: int,
        keepalive_expiry_s: float,
        keep: bool = True,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self._host = host
        self._port = port
        self._ssl_context = ssl_context
        self._max_connections = max_connections
        self._keepalive_expiry_s = keepalive_expiry_s
        self._keep = keep
        self._n_slots = 0  # connections that are open or being opened
        self._idle: list[Connection] = []  # oldest first
        self._open: set[Connection] = set()
        self._aborted: list[Connection] = []
        self._waiters: deque[asyncio.Future[Connection | None]] = deque()
        self._sweep_timer: asyncio.TimerHandle | None = None
        self._closed = False

    async def acquire(self, timeouts: TimeoutMap, *, fresh: bool = False) -> Connection:
        """Return an idle connection, or a new one where there is none or `fresh` asks for it."""
        while True:
            while self._idle and not fresh:
                connection = self._idle.pop()
                if not connection.peer_has_closed():
                    return connection
                connection.abort()  # nothing was sent on it: nobody can have been paid
            if self._n_slots < self._max_connections:
                self._n_slots += 1
                break
            if self._idle:  # `fresh`, and the pool is full
                self._idle[0].abort()
                continue
            handed = await self._wait_for_slot(timeouts.get("pool"))
            if handed is None:
                break  # a slot, already counted
            if fresh:
                handed.abort()
            elif not handed.closed:
                return handed
        try:
            connection = await self._connect(timeouts.get("connect"))
        except BaseException:
            self._free_slot()
            raise
        self._open.add(connection)
        connection.on_closed = self._on_closed
        return connection

    def release(self, connection: Connection) -> None:
        """Take back a connection whose exchange is over."""
        if not self._keep or not connection.fit_for_reuse() or self._closed:
            connection.abort()
            return
        connection.busy = False
        connection.reused = True
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return
        connection.idle_since = self.loop.time()
        self._idle.append(connection)
        if self._sweep_timer is None:
            self._sweep_timer = self.loop.call_later(self._keepalive_expiry_s, self._sweep)

    def close(self) -> None:
        """Drop every connection and turn away whoever waits for one."""
        self._closed = True
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_exception(httpx.PoolTimeout("the transport is closed"))
        self._aborted = list(self._open)
        for connection in self._aborted:
            connection.abort()

    def detached(self) -> bool:
        """Whether the event loop has let go of every socket that `close` dropped."""
        return all(connection.detached for connection in self._aborted)

    async def _connect(self, timeout_s: float | None) -> Connection:
        try:
            async with asyncio.timeout(timeout_s):
                _, connection = await self.loop.create_connection(
                    lambda: Connection(self.loop),
                    self._host,
                    self._port,
                    ssl=self._ssl_context,
                    server_hostname=self._host if self._ssl_context else None,
                )
        except TimeoutError as error:
            raise httpx.ConnectTimeout(f"no connection within {timeout_s} s") from error
        except ssl.SSLCertVerificationError as error:
            # What follows a comma names the host.
            raise CertificateError(error.verify_message.partition(",")[0]) from error
        except OSError as error:  # refused, unreachable, unknown host, no TLS
            raise httpx.ConnectError(f"cannot connect: {error}") from error
        if self._closed or connection.closed:
            connection.abort()
            raise httpx.ConnectError("the connection was closed as soon as it was made")
        return connection

    async def _wait_for_slot(self, timeout_s: float | None) -> Connection | None:
        """Wait in line; the result is a connection, or None for the right to open one."""
        waiter: asyncio.Future[Connection | None] = self.loop.create_future()
        self._waiters.append(waiter)
        try:
            async with asyncio.timeout(timeout_s):
                return await waiter
        except BaseException as error:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                # Given up in the very moment in which something was handed over: pass it on.
                handed = waiter.result()
                if handed is None:
                    self._free_slot()
                elif not handed.closed:
                    self.release(handed)
            elif waiter in self._waiters:
                self._waiters.remove(waiter)
            if isinstance(error, TimeoutError):
                raise httpx.PoolTimeout(f"no free connection within {timeout_s} s") from error
            raise

    def _free_slot(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)  # the slot goes with it
                return
        self._n_slots -= 1

    def _on_closed(self, connection: Connection) -> None:
        self._open.discard(connection)
        if not connection.busy and connection in self._idle:
            self._idle.remove(connection)
        self._free_slot()

    def _sweep(self) -> None:
        """Drop idle connections that are too old; come back when the next one will be."""
        self._sweep_timer = None
        oldest_allowed = self.loop.time() - self._keepalive_expiry_s
        for connection in [each for each in self._idle if each.idle_since <= oldest_allowed]:
            connection.abort()
        if self._idle:
            self._sweep_timer = self.loop.call_at(
                self._idle[0].idle_since + self._keepalive_expiry_s, self._sweep
            )
