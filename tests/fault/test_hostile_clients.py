"""Clients that speak HTTP badly on purpose: each is bounded, none is answered twice."""

import asyncio
import contextlib
import json
import socket
import time
from urllib.parse import urlsplit

import httpx
import pytest
import uvicorn
from uvicorn.server import ServerState

from app.server.bounds import MAX_HEAD_BYTES, MAX_HEADERS, ConnectionLimits
from app.server.protocol import GatewayProtocol
from tests.support.requests import assert_openai_error
from tests.support.stub import StubThread
from tests.support.watching import assert_no_task_is_left, metric, until

ASK = b'{"model":"auto","messages":[{"role":"user","content":"What is a steelyard?"}]}'
ROUTE = b"POST /v1/route HTTP/1.1\r\nhost: x\r\n"
CHAT = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n"
LENGTH = b"content-length: %d\r\n" % len(ASK)
CHUNKED = b"transfer-encoding: chunked\r\n"
CHUNK = b"%x\r\n%b\r\n" % (len(ASK), ASK)
HEALTH = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"
FEW_S = 0.3
"""A time limit that is soon over, for what never comes in time."""
SOME_S = 2.5
"""One that is over while a client drips, and not before a busy machine lets it begin to."""


class Client:
    """A socket that sends what it is told and reads to the end."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.socket = socket.create_connection((parts.hostname, parts.port), timeout=60)

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def drip(self, data: bytes) -> None:
        """Send one byte after another until the server has had enough."""
        self.socket.settimeout(0.02)
        try:
            for i in range(len(data)):
                with contextlib.suppress(TimeoutError):
                    self.answered = self.socket.recv(65536)
                    return
                self.socket.sendall(data[i : i + 1])
        except ConnectionError:
            self.answered = b""
            return
        raise AssertionError("the server took all of it")

    def read(self) -> bytes:
        """Read one answer with a content-length."""
        data = b""
        while b"\r\n\r\n" not in data:
            got = self.socket.recv(65536)
            assert got, data
            data += got
        head, _, body = data.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        while len(body) < length:
            got = self.socket.recv(65536)
            assert got, data
            body += got
        return head + b"\r\n\r\n" + body

    def read_all(self) -> bytes:
        """Read until the server closes."""
        data = b""
        # What the server did not read before it closed makes a reset of its end.
        with contextlib.suppress(ConnectionResetError):
            while got := self.socket.recv(65536):
                data += got
        return data


@pytest.fixture
def connect():
    with contextlib.ExitStack() as stack:

        def connect(gateway):
            client = Client(gateway.url)
            stack.callback(client.socket.close)
            return client

        yield connect


def the_only_answer(data: bytes, status: int) -> dict:
    """Return the error of an answer that is alone."""
    assert data.startswith(b"HTTP/1.1 %d " % status), data[:300]
    assert data.count(b"HTTP/1.1 ") == 1
    head, _, body = data.partition(b"\r\n\r\n")
    assert b"connection: close" in head
    assert b"x-request-id: " in head
    return json.loads(body)["error"]


# --- requests of which two servers could think differently ----------------------------------------

SMUGGLED = {
    "a length and chunks": ROUTE + LENGTH + CHUNKED + b"\r\n0\r\n\r\n",
    "chunks and a length": ROUTE + CHUNKED + LENGTH + b"\r\n0\r\n\r\n",
    "the same length twice": ROUTE + LENGTH + LENGTH + b"\r\n" + ASK,
    "two lengths": ROUTE + LENGTH + b"content-length: 1\r\n\r\n" + ASK,
    "a list of lengths": ROUTE + b"content-length: 2, 2\r\n\r\n{}",
    "a signed length": ROUTE + b"content-length: +2\r\n\r\n{}",
    "a hexadecimal length": ROUTE + b"content-length: 0x2\r\n\r\n{}",
    "no coding": ROUTE + b"transfer-encoding: identity\r\n" + LENGTH + b"\r\n" + ASK,
    "an unknown coding": ROUTE + b"transfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunks that are not last": ROUTE + b"transfer-encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "chunks of something packed": ROUTE + b"transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunks twice": ROUTE + CHUNKED + CHUNKED + b"\r\n0\r\n\r\n",
    "chunks behind a vertical tab": ROUTE + b"transfer-encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "chunks before HTTP/1.1": ROUTE.replace(b"1.1", b"1.0") + CHUNKED + b"\r\n" + CHUNK,
    "a folded line": ROUTE + b"x: a\r\n b\r\n" + LENGTH + b"\r\n" + ASK,
    "a folded coding": ROUTE + b"transfer-encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "bare line feeds": (ROUTE + LENGTH).replace(b"\r\n", b"\n") + b"\n" + ASK,
    "one bare line feed": ROUTE + b"x: y\ntransfer-encoding: chunked\r\n" + LENGTH + b"\r\n" + ASK,
    "a bare carriage return": ROUTE + b"x: y\rz: w\r\n" + LENGTH + b"\r\n" + ASK,
    "a blank before the colon": ROUTE + b"content-length : 2\r\n\r\n{}",
    "a blank before the name": ROUTE + b" content-length: 2\r\n\r\n{}",
    "a NUL": ROUTE + b"x: a\0b\r\n" + LENGTH + b"\r\n" + ASK,
    "a chunk that ends in a line feed": ROUTE + CHUNKED + b"\r\n2\n{}\n0\n\n",
    "a negative chunk": ROUTE + CHUNKED + b"\r\n-2\r\n{}\r\n0\r\n\r\n",
    "a chunk of 0x": ROUTE + CHUNKED + b"\r\n0x2\r\n{}\r\n0\r\n\r\n",
    "a chunk longer than numbers are": ROUTE + CHUNKED + b"\r\nfffffffffffffffff\r\n{}",
    "a chunk longer than it says": ROUTE + CHUNKED + b"\r\n1\r\n{}\r\n0\r\n\r\n",
    "no host": b"POST /v1/route HTTP/1.1\r\n" + LENGTH + b"\r\n" + ASK,
    "two hosts": ROUTE + b"host: y\r\n" + LENGTH + b"\r\n" + ASK,
    "a tunnel": b"CONNECT upstream:443 HTTP/1.1\r\nhost: x\r\n\r\n",
    "another protocol": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}


@pytest.mark.parametrize("name", SMUGGLED)
def test_what_could_be_understood_in_two_ways_is_refused_and_the_connection_closed(
    gateway, connect, stub, name
):
    client = connect(gateway)
    client.send(SMUGGLED[name] + HEALTH)
    error = the_only_answer(client.read_all(), 400)
    assert error["type"] == "invalid_request_error"
    assert stub.log() == []


def test_a_body_is_never_taken_for_a_request(gateway, connect):
    client = connect(gateway)
    client.send(ROUTE + b"content-length: %d\r\n\r\n" % len(HEALTH) + HEALTH)
    assert client.read().startswith(b"HTTP/1.1 400 ")
    client.send(HEALTH)
    assert b'"ok"' in client.read()


def test_trailers_never_become_headers(gateway, connect):
    client = connect(gateway)
    client.send(ROUTE + CHUNKED + b"\r\n" + CHUNK + b"0\r\nx-route-nonsense: 1\r\n\r\n")
    assert client.read().startswith(b"HTTP/1.1 200 ")


def test_a_second_request_on_the_heels_of_the_first_is_left_to_be_sent_again(
    gateway, connect, stub
):
    client = connect(gateway)
    client.send((CHAT + LENGTH + b"\r\n" + ASK) * 3)
    data = client.read_all()
    assert data.startswith(b"HTTP/1.1 200 ")
    assert data.count(b"HTTP/1.1 ") == 1
    assert b"connection: close" in data.partition(b"\r\n\r\n")[0]
    assert len(stub.log()) == 1


def test_what_comes_during_a_stream_is_not_answered_into_it(gateway, connect, stub):
    stub.add_fault("slow_drip", interval_s=0.0005)
    body = ASK[:-1] + b',"stream":true,"max_tokens":2}'
    client = connect(gateway)
    client.send(CHAT + b"content-length: %d\r\n\r\n" % len(body) + body)
    first = client.socket.recv(65536)
    client.send(b"nonsense \0\r\n\r\n" + HEALTH)
    data = first + client.read_all()
    assert data.count(b"HTTP/1.1 ") == 1
    assert b"data: [DONE]\n\n" in data


def test_a_client_that_leaves_after_a_second_request_takes_the_first_ones_upstream_call_with_it(
    fresh_gateway, connect
):
    with StubThread() as own:
        gateway = fresh_gateway({"upstreams.stub.base_url": own.base_url})
        own.add_fault("stall_before_headers")
        client = connect(gateway)
        client.send((CHAT + LENGTH + b"\r\n" + ASK) * 2)
        own.log(wait_for="running")
        client.socket.close()
        (entry,) = own.log(wait_for="client_gone")
        assert entry.chunks_sent == 0
        until(gateway, "gateway_requests_in_flight", 0)
        assert_no_task_is_left(gateway)


@pytest.mark.parametrize("apart", [False, True])
def test_the_wish_for_another_protocol_is_ignored_and_the_body_read(gateway, connect, apart):
    head = ROUTE + b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AA\r\n"
    client = connect(gateway)
    for _ in range(2):
        if apart:
            client.send(head + LENGTH + b"\r\n")
            client.send(ASK)
        else:
            client.send(head + CHUNKED + b"\r\n" + CHUNK + b"0\r\n\r\n")
        answer = client.read()
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b'"route.decision"' in answer


def test_a_websocket_is_not_to_be_had(gateway, connect):
    client = connect(gateway)
    client.send(
        HEALTH[:-2] + b"connection: upgrade\r\nupgrade: websocket\r\n"
        b"sec-websocket-version: 13\r\nsec-websocket-key: x3JJHMbDL1EzLkh9GBhXDw==\r\n\r\n"
    )
    assert client.read().startswith(b"HTTP/1.1 200 ")


# --- more than a connection takes -----------------------------------------------------------------


@pytest.mark.parametrize(
    "head",
    [
        ROUTE + b"x: " + b"a" * 1_000_000 + b"\r\n",
        ROUTE + b"".join(b"h%d: v\r\n" % i for i in range(100_000)),
        ROUTE + b"h:\r\n" * (MAX_HEADERS + 1),
        ROUTE + b"a" * (MAX_HEAD_BYTES + 1) + b": 1\r\n",
        b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\nhost: x\r\n",
        ROUTE + CHUNKED + b"\r\n0\r\n" + b"".join(b"h%d: v\r\n" % i for i in range(100_000)),
    ],
    ids=["a header", "headers", "empty headers", "a name", "a path", "trailers"],
)
def test_a_head_that_is_too_large_is_refused(gateway, connect, head):
    client = connect(gateway)
    with contextlib.suppress(ConnectionError):
        client.send(head + b"\r\n")
    answer = client.read_all()
    if answer:  # a reset can overtake it
        assert the_only_answer(answer, 431)["code"] == "request_head_too_large"


def test_a_head_just_within_the_bound_is_served(gateway, connect):
    client = connect(gateway)
    headers = b"".join(b"h%d: %b\r\n" % (i, b"v" * 250) for i in range(MAX_HEADERS - 2))
    assert len(headers) > MAX_HEAD_BYTES * 0.75
    client.send(ROUTE + headers + LENGTH + b"\r\n" + ASK)
    assert client.read().startswith(b"HTTP/1.1 200 ")


def test_a_line_without_an_end_is_cut_off(fresh_gateway, connect):
    gateway = fresh_gateway({"server.body_timeout_s": FEW_S})  # and no longer for its goodbye
    for begin in (ROUTE + b"x: ", b"GET /", ROUTE, ROUTE + b"x-"):
        client = connect(gateway)
        client.send(begin)
        n_bytes = 0
        with contextlib.suppress(ConnectionError):
            while n_bytes < 100_000_000:
                client.send(b"a" * 65_536)
                n_bytes += 65_536
        # What the systems on both sides hold is more than what the gateway does.
        assert n_bytes < 20_000_000, begin


@pytest.mark.parametrize("coding", ["br", "compress", "zstd, zstd", "gzip, gzip", "gzip, br", "x"])
def test_a_compression_that_is_not_known_is_refused_unopened(gateway, coding):
    with httpx.Client(base_url=gateway.url, trust_env=False) as client:
        headers = {"content-encoding": coding, "content-type": "application/json"}
        answer = client.post("/v1/chat/completions", content=ASK, headers=headers)
        error = assert_openai_error(answer, status=415)
        assert "content-encoding" in str(error["message"])
        headers["content-encoding"] = "identity"
        assert client.post("/v1/route", content=ASK, headers=headers).status_code == 200


DEEP = 100_000
NUMBER = "9" * 200_000


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/route"])
@pytest.mark.parametrize(
    "body",
    [
        "[" * DEEP,
        '{"a":' * DEEP,
        '{"model":' + "[" * DEEP + "]" * DEEP + "}",
        '{"model":"auto","messages":' + "[" * DEEP + "]" * DEEP + "}",
        '{"model":"auto","messages":[{"role":"user","content":' + "[" * DEEP + "]" * DEEP + "}]}",
        ASK[:-1].decode() + ',"tools":' + '[{"a":' * DEEP + "1" + "}]" * DEEP + "}",
        ASK[:-1].decode() + ',"x":' + "[" * DEEP + "]" * DEEP + "}",
        ASK[:-1].decode() + ',"routing":' + '{"a":' * DEEP + "1" + "}" * DEEP + "}",
        ASK[:-1].decode() + f',"max_tokens":{NUMBER}}}',
        ASK[:-1].decode() + f',"n":-1e{NUMBER}}}',
        ASK[:-1].decode() + f',"routing":{{"max_cost":{NUMBER}}}}}',
        '{"model":"' + "a" * 1_000_000 + '","messages":[{"role":"user"}]}',
    ],
    ids=lambda body: body[:60] if isinstance(body, str) else None,
)
def test_deep_and_huge_values_are_the_clients_mistake(gateway, path, body):
    with httpx.Client(base_url=gateway.url, trust_env=False, timeout=30) as client:
        answer = client.post(path, content=body)
        assert 400 <= answer.status_code < 500
        assert len(answer.content) < 5_000
        assert_openai_error(answer)
        assert client.get("/healthz").status_code == 200


# --- slower than a connection waits ---------------------------------------------------------------


@pytest.fixture
def hasty(fresh_gateway):
    """Run gateways that do not wait for something: ``hasty(head_timeout_s=FEW_S)``."""

    def start(**limits):
        return fresh_gateway({"server": {"max_connections": 6, **limits}})

    return start


def test_a_connection_on_which_nothing_comes_is_closed(hasty, connect):
    assert connect(hasty(head_timeout_s=FEW_S)).read_all() == b""


def test_line_breaks_alone_keep_no_connection_open(hasty, connect):
    client = connect(hasty(head_timeout_s=FEW_S))
    client.drip(b"\r\n" * 5_000)
    assert client.answered == b""


def test_a_connection_is_closed_when_no_further_request_comes(hasty, connect):
    client = connect(hasty(keep_alive_s=FEW_S))
    client.send(HEALTH)
    assert client.read_all().count(b"HTTP/1.1 200 ") == 1


@pytest.mark.parametrize("earlier", [0, 2])
def test_a_head_that_drips_in_is_a_408(hasty, connect, earlier):
    client = connect(hasty(head_timeout_s=SOME_S))
    for _ in range(earlier):
        client.send(HEALTH)
        client.read()
    client.drip(ROUTE + b"x: y\r\n" * 1_000)
    assert the_only_answer(client.answered, 408)["code"] == "request_timeout"


def test_a_body_that_drips_in_is_a_408_and_leaves_nothing_behind(hasty, connect, stub):
    gateway = hasty(body_timeout_s=FEW_S)
    client = connect(gateway)
    client.send(CHAT + b"content-length: 5000\r\n\r\n")
    client.drip(b" " * 5_000)
    assert the_only_answer(client.answered, 408)["code"] == "request_timeout"
    until(gateway, "gateway_requests_in_flight", 0)
    assert_no_task_is_left(gateway)
    assert stub.log() == []


def test_chunks_that_say_nothing_do_not_hold_a_request_open(hasty, connect):
    client = connect(hasty(body_timeout_s=FEW_S))
    client.send(CHAT + CHUNKED + b"\r\n")
    client.drip(b"1;" + b"x" * 5_000)
    the_only_answer(client.answered, 408)


def test_slowness_is_measured_anew_for_every_request(hasty, connect):
    client = connect(hasty(head_timeout_s=SOME_S, body_timeout_s=SOME_S))
    began = time.monotonic()
    while time.monotonic() - began < 1.5 * SOME_S:
        client.send(ROUTE + LENGTH + b"\r\n" + ASK)
        assert client.read().startswith(b"HTTP/1.1 200 ")


def test_a_client_that_was_refused_early_does_not_go_on_sending_for_ever(fresh_gateway, connect):
    gateway = fresh_gateway({"server": {"max_body_bytes": 2048, "body_timeout_s": FEW_S}})
    client = connect(gateway)
    client.send(CHAT + b"content-length: 1000000000\r\n\r\n")
    assert client.read().startswith(b"HTTP/1.1 413 ")
    with pytest.raises(ConnectionError):  # noqa: PT012  (which of the sends fails is not known)
        for _ in range(10_000):
            client.send(b" " * 1_000_000)


def test_connections_beyond_the_bound_are_turned_away_and_those_within_it_served(
    fresh_gateway, connect
):
    gateway = fresh_gateway({"server": {"max_connections": 5}})
    inside = [connect(gateway) for _ in range(5)]
    for client in inside:
        client.send(HEALTH)
        assert b'"ok"' in client.read()
    refused = the_only_answer(connect(gateway).read_all(), 503)
    assert refused["code"] == "overloaded"
    inside[0].send(HEALTH)
    assert b'"ok"' in inside[0].read()
    inside.pop().socket.close()
    deadline = time.monotonic() + 60
    answer = b""
    while b'"ok"' not in answer and time.monotonic() < deadline:
        client = connect(gateway)
        with contextlib.suppress(ConnectionError):
            client.send(HEALTH)
            answer = client.socket.recv(65536)
        client.socket.close()
    assert b'"ok"' in answer


def test_a_crowd_of_slow_clients_takes_nothing_from_the_others(fresh_gateway, connect):
    gateway = fresh_gateway({"server": {"max_concurrent_requests": 10, "head_timeout_s": 60}})
    for _ in range(200):
        connect(gateway).send(CHAT + b"x: ")
    with httpx.Client(base_url=gateway.url, trust_env=False) as client:
        assert client.post("/v1/chat/completions", content=ASK).status_code == 200
    # Who has sent no whole head holds no place.
    assert metric(gateway, "gateway_requests_in_flight") == 0


async def test_a_client_that_does_not_take_its_answer_is_dropped():
    answer = b"x" * 20_000_000  # more than the systems on both sides hold

    async def app(scope, receive, send):
        headers = [(b"content-length", b"%d" % len(answer))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    loop = asyncio.get_running_loop()
    config = uvicorn.Config(app, lifespan="off", log_config=None, proxy_headers=False)
    state = ServerState()
    limits = ConnectionLimits(keep_alive_s=0.1, stalled_s=0.1)
    server = await loop.create_server(
        lambda: GatewayProtocol(config, state, {}, limits=limits), "127.0.0.1", 0
    )
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname(), limit=1024)
        writer.write(HEALTH)
        await reader.readuntil(b"\r\n\r\n")
        assert len(state.connections) == 1
        async with asyncio.timeout(60):
            while state.connections:
                await asyncio.sleep(0.01)
        writer.close()
