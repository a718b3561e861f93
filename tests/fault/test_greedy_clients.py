"""Clients that want all of the event loop, or hold what others need; what the others notice."""

import asyncio
import contextlib

import httptools
import pytest
import uvicorn
from uvicorn.server import ServerState

from app.api.asgi import ON_DISCONNECT
from app.server.bounds import MAX_DROPPED_BYTES, ConnectionLimits
from app.server.protocol import GatewayProtocol

HEAD = b"POST /%b HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n"
TINY = b"1\r\nx\r\n"


class Counting(GatewayProtocol):
    """Tells how many pieces of bodies were parsed."""

    n_parts = 0

    def on_body(self, body):
        Counting.n_parts += 1
        super().on_body(body)


@pytest.fixture(autouse=True)
def from_nothing():
    Counting.n_parts = 0


async def app(scope, receive, send):
    """Refuse under /refused without reading; else read all, and say how much it was."""
    n_bytes, status = 0, 200
    if scope["path"] == "/refused":
        status = 401
    else:
        message = {"more_body": True}
        while message.get("more_body"):
            message = await receive()
            n_bytes += len(message.get("body", b""))
    body = b"%d" % n_bytes
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@contextlib.asynccontextmanager
async def serving(app, **limits):
    config = uvicorn.Config(app, lifespan="off", log_config=None, proxy_headers=False)
    state = ServerState()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Counting(config, state, {}, limits=ConnectionLimits(**limits)), "127.0.0.1", 0
    )
    async with server:
        yield server.sockets[0].getsockname(), state
        server.close()
        for connection in list(state.connections):
            connection.transport.abort()


@contextlib.asynccontextmanager
async def connected(address):
    reader, writer = await asyncio.open_connection(*address)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


@contextlib.asynccontextmanager
async def parts_a_turn():
    """Collect how many pieces were parsed in each turn of the event loop."""
    loop, found, before = asyncio.get_running_loop(), [], 0

    def look():
        nonlocal before, handle
        found.append(Counting.n_parts - before)
        before = Counting.n_parts
        handle = loop.call_soon(look)

    handle = loop.call_soon(look)
    yield found
    handle.cancel()


