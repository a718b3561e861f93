"""A TCP server that does exactly what a test's script says, byte for byte."""

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager


class Peer:
    """The server's side of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def request(self) -> tuple[bytes, bytes]:
        """Read one request: head and body."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = 0
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        return head, await self.reader.readexactly(length)

    async def send(self, data: bytes) -> None:
        """Send bytes now."""
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self, body: bytes = b"{}", *, headers: bytes = b"") -> None:
        """Send a whole 200."""
        head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n%b\r\n" % (len(body), headers)
        await self.send(head + body)

    async def gone(self) -> None:
        """Wait until the client has closed or reset the connection."""
        try:
            while await self.reader.read(65536):
                pass
        except ConnectionError:
            pass

    def reset(self) -> None:
        """Close with a reset."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Script = Callable[[Peer], Awaitable[None]]


class RawServer:
    """Runs one script per connection, the last one for all further ones."""

    def __init__(self, scripts: tuple[Script, ...]) -> None:
        self._scripts = scripts
        self.n_connections = 0
        self.tasks: list[asyncio.Task[None]] = []
        self.origin = ""

    def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        script = self._scripts[min(self.n_connections, len(self._scripts) - 1)]
        self.n_connections += 1
        self.tasks.append(asyncio.get_running_loop().create_task(self._run(script, reader, writer)))

    async def _run(
        self, script: Script, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            await script(Peer(reader, writer))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client went away where the script expected more
        finally:
            writer.close()


@asynccontextmanager
async def raw_server(
    *scripts: Script, ssl_context: ssl.SSLContext | None = None
) -> AsyncIterator[RawServer]:
    """Serve on a free port; a failed assertion in a script fails the test."""
    raw = RawServer(scripts)
    server = await asyncio.start_server(raw.connected, "127.0.0.1", 0, ssl=ssl_context)
    port = server.sockets[0].getsockname()[1]
    raw.origin = f"{'https' if ssl_context else 'http'}://127.0.0.1:{port}"
    try:
        yield raw
    finally:
        server.close()
        for task in raw.tasks:
            if not task.done():
                task.cancel()
        for result in await asyncio.gather(*raw.tasks, return_exceptions=True):
            if isinstance(result, AssertionError):
                raise result
        await server.wait_closed()


# --- scripts ----------------------------------------------------------------------------------


async def serve_forever(peer: Peer) -> None:
    while True:
        await peer.request()
        await peer.answer(b'{"a":1}')


def once(data: bytes, *, then: Callable[[Peer], None] | None = None):
    """Make a script that answers one request with `data` and then waits, closes or resets."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(data)
        if then is None:
            await peer.gone()
        else:
            then(peer)

    return script


def close(peer: Peer) -> None:
    peer.writer.close()


def reset(peer: Peer) -> None:
    peer.reset()
