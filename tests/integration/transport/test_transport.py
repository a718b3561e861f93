"""The transport against raw TCP servers, on both event loops."""

import asyncio
import os
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from app.http_client.connection import HIGH_WATER_BYTES, MAX_HEAD_BYTES, StaleConnectionError
from tests.support.raw_server import Peer, close, once, raw_server, reset, serve_forever
from tests.support.transport import BODY, fetch, request, transport

# --- what is sent and what comes back ---------------------------------------------------------


async def test_request_goes_over_the_wire_as_given():
    async def script(peer: Peer) -> None:
        head, body = await peer.request()
        assert head.startswith(b"POST /v1/x?y=1 HTTP/1.1\r\n")
        assert b"\r\nX-Test: 1\r\n" in head
        assert b"\r\nHost: 127.0.0.1:" in head
        assert body == BODY
        await peer.answer(b"ok", headers=b"X-One: a\r\nX-One: b\r\n")

    async with raw_server(script) as server, transport() as client:
        response, body = await fetch(client, server.origin + "/v1/x?y=1")
    assert (response.status_code, body) == (200, b"ok")
    assert response.headers.raw == [(b"content-length", b"2"), (b"X-One", b"a"), (b"X-One", b"b")]


async def test_streamed_request_body_is_buffered_and_framed_by_its_length():
    async def parts() -> AsyncIterator[bytes]:
        yield b'{"q":'
        yield b"1}"

    async def script(peer: Peer) -> None:
        head, body = await peer.request()
        assert b"transfer-encoding" not in head.lower()
        assert body == BODY
        await peer.answer()

    async with raw_server(script) as server, transport() as client:
        outgoing = httpx.Request("POST", server.origin, content=parts())
        response = await client.handle_async_request(outgoing)
        assert response.status_code == 200
        await response.aclose()


@pytest.mark.parametrize(
    ("wire", "body"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc", b"abc"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", b""),
        (
            (
                b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
                b"2;x=y\r\nab\r\n1\r\nc\r\n0\r\ntrailer: 1\r\n\r\n"
            ),
            b"abc",
        ),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n", b""),
        (
            (
                b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"
                b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc"
            ),
            b"abc",
        ),
    ],
)
async def test_framed_bodies_are_read_and_the_connection_is_reused(wire, body):
    async def script(peer: Peer) -> None:
        for _ in range(2):
            await peer.request()
            await peer.send(wire)
        await peer.gone()

    async with raw_server(script) as server, transport() as client:
        for _ in range(2):
            response, got = await fetch(client, server.origin)
            assert got == body
            assert b"link" not in dict(response.headers.raw)
        assert server.n_connections == 1


async def test_body_without_length_ends_with_the_connection():
    wire = b"HTTP/1.1 200 OK\r\n\r\nabc"
    async with raw_server(once(wire, then=close)) as server, transport() as client:
        _, body = await fetch(client, server.origin)
        assert body == b"abc"


async def test_head_answer_has_no_body_whatever_its_length_says():
    wire = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n"
    async with raw_server(once(wire)) as server, transport() as client:
        _, body = await fetch(client, server.origin, method="HEAD", body=b"")
        assert body == b""


async def test_every_read_is_delivered_as_soon_as_it_arrives():
    first_seen = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        await first_seen.wait()  # the last is sent only once the client has the first
        await peer.send(b"4\r\nlast\r\n0\r\n\r\n")

    async with raw_server(script) as server, transport() as client:
        response = await client.handle_async_request(request(server.origin))
        body = aiter(response.stream)
        assert await anext(body) == b"first"
        first_seen.set()
        assert await anext(body) == b"last"
        assert await anext(body, None) is None