async def test_of_what_follows_a_refusal_nothing_is_parsed():
    async with serving(app) as (address, _), connected(address) as (reader, writer):
        writer.write(HEAD % b"refused")
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 401 ")
        assert b"connection: close" in head
        parsed = Counting.n_parts
        writer.write(TINY * 500_000)
        async with connected(address) as (other, asking):
            for _ in range(20):
                asking.write(b"GET /refused HTTP/1.1\r\nhost: t\r\n\r\n")
                assert (await other.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 401 ")
                await other.readexactly(1)
        assert Counting.n_parts == parsed


async def test_no_turn_of_the_event_loop_is_one_clients_alone():
    n_parts = 100_000
    part = b"40\r\n" + b"x" * 64 + b"\r\n"
    async with serving(app) as (address, _), connected(address) as (reader, writer):
        async with parts_a_turn() as found:
            writer.write(HEAD % b"read" + part * n_parts + b"0\r\n\r\n")
            await reader.readuntil(b"\r\n\r\n")
        body = await reader.read(400)
        assert body == b"%d" % (64 * n_parts)
    assert sum(found) >= n_parts
    assert max(found) < 2_000


async def test_another_client_is_answered_while_one_sends_crumbs():
    async with serving(app) as (address, _), connected(address) as (reader, writer):
        part = b"40\r\n" + b"x" * 64 + b"\r\n"
        writer.write(HEAD % b"read" + part * 200_000)  # and no end
        async with connected(address) as (other, asking):
            asking.write(b"GET /refused HTTP/1.1\r\nhost: t\r\n\r\n")
            await other.readuntil(b"\r\n\r\n")
        assert Counting.n_parts < 100_000  # its answer came long before all of that was read
        assert not reader.at_eof()


async def test_a_body_of_crumbs_is_refused():
    async with serving(app) as (address, _), connected(address) as (reader, writer):
        writer.write(HEAD % b"read" + TINY * 50_000 + b"0\r\n\r\n")
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b"too small" in answer
    assert Counting.n_parts < 11_000


async def test_a_short_body_may_come_byte_by_byte():
    async with serving(app) as (address, _), connected(address) as (reader, writer):
        writer.write(HEAD % b"read" + TINY * 9_000 + b"0\r\n\r\n")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        assert await reader.readexactly(4) == b"9000"


@pytest.mark.parametrize("first", [1, 16_383, 16_384, 16_385, 70_000, 300_000])
async def test_a_body_is_the_same_however_it_is_cut(first):
    body = bytes(range(256)) * 4_000
    seen = bytearray()

    async def keep(scope, receive, send):
        message = {"more_body": True}
        while message.get("more_body"):
            message = await receive()
            seen.extend(message["body"])
        await app({"path": "/refused"}, receive, send)

    async with serving(keep) as (address, _), connected(address) as (reader, writer):
        data = b"POST / HTTP/1.1\r\nhost: t\r\ncontent-length: %d\r\n\r\n" % len(body) + body
        writer.write(data[:first])
        await writer.drain()
        writer.write(data[first:])
        await reader.readuntil(b"\r\n\r\n")
    assert seen == body


@pytest.mark.parametrize("begin", [HEAD % b"refused", b"nonsense\r\n\r\n"])
async def test_whoever_sends_on_after_the_last_answer_is_not_read_for_ever(begin):
    async with serving(app, linger_s=60) as (address, _), connected(address) as (reader, writer):
        writer.write(begin)
        await reader.readuntil(b"\r\n\r\n")
        sent = 0
        with contextlib.suppress(TimeoutError, ConnectionError):
            while sent < 100_000_000:
                writer.write(b"x" * 1_000_000)
                sent += 1_000_000
                async with asyncio.timeout(1):
                    await writer.drain()
        assert sent < MAX_DROPPED_BYTES + 10_000_000  # what systems hold comes on top


async def test_a_client_that_sends_more_than_its_request_reads_the_answer_and_the_end():
    async with serving(app) as (address, _), connected(address) as (reader, writer):
        writer.write(
            b"POST / HTTP/1.1\r\nhost: t\r\ncontent-length: 2\r\n\r\nab" + b"x" * 2_000_000
        )
        answer = await reader.read()
    parser = httptools.HttpResponseParser(object())
    parser.feed_data(answer)
    assert parser.get_status_code() == 200
    assert answer.endswith(b"\r\n\r\n2")


@pytest.mark.parametrize("whole", [False, True])
async def test_an_answer_that_nobody_reads_is_reset_and_lets_go_of_everything(whole):
    gone = asyncio.Event()

    async def endless(scope, receive, send):
        scope["extensions"][ON_DISCONNECT](gone.set)
        part = b"x" * 1_000_000
        headers = [(b"content-length", b"30000000")] if whole else []
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if whole:
            await send({"type": "http.response.body", "body": part * 30})
            return
        while not gone.is_set():
            await send({"type": "http.response.body", "body": part, "more_body": True})

    async with serving(endless, stalled_s=0.3, keep_alive_s=600) as (address, state):
        reader, writer = await asyncio.open_connection(*address, limit=1024)
        writer.write(b"GET / HTTP/1.1\r\nhost: t\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        async with asyncio.timeout(60):
            if not whole:
                await gone.wait()
            while state.connections or state.tasks:
                await asyncio.sleep(0.01)
        writer.transport.abort()


async def test_a_client_that_reads_slowly_reads_all_of_it():
    n_bytes = 20_000_000
    part = b"x" * 1_000_000

    async def large(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(n_bytes // len(part)):
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async with serving(large, stalled_s=3) as (address, _):
        reader, writer = await asyncio.open_connection(*address, limit=65_536)
        writer.write(b"GET / HTTP/1.0\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        read = 0
        while got := await reader.read(300_000):
            read += len(got)
            await asyncio.sleep(0.06)  # how fast it reads is what is tested
        writer.close()
    assert read == n_bytes
