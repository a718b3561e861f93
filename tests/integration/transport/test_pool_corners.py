"""The rare turns of pool and connection, on both event loops."""

import asyncio

import httpx
import pytest

from app.http_client.connection import HIGH_WATER_BYTES
from tests.support.raw_server import Peer, close, once, raw_server, serve_forever
from tests.support.transport import BODY, fetch, request, transport

CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n"


async def test_unknown_schemes_are_refused():
    async with transport() as client:
        with pytest.raises(httpx.UnsupportedProtocol):
            await fetch(client, "ftp://127.0.0.1/")


async def test_transport_is_a_context_manager():
    async with raw_server(serve_forever) as server:
        async with transport() as client, client:
            await fetch(client, server.origin)
        (pool,) = client._pools.values()
        assert not pool._open


async def test_words_from_the_peer_while_idle_drop_the_connection():
    go_on = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.answer()
        await go_on.wait()
        await peer.send(b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\n\r\n")
        await peer.gone()

    async with raw_server(script) as server, transport() as client:
        await fetch(client, server.origin)
        (pool,) = client._pools.values()
        assert pool._idle
        go_on.set()
        while pool._idle:
            await asyncio.sleep(0)
        assert pool._n_slots == 0


async def test_a_new_connection_makes_room_in_a_pool_full_of_idle_ones():
    async with raw_server(serve_forever) as server, transport(max_connections=2) as client:
        await asyncio.gather(fetch(client, server.origin), fetch(client, server.origin))
        (pool,) = client._pools.values()
        assert len(pool._idle) == 2
        _, body = await fetch(client, server.origin, fresh=True)
        assert body == b'{"a":1}'
        assert server.n_connections == 3
        assert pool._n_slots <= 2


async def test_a_new_connection_in_a_full_pool_waits_for_a_slot_of_its_own():
    async with raw_server(serve_forever) as server, transport(max_connections=1) as client:
        await fetch(client, server.origin)
        answers = await asyncio.gather(
            *(fetch(client, server.origin, fresh=bool(i % 2)) for i in range(4))
        )
        assert [body for _, body in answers] == [b'{"a":1}'] * 4


async def test_waiters_are_turned_away_when_the_transport_closes():
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.gone()

    async with raw_server(script) as server, transport(max_connections=1) as client:
        tasks = [asyncio.create_task(fetch(client, server.origin)) for _ in range(3)]
        while not server.n_connections:
            await asyncio.sleep(0)
        await client.aclose()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(each, httpx.TransportError) for each in results)


async def test_connection_made_after_the_transport_closed_is_dropped():
    async with raw_server(serve_forever) as server, transport() as client:
        task = asyncio.create_task(fetch(client, server.origin))
        await asyncio.sleep(0)
        await client.aclose()
        with pytest.raises(httpx.TransportError):
            await task
        (pool,) = client._pools.values()
        assert pool._n_slots == 0


async def test_connections_expire_one_by_one():
    async with raw_server(serve_forever) as server, transport(keepalive_expiry_s=1.5) as client:
        await asyncio.gather(fetch(client, server.origin), fetch(client, server.origin))
        (pool,) = client._pools.values()
        pool._idle[1].idle_since += 1.5  # used a little later
        oldest, newest = pool._idle
        while len(pool._idle) == 2:
            await asyncio.sleep(0.001)
        assert oldest.closed
        assert not newest.closed
        while pool._idle:
            await asyncio.sleep(0.001)
        assert newest.closed


async def test_slot_handed_to_a_waiter_that_gives_up_is_passed_on():
    async def script(peer: Peer) -> None:
        await peer.request()

    async with (
        raw_server(script, serve_forever) as server,
        transport(max_connections=1) as client,
    ):
        first = asyncio.create_task(fetch(client, server.origin))
        while not server.n_connections:
            await asyncio.sleep(0)
        second, third = (asyncio.create_task(fetch(client, server.origin)) for _ in range(2))
        (pool,) = client._pools.values()
        while len(pool._waiters) < 2:
            await asyncio.sleep(0)
        waiter = pool._waiters[0]
        while not waiter.done():
            await asyncio.sleep(0)
        second.cancel()  # in the very moment in which it was handed the slot
        results = await asyncio.gather(first, second, third, return_exceptions=True)
        assert isinstance(results[0], httpx.RemoteProtocolError)
        assert results[2][1] == b'{"a":1}'


async def test_linger_after_everything_came_keeps_the_connection():
    wire = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
    async with raw_server(once(wire)) as server, transport() as client:
        response = await client.handle_async_request(request(server.origin))
        (pool,) = client._pools.values()
        (connection,) = pool._open
        while not connection.complete:
            await asyncio.sleep(0)
        response.extensions["linger"]()
        response.extensions["linger"]()  # again is harmless
        assert pool._idle == [connection]


async def test_linger_gives_up_after_its_time():
    gone = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED)
        await peer.gone()
        gone.set()

    async with raw_server(script) as server, transport() as client:
        await client.handle_async_request(request(server.origin))
        (pool,) = client._pools.values()
        (connection,) = pool._open
        connection.linger(pool.release, timeout_s=0.02)
        await asyncio.wait_for(gone.wait(), 60)


async def test_linger_does_not_swallow_a_body_without_end():
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 999999999\r\n\r\n")
        while True:
            await peer.send(b"x" * HIGH_WATER_BYTES)

    async with raw_server(script) as server, transport() as client:
        response = await client.handle_async_request(request(server.origin))
        (pool,) = client._pools.values()
        (connection,) = pool._open
        while not connection._read_paused:
            await asyncio.sleep(0)
        response.extensions["linger"]()
        while not connection.closed:
            await asyncio.sleep(0)
        assert pool._n_slots == 0


async def test_lingering_connection_that_ends_frees_its_slot():
    go_on = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED)
        await go_on.wait()

    async with raw_server(script) as server, transport() as client:
        response = await client.handle_async_request(request(server.origin))
        response.extensions["linger"]()
        (pool,) = client._pools.values()
        go_on.set()
        while pool._n_slots:
            await asyncio.sleep(0)


async def test_body_that_nobody_began_to_read_is_dropped_with_the_response():
    wire = b"HTTP/1.1 200 OK\r\n\r\nab"
    async with raw_server(once(wire, then=close)) as server, transport() as client:
        response = await client.handle_async_request(request(server.origin))
        await response.aclose()
        (pool,) = client._pools.values()
        assert pool._n_slots == 0


async def test_no_timeouts_mean_no_bound():
    async with raw_server(serve_forever) as server, transport() as client:
        outgoing = httpx.Request("POST", server.origin, content=BODY)
        response = await client.handle_async_request(outgoing)
        assert [part async for part in response.stream] == [b'{"a":1}']