async def test_large_bodies_arrive_whole_both_ways_and_a_slow_reader_stops_the_sender():
    sent = 0
    size = 40 * HIGH_WATER_BYTES

    async def script(peer: Peer) -> None:
        nonlocal sent
        _, body = await peer.request()
        assert len(body) == 3_000_000
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
        while sent < size:
            await peer.send(b"x" * 65536)
            sent += 65536
        stalled.set()

    stalled = asyncio.Event()
    async with raw_server(script) as server, transport() as client:
        response = await client.handle_async_request(request(server.origin, body=b"y" * 3_000_000))
        connection = response.stream._connection
        while not connection._read_paused:
            await asyncio.sleep(0)
        assert connection._buffered_bytes < 2 * HIGH_WATER_BYTES + 262_144
        assert sent < size
        total = 0
        async for part in response.stream:
            total += len(part)
        assert total == size


async def test_line_breaks_in_headers_are_refused_before_anything_is_sent():
    async with raw_server(serve_forever) as server, transport() as client:
        bad = httpx.Request("POST", server.origin, headers=[(b"X", b"a\r\nEvil: 1")], content=b"")
        with pytest.raises(httpx.LocalProtocolError):
            await client.handle_async_request(bad)
        assert server.n_connections == 0


# --- the pool ---------------------------------------------------------------------------------


async def test_connections_are_reused_last_in_first_out():
    async with raw_server(serve_forever) as server, transport() as client:
        await asyncio.gather(*(fetch(client, server.origin) for _ in range(3)))
        assert server.n_connections == 3
        for _ in range(5):
            await fetch(client, server.origin)
        assert server.n_connections == 3
        (pool,) = client._pools.values()
        newest = pool._idle[-1]
        await fetch(client, server.origin)
        assert pool._idle[-1] is newest


async def test_requests_over_the_bound_wait_their_turn():
    async with raw_server(serve_forever) as server, transport(max_connections=2) as client:
        answers = await asyncio.gather(*(fetch(client, server.origin) for _ in range(20)))
        assert [body for _, body in answers] == [b'{"a":1}'] * 20
        assert server.n_connections == 2


async def test_waiting_for_a_connection_is_bounded():
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.gone()

    async with raw_server(script) as server, transport(max_connections=1) as client:
        first = asyncio.create_task(fetch(client, server.origin))
        while not server.n_connections:
            await asyncio.sleep(0)
        with pytest.raises(httpx.PoolTimeout):
            await fetch(client, server.origin, pool=0.01)
        first.cancel()
        await asyncio.wait([first])
        (pool,) = client._pools.values()
        assert pool._n_slots == 0
        assert not pool._waiters


async def test_a_slot_freed_by_failure_goes_to_who_waits():
    async with (
        raw_server(once(b"", then=reset), serve_forever) as server,
        transport(max_connections=1) as client,
    ):
        first, second = await asyncio.gather(
            fetch(client, server.origin), fetch(client, server.origin), return_exceptions=True
        )
        assert isinstance(first, httpx.TransportError)
        assert second[1] == b'{"a":1}'


async def test_cancelled_waiters_leave_no_slot_behind():
    async with raw_server(serve_forever) as server, transport(max_connections=1) as client:
        for n_rounds in range(8):  # cancel at every point of the hand-over
            tasks = [asyncio.create_task(fetch(client, server.origin)) for _ in range(4)]
            for _ in range(n_rounds):
                await asyncio.sleep(0)
            for task in tasks[::2]:
                task.cancel()
            done = await asyncio.gather(*tasks, return_exceptions=True)
            assert all(each[1] == b'{"a":1}' for each in done[1::2])
        (pool,) = client._pools.values()
        assert pool._n_slots == len(pool._open) <= 1


async def test_idle_connections_expire():
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.answer()
        await peer.gone()
        gone.set()

    gone = asyncio.Event()
    async with raw_server(script) as server, transport(keepalive_expiry_s=0.02) as client:
        await fetch(client, server.origin)
        await asyncio.wait_for(gone.wait(), 60)
        (pool,) = client._pools.values()
        assert not pool._idle


async def test_connection_closed_while_idle_is_noticed_before_reuse():
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.answer()

    async with raw_server(script) as server, transport() as client:
        await fetch(client, server.origin)
        (pool,) = client._pools.values()
        while pool._idle:
            await asyncio.sleep(0)
        assert pool._n_slots == 0
        await fetch(client, server.origin)
        assert server.n_connections == 2


