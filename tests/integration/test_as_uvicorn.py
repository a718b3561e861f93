"""Requests to our side of a connection and to uvicorn's own: both must agree where they should.

Our protocol inherits from uvicorn's and replaces most of it; this is what shows, for every new
version of uvicorn, that what is replaced still does the same.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator

import httptools
import pytest
import uvicorn
from hypothesis import given, settings
from hypothesis import strategies as st
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from app.server.bounds import ConnectionLimits
from app.server.protocol import GatewayProtocol

CLOSE = b"connection: close\r\n"
CLOSES = (b"connection", b"close")
LENGTH = (b"content-length", b"5")


def begins(status: int = 200, *headers: tuple[bytes, bytes]):
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


def part(body: bytes, *, more: bool = False):
    return {"type": "http.response.body", "body": body, "more_body": more}


TOO_LONG = [begins(200, LENGTH), part(b"sixsix")]

ANSWERS = {
    "/unread": [begins(200, LENGTH), part(b"five!")],
    "/chunks": [begins(), *(part(each, more=True) for each in (b"one", b"", b"two")), part(b"")],
    "/chunks-at-once": [begins(200, (b"X-Mixed", b"a"), (b"x-mixed", b"b")), part(b"one")],
    "/close": [begins(200, LENGTH, (b"connection", b"close")), part(b"five!")],
    "/empty": [begins(200, (b"content-length", b"0")), part(b"")],
    "/204": [begins(204), part(b"")],
    "/304": [begins(304), part(b"")],
    "/299": [begins(299), part(b"")],
    "/500": [begins(500), part(b"")],
    "/fails": [RuntimeError("no")],
    "/fails-late": [begins(), part(b"begun", more=True), RuntimeError("no")],
    "/silent": [],
    "/ends-early": [begins(), part(b"begun", more=True)],
    "/short": [begins(200, LENGTH), part(b"four")],
    "/body-first": [part(b"five!")],
    "/twice": [begins(), begins(), part(b"")],
}


async def app(scope, receive, send):
    """Answer as the path says, or with what was seen of the request."""
    messages = TOO_LONG if scope["path"] == "/long" else ANSWERS.get(scope["path"])
    if messages is None:
        messages = await seen(scope, receive)
    for message in messages:
        if isinstance(message, Exception):
            raise message
        await send(message)


async def seen(scope, receive):
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    told = {
        "body": body.hex(),
        "headers": [[name.hex(), value.hex()] for name, value in scope["headers"]],
        "query": scope["query_string"].hex(),
        "raw_path": scope["raw_path"].hex(),
        **{key: scope[key] for key in ("type", "method", "path", "http_version", "scheme")},
    }
    data = json.dumps(told, sort_keys=True).encode()
    return [begins(200, (b"content-length", b"%d" % len(data))), part(data)]


@contextlib.asynccontextmanager
async def serving(kind: str) -> AsyncIterator[tuple[str, int]]:
    config = uvicorn.Config(app, lifespan="off", log_config=None, proxy_headers=False)
    config.load()
    state = ServerState()

    def protocol() -> asyncio.Protocol:
        if kind == "uvicorn":
            return HttpToolsProtocol(config, state, {})
        return GatewayProtocol(config, state, {}, limits=ConnectionLimits())

    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()
        server.close()
        for connection in list(state.connections):
            connection.transport.abort()


async def answers_of(kind: str, requests: list[list[bytes]]) -> list[bytes]:
    """Return what comes back for each request on one connection, the last one until its end.

    A request is sent piece by piece, the next one once the answer to the one before is whole.
    """
    found = []
    async with asyncio.timeout(60), serving(kind) as address:
        reader, writer = await asyncio.open_connection(*address)
        for pieces in requests[:-1]:
            writer.writelines(pieces)
            found.append(await one_answer(reader))
        for piece in requests[-1]:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)  # a turn for the server: pieces come one by one
        with contextlib.suppress(ConnectionResetError):
            found.append(await reader.read())
        writer.close()
    return found


async def one_answer(reader: asyncio.StreamReader) -> bytes:
    whole, data = False, b""

    class Seen:
        def on_message_complete(self):
            nonlocal whole
            whole = True

    parser = httptools.HttpResponseParser(Seen())
    while not whole:
        part = await reader.read(65_536)
        assert part, "the connection ended"
        parser.feed_data(part)
        data += part
    return data


def comparable(answer: bytes) -> tuple[bytes, list[bytes], bytes]:
    """Return status line, headers in some order, and body; what is before an answer is in it."""
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *headers = head.split(b"\r\n")
    return status, sorted(headers), body


async def both(*requests: bytes | list[bytes]) -> tuple[list[bytes], list[bytes]]:
    pieces = [each if isinstance(each, list) else [each] for each in requests]
    return await answers_of("ours", pieces), await answers_of("uvicorn", pieces)


def get(target: bytes, headers: bytes = b"", *, method: bytes = b"GET") -> bytes:
    return b"%b %b HTTP/1.1\r\nhost: t\r\n%b%b\r\n" % (method, target, headers, CLOSE)


def post(body: bytes, *, headers: bytes = b"", target: bytes = b"/see") -> bytes:
    length = b"content-length: %d\r\n" % len(body)
    return get(target, headers + length, method=b"POST") + body


CHUNKED = b"transfer-encoding: chunked\r\n"

SAME = {
    "query": get(b"/a%20b/c?d=e&f=%20#g"),
    "escaped slash": get(b"/a%2Fb//c/../d"),
    "utf-8": get(b"/%C3%BC?%C3%BC"),
    "absolute": get(b"http://other/x?y"),
    "empty query": get(b"/x?"),
    "every server": get(b"*", method=b"OPTIONS"),
    "headers": get(b"/", b"X-Twice: a\r\nx-twice:  b \r\nx-empty:\r\nx-latin: \xe9\r\n"),
    "put": get(b"/", b"content-length: 0\r\n", method=b"PUT"),
    "delete": get(b"/", method=b"DELETE"),
    "head": get(b"/unread", method=b"HEAD"),
    "head of chunks": get(b"/chunks", method=b"HEAD"),
    "body": post(b"abc"),
    "empty body": post(b""),
    "large body": post(b"x" * 300_000),
    "body in pieces": [post(b"")[:30], post(b"")[30:].replace(b": 0", b": 4"), b"ab", b"cd"],
    "chunked body": get(b"/see", CHUNKED, method=b"POST") + b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n",
    "chunks of nothing": get(b"/see", CHUNKED, method=b"POST") + b"0\r\n\r\n",
    "a body with get": get(b"/see", b"content-length: 3\r\n") + b"abc",
    "what is no length of ours": get(b"/see", b"content-length: 003\r\n", method=b"POST") + b"abc",
    "1.0": b"GET /x?y HTTP/1.0\r\n\r\n",
    "1.0 that is kept": b"GET /unread HTTP/1.0\r\nconnection: keep-alive\r\n\r\n" + get(b"/see"),
    "1.0 with a body": b"POST /see HTTP/1.0\r\ncontent-length: 3\r\n\r\nabc",
    "an empty line before": b"\r\n" + get(b"/see"),
    "expectation": post(b"abc", headers=b"expect: 100-continue\r\n"),
    "expectation of an answer at once": post(
        b"abc", headers=b"expect: 100-continue\r\n", target=b"/unread"
    ),
    **{path[1:]: get(path.encode()) for path in ANSWERS},
}


@pytest.mark.parametrize("name", SAME)
async def test_requests_are_read_and_answered_alike(name):
    ours, theirs = await both(SAME[name])
    assert [comparable(each) for each in ours] == [comparable(each) for each in theirs]
    assert ours


async def test_a_connection_is_used_again_alike():
    requests = [get(b"/1"), post(b"abc"), get(b"/chunks"), get(b"/empty")]
    kept = [each.replace(CLOSE, b"") for each in requests]
    ours, theirs = await both(*kept, get(b"/last"))
    assert [comparable(each) for each in ours] == [comparable(each) for each in theirs]
    assert len(ours) == 5


def answers_in(data: bytes) -> list[tuple[int, list[tuple[bytes, bytes]], bytes]]:
    """Return every answer that came on a connection: status, headers in some order, and body."""
    found = []

    class Seen:
        def on_message_begin(self):
            self.headers, self.body = [], b""

        def on_header(self, name, value):
            self.headers.append((name, value))

        def on_body(self, body):
            self.body += body

        def on_message_complete(self):
            found.append((parser.get_status_code(), sorted(self.headers), self.body))

    parser = httptools.HttpResponseParser(Seen())
    parser.feed_data(data)
    return found


@pytest.mark.parametrize("step", [1, 7, 64, 10**6])
async def test_requests_that_do_not_wait_for_answers_are_all_answered_by_uvicorn_alone(step):
    sent = [*(get(b"/1"), post(b"abc"), get(b"/chunks"), get(b"/empty")), get(b"/204")]
    data = b"".join(each.replace(CLOSE, b"") for each in sent) + get(b"/last")
    pieces = [data[at : at + step] for at in range(0, len(data), step)]
    (ours,), (theirs,) = await both(pieces)
    assert len(answers_in(theirs)) == len(sent) + 1
    # Ours answers what came before something followed too early, says so, and closes.
    *before, (_, headers, _) = answers_in(ours)
    assert (b"connection", b"close") in headers
    *first, (status, theirs_headers, body) = answers_in(theirs)[: len(before) + 1]
    assert before == first
    assert answers_in(ours)[-1] == (status, sorted([*theirs_headers, CLOSES]), body)


async def test_trailers_become_headers_of_the_request_with_uvicorn_alone():
    request = get(b"/see", CHUNKED, method=b"POST") + b"3\r\nabc\r\n0\r\nx-sum: 1\r\n\r\n"
    ours, theirs = (json.loads(answers_in(each)[0][2]) for (each,) in await both(request))
    assert ours["body"] == theirs["body"] == b"abc".hex()
    assert [*ours["headers"], [b"x-sum".hex(), b"1".hex()]] == theirs["headers"]


async def test_what_comes_after_a_close_is_answered_by_neither():
    for (answer,) in await both(get(b"/1") + get(b"/2")):
        assert len(answers_in(answer)) == 1


REFUSED = {
    "chunks of no size": get(b"/", CHUNKED, method=b"POST") + b"z\r\nabc\r\n",
    "a chunk without its end": get(b"/", CHUNKED, method=b"POST") + b"3\r\nabcde\r\n0\r\n\r\n",
    "a header folded": b"GET / HTTP/1.1\r\nhost: t\r\nx: a\r\n b\r\n\r\n",
    "no method": b"/ HTTP/1.1\r\nhost: t\r\n\r\n",
    "two lengths in one": get(b"/", b"content-length: 3, 3\r\n", method=b"POST") + b"abc",
    "chunks that are not last": get(b"/", b"transfer-encoding: chunked, gzip\r\n", method=b"POST"),
    "nul in a header": get(b"/", b"x: a\x00b\r\n"),
    "no request": b"hello\r\n\r\n",
    "header without a colon": b"GET / HTTP/1.1\r\nhost t\r\n\r\n",
    "length and chunks": get(b"/", CHUNKED + b"content-length: 3\r\n", method=b"POST"),
    "two lengths": get(b"/", b"content-length: 3\r\ncontent-length: 4\r\n", method=b"POST"),
    "no number": get(b"/", b"content-length: x\r\n", method=b"POST"),
    "another protocol": b"GET / HTTP/3.7\r\n\r\n",
}


@pytest.mark.parametrize("name", REFUSED)
async def test_what_is_no_request_is_refused_alike_in_words_of_our_own(name):
    for answer in await both(REFUSED[name]):
        assert answer[0].startswith(b"HTTP/1.1 400 ")
        assert b"connection: close" in answer[0]


async def test_a_client_of_http_1_0_is_sent_chunks_by_uvicorn_alone():
    ours, theirs = await both(b"GET /chunks HTTP/1.0\r\n\r\n")
    assert b"onetwo" in ours[0]
    assert b"3\r\none\r\n" in theirs[0]


async def test_the_head_of_an_answer_that_is_too_long_is_kept_back_by_ours_alone():
    ours, theirs = await both(get(b"/long"))
    assert ours == [b""]
    assert comparable(theirs[0])[2] == b""


TOKENS = st.text("abcxyz-_", min_size=1, max_size=8).map(lambda text: b"x-" + text.encode())
VALUES = st.binary(max_size=12).map(
    lambda data: bytes(byte for byte in data if byte >= 32 and byte != 127)
)
TARGETS = st.text("abc/%20?=&.", max_size=20).map(lambda text: b"/" + text.encode())


@settings(max_examples=60, deadline=None)
@given(
    target=TARGETS,
    headers=st.lists(st.tuples(TOKENS, VALUES), max_size=4),
    chunks=st.lists(st.binary(min_size=1, max_size=40), max_size=4),
    chunked=st.booleans(),
    step=st.integers(1, 80),
)
def test_any_request_in_any_pieces_is_seen_alike(target, headers, chunks, chunked, step):
    lines = b"".join(b"%b: %b\r\n" % each for each in headers)
    if chunked:
        body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
        request = get(target, lines + CHUNKED, method=b"POST") + body + b"0\r\n\r\n"
    else:
        request = get(target, lines + b"content-length: %d\r\n" % len(b"".join(chunks)))
        request += b"".join(chunks)
    pieces = [request[at : at + step] for at in range(0, len(request), step)]
    ours, theirs = asyncio.run(both(pieces))
    assert [comparable(each) for each in ours] == [comparable(each) for each in theirs]
