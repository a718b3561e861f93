"""A connection to Redis: commands go out in one write, their replies come back in one call.

redis-py reads addresses and errors; what it does between a command and its reply (a stream, a pool,
a parser and several coroutines a pipeline) costs more than all else here, so that is left out.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Any, cast

import hiredis
from redis.asyncio.connection import ConnectionPool

from app.stores.base import UnusableValueError

Command = tuple[str | bytes | int, ...]

Done = Callable[[list[Any] | Exception], None]
"""Called with the replies to all commands, errors that Redis answered among them; or a failure."""

_NOTHING = object()


def pack(commands: Sequence[Command]) -> bytes:
    """Return commands as they are sent.

    Raises
    ------
    UnusableValueError
        If one holds what is neither text nor bytes nor a number, or text that is no Unicode.
    """
    try:
        return b"".join([hiredis.pack_command(cast("Any", command)) for command in commands])
    except (TypeError, ValueError, OverflowError) as error:
        raise UnusableValueError(f"this cannot be said to Redis: {error}") from error


class Connection(asyncio.Protocol):
    """One connection, which carries one batch of commands at a time."""

    def __init__(self) -> None:
        self._reader = hiredis.Reader(notEnoughData=_NOTHING)
        self._transport: asyncio.Transport | None = None
        self._replies: list[Any] = []
        self._expected = 0
        self._done: Done | None = None
        self._lost = asyncio.get_running_loop().create_future()

    @property
    def is_open(self) -> bool:
        """Whether a batch may be sent."""
        return self._transport is not None and not self._transport.is_closing()

    def send(self, packed: bytes, n_commands: int, done: Done) -> None:
        """Send packed commands; `done` is called once, never before this returns."""
        if self._transport is None or self._done is not None:
            raise RuntimeError("not connected, or a batch is on its way")
        self._expected, self._done = n_commands, done
        self._transport.write(packed)

    def close(self) -> None:
        """Disconnect at once; a batch on its way fails."""
        if self._transport is not None:
            self._transport.abort()

    async def wait_closed(self) -> None:
        """Wait until the socket is closed."""
        if self._transport is not None:
            await asyncio.shield(self._lost)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Take replies apart."""
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not _NOTHING:
                self._replies.append(reply)
        except hiredis.HiredisError as error:
            self._end(error)
            self.close()
            return
        if len(self._replies) < self._expected:
            return
        if self._done is None or len(self._replies) > self._expected:
            # An answer to nothing: whatever comes next would be taken for another one's.
            self._end(ConnectionError("the server says more than it was asked"))
            self.close()
            return
        self._end(self._replies)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail what is on its way."""
        if not self._lost.done():
            self._lost.set_result(None)
        self._end(exc or ConnectionError("the connection was closed"))

    def _end(self, outcome: list[Any] | Exception) -> None:
        done, self._done = self._done, None
        self._replies, self._expected = [], 0
        if done is not None:
            done(outcome)


class Address:
    """Where Redis is, and who we are there.

    Parameters
    ----------
    url
        `redis://`, `rediss://` or `unix://`, with the options that redis-py reads.

    Raises
    ------
    ValueError
        If it cannot be an address.
    """

    def __init__(self, url: str) -> None:
        try:
            # Never connected: it holds what the address says, defaults of redis-py included.
            pool: Any = ConnectionPool.from_url(url)
            self._said: Any = pool.make_connection()
        except TypeError as error:  # an option that no connection has
            raise ValueError(str(error)) from error

    async def connect(self) -> Connection:
        """Connect, authenticate and choose the database."""
        loop, said = asyncio.get_running_loop(), self._said
        if hasattr(said, "path"):
            _, connection = await loop.create_unix_connection(Connection, said.path)
        else:
            tls: ssl.SSLContext | None = said.ssl_context.get() if _is_tls(said) else None
            transport, connection = await loop.create_connection(
                Connection, said.host, said.port, ssl=tls
            )
            _keep_alive(transport, said)
        try:
            await _introduce(connection, said)
        except BaseException:  # a cancellation too: nobody else would close it
            connection.close()
            raise
        return connection


def _is_tls(said: Any) -> bool:
    return hasattr(said, "ssl_context")


def _keep_alive(transport: asyncio.BaseTransport, said: Any) -> None:
    sock = transport.get_extra_info("socket")
    if sock is None or not said.socket_keepalive:
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in said.socket_keepalive_options.items():
        sock.setsockopt(socket.IPPROTO_TCP, option, value)


async def _introduce(connection: Connection, said: Any) -> None:
    commands: list[Command] = []
    if said.username or said.password:
        names = (said.username,) if said.username else ()
        commands.append(("AUTH", *names, said.password or ""))
    if said.client_name:
        commands.append(("CLIENT", "SETNAME", said.client_name))
    if said.db:
        commands.append(("SELECT", said.db))
    if not commands:
        return
    answered: asyncio.Future[list[Any] | Exception] = asyncio.get_running_loop().create_future()

    def done(outcome: list[Any] | Exception) -> None:
        if not answered.done():
            answered.set_result(outcome)

    connection.send(pack(commands), len(commands), done)
    outcome = await answered
    for each in [outcome] if isinstance(outcome, Exception) else outcome:
        if isinstance(each, Exception):
            raise each