@pytest.mark.parametrize("end", [close, reset])
async def test_a_kept_connection_that_dies_with_a_request_is_told_and_nothing_is_sent_again(end):
    async def stale(peer: Peer) -> None:
        await peer.request()
        await peer.answer()
        await peer.request()  # it was read, whatever becomes of it
        end(peer)

    async with raw_server(stale, serve_forever) as server, transport() as client:
        await fetch(client, server.origin)
        with pytest.raises(StaleConnectionError):
            await fetch(client, server.origin)
        assert server.n_connections == 1
        _, body = await fetch(client, server.origin)
        assert body == b'{"a":1}'
        assert server.n_connections == 2


async def test_a_connection_that_the_peer_closed_unseen_is_not_used():
    peers = []

    async def script(peer: Peer) -> None:
        peers.append(peer)
        await serve_forever(peer)

    async with raw_server(script) as server, transport() as client:
        await fetch(client, server.origin)
        (pool,) = client._pools.values()
        (kept,) = pool._idle
        assert not kept.peer_has_closed()
        # At once, before the event loop can have looked at the socket.
        descriptor = os.dup(peers[0].writer.get_extra_info("socket").fileno())
        with socket.socket(fileno=descriptor) as sock:
            sock.shutdown(socket.SHUT_RDWR)
        assert kept.peer_has_closed()
        _, body = await fetch(client, server.origin)
        assert body == b'{"a":1}'
        assert server.n_connections == 2


async def test_a_new_connection_can_be_had_on_demand():
    async with raw_server(serve_forever) as server, transport() as client:
        await fetch(client, server.origin)
        await fetch(client, server.origin, fresh=True)
        assert server.n_connections == 2
    async with raw_server(serve_forever) as server, transport(reuse=False) as client:
        await fetch(client, server.origin)
        await fetch(client, server.origin)
        assert server.n_connections == 2


async def test_trailers_are_no_headers():
    wire = (
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nx-head: 1\r\n\r\n"
        b"2\r\nok\r\n0\r\nx-request-id: trailer\r\nset-cookie: a=b\r\n\r\n"
    )
    async with raw_server(once(wire)) as server, transport() as client:
        response, body = await fetch(client, server.origin)
        assert body == b"ok"
        assert [name for name, _ in response.headers.raw] == [b"transfer-encoding", b"x-head"]


@pytest.mark.parametrize(
    "flood",
    [
        b"0\r\n" + b"x-trailer: %b\r\n" % (b"x" * 100) * 10_000,
        b"0\r\nx-trailer: " + b"x" * 1_000_000,
        b"2;%b\r\n" % (b"x" * 1_000_000),
    ],
)
async def test_what_is_not_of_the_body_is_bounded(flood):
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n")
        await peer.send(flood)
        await peer.gone()

    async with raw_server(script) as server, transport() as client:
        with pytest.raises(httpx.RemoteProtocolError):
            await fetch(client, server.origin)


async def test_a_new_connection_that_dies_is_not_retried():
    async with raw_server(once(b"", then=close)) as server, transport() as client:
        with pytest.raises(httpx.RemoteProtocolError, match="without an answer"):
            await fetch(client, server.origin)
        assert server.n_connections == 1


async def test_nothing_is_retried_once_a_byte_has_come():
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.answer()
        await peer.request()
        await peer.send(b"HTTP/1.1 2")

    async with raw_server(script) as server, transport() as client:
        await fetch(client, server.origin)
        with pytest.raises(httpx.RemoteProtocolError):
            await fetch(client, server.origin)
        assert server.n_connections == 1


@pytest.mark.parametrize(
    "wire",
    [
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok extra",
    ],
)
async def test_unfit_connections_are_not_reused(wire):
    async with raw_server(once(wire)) as server, transport() as client:
        for _ in range(2):
            _, body = await fetch(client, server.origin)
            assert body == b"ok"
        assert server.n_connections == 2


