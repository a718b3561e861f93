"""What any ASGI application gets from our side of a connection, on real sockets."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
import uvicorn
from uvicorn.server import ServerState

from app.api.asgi import ON_DISCONNECT
from app.server.bounds import ConnectionLimits
from app.server.protocol import GatewayProtocol

GET = b"GET /x%20y?q=1 HTTP/1.1\r\nhost: t\r\n\r\n"


def post(body: bytes, *, length: int | None = None) -> bytes:
    length = len(body) if length is None else length
    return b"POST /p HTTP/1.1\r\nhost: t\r\ncontent-length: %d\r\n\r\n%b" % (length, body)


@contextlib.asynccontextmanager
async def serving(app, **limits) -> AsyncIterator[tuple[str, int]]:
    config = uvicorn.Config(app, lifespan="off", log_config=None, proxy_headers=False)
    state = ServerState()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: GatewayProtocol(config, state, {}, limits=ConnectionLimits(**limits)),
        "127.0.0.1",
        0,
    )
    async with server:
        yield server.sockets[0].getsockname()
        server.close()
        for connection in list(state.connections):
            connection.transport.abort()


@contextlib.asynccontextmanager
async def asked(app, request: bytes, **limits):
    async with serving(app, **limits) as address:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(request)
        try:
            yield reader, writer
        finally:
            writer.close()


def answering(*bodies: bytes, headers=(), status=200):
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": status, "headers": list(headers)})
        for body in bodies[:-1]:
            await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body", "body": bodies[-1]})

    return app


async def head_of(reader) -> bytes:
    async with asyncio.timeout(60):
        return await reader.readuntil(b"\r\n\r\n")


async def rest_of(reader) -> bytes:
    async with asyncio.timeout(60):
        return await reader.read()


async def test_a_body_of_known_length_follows_its_head():
    app = answering(b"ab", b"cd", headers=[(b"Content-Length", b"4"), (b"x-a", b"1")])
    async with asked(app, GET) as (reader, _):
        head = await head_of(reader)
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"content-length: 4\r\n" in head
        assert b"x-a: 1\r\n" in head
        assert await reader.readexactly(4) == b"abcd"


async def test_a_body_of_unknown_length_is_chunked_and_its_head_does_not_wait_for_it():
    go_on = asyncio.Event()

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await go_on.wait()
        await send({"type": "http.response.body", "body": b"abc", "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async with asked(app, GET) as (reader, _):
        assert b"transfer-encoding: chunked" in await head_of(reader)
        go_on.set()
        assert await reader.readuntil(b"0\r\n\r\n") == b"3\r\nabc\r\n0\r\n\r\n"


@pytest.mark.parametrize("status", [204, 304])
async def test_an_answer_that_has_no_body_is_not_chunked(status):
    async with asked(answering(b"", status=status), GET) as (reader, writer):
        head = await head_of(reader)
        assert b"transfer-encoding" not in head
        writer.write(GET)  # and the connection goes on
        assert (await head_of(reader)).startswith(b"HTTP/1.1 %d" % status)


async def test_the_answer_to_head_is_a_head_alone():
    app = answering(b"abcd", headers=[(b"content-length", b"4")])
    request = GET.replace(b"GET", b"HEAD")
    async with asked(app, request) as (reader, writer):
        assert b"content-length: 4" in await head_of(reader)
        writer.write(request)
        assert (await head_of(reader)).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(("body", "length"), [(b"abc", b"2"), (b"abc", b"4")])
async def test_an_answer_of_another_length_than_it_says_ends_the_connection(body, length, caplog):
    app = answering(body, headers=[(b"content-length", length)])
    async with asked(app, GET) as (reader, _):
        assert not (await rest_of(reader)).endswith(b"abc\r\n")
    assert "content-length" in caplog.text


@pytest.mark.parametrize("value", [b"a\r\nset-cookie: b", b"a\nb", b"a\0b", b"a\x7fb"])
async def test_a_header_that_would_begin_another_one_is_not_sent(value, caplog):
    async with asked(answering(b"", headers=[(b"x-a", value)]), GET) as (reader, _):
        answer = await rest_of(reader)
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert b"set-cookie" not in answer
    assert "control character" in caplog.text


async def test_a_header_may_hold_what_is_not_ascii_and_a_tab():
    async with asked(answering(b"", headers=[(b"x-a", b"\xe9\tb")]), GET) as (reader, _):
        assert b"x-a: \xe9\tb\r\n" in await head_of(reader)


async def test_an_application_that_fails_or_says_nothing_is_answered_for(caplog):
    async def fails(scope, receive, send):
        raise RuntimeError("no")

    async def silent(scope, receive, send):
        return

    for app in (fails, silent):
        async with asked(app, GET) as (reader, _):
            answer = await rest_of(reader)
            assert answer.startswith(b"HTTP/1.1 500 ")
            assert b"connection: close" in answer
    assert "RuntimeError: no" in caplog.text


async def test_the_application_sees_the_request_in_parts_and_then_the_end():
    seen = []

    async def app(scope, receive, send):
        seen.append((scope["method"], scope["path"], scope["raw_path"], scope["query_string"]))
        while True:
            message = await receive()
            seen.append(message)
            if not message.get("more_body"):
                break
        await answering(b"ok", headers=[(b"content-length", b"2")])(scope, receive, send)
        seen.append(await receive())

    async with asked(app, post(b"abc", length=6)) as (reader, writer):
        while len(seen) < 2:
            await asyncio.sleep(0)
        writer.write(b"def")
        await head_of(reader)
        assert await reader.readexactly(2) == b"ok"
        writer.write(GET)
        await head_of(reader)
    first, second, third, end, again, *_ = seen
    assert first == ("POST", "/p", b"/p", b"")
    assert (second["body"], second["more_body"]) == (b"abc", True)
    assert (third["body"], third["more_body"]) == (b"def", False)
    assert end == {"type": "http.disconnect"}
    assert again == ("GET", "/x y", b"/x%20y", b"q=1")


async def test_a_client_that_goes_is_told_of_at_once_unless_nobody_cares():
    told, may_go = [], asyncio.Event()

    async def app(scope, receive, send):
        on_disconnect = scope["extensions"][ON_DISCONNECT]
        gone = asyncio.Event()
        on_disconnect(lambda: (told.append(scope["path"]), gone.set()))
        may_go.set()
        await gone.wait()
        on_disconnect(lambda: told.append("late"))  # it has gone already
        on_disconnect(None)
        assert await receive() == {"type": "http.disconnect"}
        await send({"type": "http.response.start", "status": 200, "headers": []})  # to nobody
        told.append("end")

    async with asked(app, GET) as (_, writer):
        await may_go.wait()
        writer.close()
        async with asyncio.timeout(60):
            while "end" not in told:
                await asyncio.sleep(0)
    assert told == ["/x y", "late", "end"]


async def test_nobody_is_told_of_a_client_that_goes_with_its_answer():
    told = []

    async def app(scope, receive, send):
        scope["extensions"][ON_DISCONNECT](lambda: told.append(1))
        await answering(b"ok", headers=[(b"content-length", b"2")])(scope, receive, send)

    async with asked(app, GET) as (reader, writer):
        await head_of(reader)
        await reader.readexactly(2)
        writer.write_eof()
        await rest_of(reader)
    assert told == []


async def test_an_idle_connection_is_closed_in_time_however_often_it_was_used():
    app = answering(b"ok", headers=[(b"content-length", b"2")])
    async with asked(app, GET, keep_alive_s=2) as (reader, writer):
        loop = asyncio.get_running_loop()
        for _ in range(4):
            await head_of(reader)
            assert await reader.readexactly(2) == b"ok"
            await asyncio.sleep(0.6)  # idle for less than the limit: that is what is tested
            began = loop.time()
            writer.write(GET)
        await head_of(reader)
        await reader.readexactly(2)
        assert await rest_of(reader) == b""
        assert loop.time() - began > 1.9


async def test_a_long_answer_outlives_the_limit_of_idle_connections():
    async def app(scope, receive, send):
        await asyncio.sleep(1.8)  # longer than a connection may be idle
        await answering(b"ok", headers=[(b"content-length", b"2")])(scope, receive, send)

    async with asked(app, GET, keep_alive_s=1.5) as (reader, writer):
        await head_of(reader)
        assert await reader.readexactly(2) == b"ok"
        writer.write(GET)
        await head_of(reader)


async def test_a_client_of_http_1_0_gets_no_chunks_and_reads_to_the_end():
    app = answering(b"ab", b"cd", b"")
    async with asked(app, b"GET / HTTP/1.0\r\n\r\n") as (reader, _):
        head = await head_of(reader)
        assert b"transfer-encoding" not in head
        assert b"connection: close" in head
        assert await rest_of(reader) == b"abcd"


@pytest.mark.parametrize("framing", [b"chunked", b"Chunked"])
async def test_an_application_cannot_send_chunks_to_a_client_of_http_1_0(framing):
    app = answering(b"ab", headers=[(b"transfer-encoding", framing)])
    async with asked(app, b"GET / HTTP/1.0\r\n\r\n") as (reader, _):
        assert b"transfer-encoding" not in await head_of(reader)
        assert await rest_of(reader) == b"ab"


async def test_a_client_of_http_1_0_that_asks_for_it_keeps_its_connection_where_lengths_are_known():
    app = answering(b"ok", headers=[(b"content-length", b"2")])
    request = b"GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n"
    async with asked(app, request) as (reader, writer):
        assert b"connection: keep-alive" in await head_of(reader)
        assert await reader.readexactly(2) == b"ok"
        writer.write(request.replace(b"connection: keep-alive\r\n", b""))
        assert b"connection: close" in await head_of(reader)
        assert await rest_of(reader) == b"ok"


async def test_a_client_of_http_1_0_keeps_no_connection_whose_answer_ends_with_it():
    app = answering(b"a", b"b")
    request = b"GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n"
    async with asked(app, request) as (reader, _):
        head = await head_of(reader)
        assert b"connection: close" in head
        assert b"keep-alive" not in head
        assert await rest_of(reader) == b"ab"


async def test_a_client_of_http_1_0_can_tell_an_answer_that_breaks_off_from_a_whole_one():
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        raise RuntimeError("no")

    async with asked(app, b"GET / HTTP/1.0\r\n\r\n") as (reader, _):
        with pytest.raises(ConnectionResetError):
            await rest_of(reader)


async def test_nobody_is_told_to_go_on_in_http_1_0():
    app = answering(b"ok", headers=[(b"content-length", b"2")])
    request = b"POST / HTTP/1.0\r\nexpect: 100-continue\r\ncontent-length: 1\r\n\r\nx"

    async def reads(scope, receive, send):
        await receive()
        await app(scope, receive, send)

    async with asked(reads, request) as (reader, _):
        assert (await rest_of(reader)).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("pieces", [1, 2, 7])
async def test_a_client_that_leaves_is_noticed_whatever_the_size_of_its_body(pieces):
    sizes = [64_000, 66_000, 70_000, 80_000, 300_000, 3_000_000]
    working, gone = asyncio.Event(), asyncio.Event()

    async def app(scope, receive, send):
        while (await receive())["more_body"]:
            pass
        scope["extensions"][ON_DISCONNECT](gone.set)
        working.set()
        await gone.wait()

    async with serving(app) as address:
        for size in sizes:
            working.clear()
            gone.clear()
            data = post(b"x" * size)
            _, writer = await asyncio.open_connection(*address)
            step = -(-len(data) // pieces)
            for start in range(0, len(data), step):
                writer.write(data[start : start + step])
                await writer.drain()
            async with asyncio.timeout(60):
                await working.wait()
                writer.close()
                await gone.wait()