async def test_linger_lets_the_end_of_a_body_come_and_keeps_the_connection():
    go_on = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n")
        await go_on.wait()
        await peer.send(b"3\r\nend\r\n0\r\n\r\n")
        await serve_forever(peer)

    async with raw_server(script) as server, transport() as client:
        response = await client.handle_async_request(request(server.origin))
        assert await anext(aiter(response.stream)) == b"ok"
        response.extensions["linger"]()
        await response.stream.aclose()
        go_on.set()
        (pool,) = client._pools.values()
        while not pool._idle:
            await asyncio.sleep(0)
        _, body = await fetch(client, server.origin)
        assert body == b'{"a":1}'
        assert server.n_connections == 1


# --- failures ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wire", "then", "error"),
    [
        (b"", close, httpx.RemoteProtocolError),
        (b"", reset, httpx.ReadError),
        (b"HTTP/1.1 200 OK\r\nx: ", close, httpx.RemoteProtocolError),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab", close, httpx.RemoteProtocolError),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab", reset, httpx.ReadError),
        (b"HTTP/1.1 200 OK\r\n\r\nab", reset, httpx.ReadError),
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab",
            close,
            httpx.RemoteProtocolError,
        ),
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nab",
            None,
            httpx.RemoteProtocolError,
        ),
        (b"220 smtp.example ESMTP\r\n", None, httpx.RemoteProtocolError),
        (b"\x16\x03\x01\x02\x00\x01", None, httpx.RemoteProtocolError),
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
            None,
            httpx.RemoteProtocolError,
        ),
        (
            b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
            None,
            httpx.RemoteProtocolError,
        ),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * (MAX_HEAD_BYTES + 1), None, httpx.RemoteProtocolError),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab", None, httpx.ReadTimeout),
        (b"HTTP/1.1 200 OK\r\n", None, httpx.ReadTimeout),
    ],
)
async def test_broken_answers_raise_what_httpx_raises(wire, then, error):
    async with raw_server(once(wire, then=then)) as server, transport() as client:
        with pytest.raises(error) as raised:
            await fetch(client, server.origin, read=0.2 if error is httpx.ReadTimeout else 5.0)
        assert type(raised.value) is error
        (pool,) = client._pools.values()
        assert pool._n_slots == 0


async def test_what_came_before_a_break_is_delivered_first():
    wire = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\nzz\r\n"
    async with raw_server(once(wire)) as server, transport() as client:
        response = await client.handle_async_request(request(server.origin))
        body = aiter(response.stream)
        assert await anext(body) == b"ab"
        with pytest.raises(httpx.RemoteProtocolError):
            await anext(body)


async def test_refused_connection():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening
        async with transport() as client:
            with pytest.raises(httpx.ConnectError):
                await fetch(client, f"http://127.0.0.1:{taken.getsockname()[1]}")


async def test_unknown_host():
    async with transport() as client:
        with pytest.raises(httpx.ConnectError):
            await fetch(client, "http://no-such-host.invalid/")


async def test_connecting_is_bounded():
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        with socket.create_connection(address):  # fills the backlog: the next SYN goes unanswered
            async with transport() as client:
                with pytest.raises(httpx.ConnectTimeout):
                    await fetch(client, f"http://127.0.0.1:{address[1]}", connect=0.1)


async def test_upstream_that_does_not_read_the_request_is_a_write_timeout():
    async def script(peer: Peer) -> None:
        peer.writer.transport.pause_reading()
        await asyncio.get_running_loop().create_future()

    async with raw_server(script) as server, transport() as client:
        with pytest.raises(httpx.WriteTimeout):
            await fetch(client, server.origin, body=b"x" * 20_000_000, write=0.1)


async def test_answer_before_the_request_was_read_is_taken_and_the_connection_dropped():
    async def script(peer: Peer) -> None:
        peer.writer.transport.pause_reading()
        await peer.answer(b"too large")
        await asyncio.get_running_loop().create_future()

    async with raw_server(script) as server, transport() as client:
        _, body = await fetch(client, server.origin, body=b"x" * 20_000_000)
        assert body == b"too large"
        (pool,) = client._pools.values()
        assert not pool._idle


async def test_read_timeout_may_be_changed_while_a_body_arrives():
    wire = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab"
    async with raw_server(once(wire)) as server, transport() as client:
        outgoing = request(server.origin, read=60.0)
        response = await client.handle_async_request(outgoing)
        assert await anext(aiter(response.stream)) == b"ab"
        outgoing.extensions["timeout"]["read"] = 0.01
        with pytest.raises(httpx.ReadTimeout):
            await anext(aiter(response.stream))


# --- giving up --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wire", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nab"]
)
async def test_cancellation_drops_the_connection_at_once(wire):
    ready, gone = asyncio.Event(), asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(wire)
        ready.set()
        await peer.gone()
        gone.set()

    async with raw_server(script) as server, transport() as client:
        task = asyncio.create_task(fetch(client, server.origin))
        await ready.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(gone.wait(), 60)
        (pool,) = client._pools.values()
        assert pool._n_slots == 0


async def test_cancellation_while_connecting_frees_the_slot():
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        with socket.create_connection(address):
            async with transport(max_connections=1) as client:
                task = asyncio.create_task(fetch(client, f"http://127.0.0.1:{address[1]}"))
                for _ in range(5):
                    await asyncio.sleep(0)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                (pool,) = client._pools.values()
                assert pool._n_slots == 0


async def test_closing_a_response_early_drops_the_connection_at_once():
    gone = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nab")
        await peer.gone()
        gone.set()

    async with raw_server(script) as server, transport() as client:
        response = await client.handle_async_request(request(server.origin))
        await response.aclose()
        await asyncio.wait_for(gone.wait(), 60)
        assert await anext(aiter(response.stream), None) is None


async def test_closing_the_transport_ends_running_requests_and_refuses_new_ones():
    started = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        started.set()
        await peer.gone()

    async with raw_server(script) as server, transport() as client:
        task = asyncio.create_task(fetch(client, server.origin))
        await started.wait()
        await client.aclose()
        with pytest.raises(httpx.ReadError):
            await task
        with pytest.raises(RuntimeError, match="closed"):
            await fetch(client, server.origin)


# --- TLS --------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def certificate(tmp_path_factory) -> tuple[Path, Path]:
    """Make a self-signed certificate for 127.0.0.1."""
    folder = tmp_path_factory.mktemp("tls")
    key, cert = folder / "key.pem", folder / "cert.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
    ]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("needs the openssl command")
    return key, cert


@pytest.fixture
def server_context(certificate) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate[1], certificate[0])
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context


async def test_tls_with_a_trusted_certificate_speaks_http_1(certificate, server_context):
    async def script(peer: Peer) -> None:
        assert peer.writer.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
        await serve_forever(peer)

    trusting = ssl.create_default_context(cafile=str(certificate[1]))
    trusting.set_alpn_protocols(["http/1.1"])
    async with (
        raw_server(script, ssl_context=server_context) as server,
        transport(ssl_context=trusting) as client,
    ):
        for _ in range(2):
            _, body = await fetch(client, server.origin)
            assert body == b'{"a":1}'
        assert server.n_connections == 1


async def test_tls_with_an_unknown_certificate_is_refused(server_context):
    async with (
        raw_server(serve_forever, ssl_context=server_context) as server,
        transport() as client,
    ):
        with pytest.raises(httpx.ConnectError, match="certificate"):
            await fetch(client, server.origin)


async def test_tls_connection_that_breaks_off_is_an_error(certificate, server_context):
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nab")
        peer.reset()

    trusting = ssl.create_default_context(cafile=str(certificate[1]))
    async with (
        raw_server(script, ssl_context=server_context) as server,
        transport(ssl_context=trusting) as client,
    ):
        with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
            await fetch(client, server.origin)


async def test_sockets_do_not_delay_small_writes():
    async with raw_server(serve_forever) as server, transport() as client:
        await fetch(client, server.origin)
        (pool,) = client._pools.values()
        (connection,) = pool._open
        sock = connection._transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
