"""What one client sends must cost the others nothing but their share of the processor."""

import asyncio
import contextlib
import json
import select
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.support.gateway import GatewayThread, stub_config
from tests.support.requests import assert_openai_error

TOKEN = "an-admin-token-of-the-tests"  # noqa: S105  (opens nothing else)
ASK = {"model": "auto", "messages": [{"role": "user", "content": "What is a steelyard?"}]}
DEEP = 100_000


def many(n, one):
    return ",".join([one] * n)


def asking(messages, **fields):
    more = "".join(f',"{name}":{value}' for name, value in fields.items())
    return f'{{"model":"auto","messages":[{messages}]{more}}}'.encode()


USER = '{"role":"user","content":"hi"}'
TURN = '{"role":"assistant","content":"a"}'
GREEDY = {
    "tiny assistant messages": lambda: asking(many(250_000, TURN)),
    "tiny user messages": lambda: asking(many(300_000, '{"role":"user"}')),
    "fields": lambda: (
        asking(USER)[:-1] + b"," + b",".join(b'"%d":1' % i for i in range(800_000)) + b"}"
    ),
    "parts": lambda: asking('{"role":"user","content":[' + many(300_000, '{"type":"text"}') + "]}"),
    "tools": lambda: asking(USER, tools="[" + many(3_000_000, "{}") + "]"),
    "names of models": lambda: asking(USER, routing='{"models":[' + many(2_000_000, '"a"') + "]}"),
    "digits": lambda: asking(USER, max_tokens="1" * 9_000_000),
    "escapes": lambda: asking('{"role":"user","content":"' + "\\u0041" * 1_500_000 + '"}', n="0"),
    "nested lists": lambda: asking(
        USER + ',{"role":"assistant","x":' + "[" * DEEP + "]" * DEEP + "}"
    ),
    "nested objects": lambda: asking(USER, metadata='{"a":' * DEEP + "1" + "}" * DEEP),
    "words of seals": lambda: asking(
        '{"role":"assistant","content":['
        + many(20_000, '{"type":"text","text":"signature"}')
        + "]}"
    ),
}


class HeldThreads(ThreadPoolExecutor):
    """The threads beside an event loop; while they are held, what they are to do waits."""

    def __init__(self):
        super().__init__(4)
        self.wanted = threading.Event()
        self.free = threading.Event()

    def submit(self, work, /, *args, **kwargs):
        self.wanted.set()
        return super().submit(self._later, work, *args, **kwargs)

    def _later(self, work, /, *args, **kwargs):
        self.free.wait(60)
        return work(*args, **kwargs)

    @contextlib.contextmanager
    def held(self):
        self.wanted.clear()
        self.free.clear()
        try:
            yield
        finally:
            self.free.set()


@pytest.fixture(scope="module")
def held_gateway(stub_thread, artifacts, tmp_path_factory):
    """Start a gateway whose threads can be held; return both."""
    config = stub_config(tmp_path_factory.mktemp("held"), stub_thread.origin)
    threads = HeldThreads()
    threads.free.set()
    with GatewayThread(config, artifacts=artifacts) as gateway:
        gateway.loop.call_soon_threadsafe(gateway.loop.set_default_executor, threads)
        yield gateway, threads


async def answered_beside(held_gateway, path, content, **headers):
    """Return the answer to a request that others overtook while a thread was to understand it."""
    gateway, threads = held_gateway
    async with httpx.AsyncClient(base_url=gateway.url, trust_env=False, timeout=60) as client:
        with threads.held():
            heavy = asyncio.create_task(client.post(path, content=content, headers=headers))
            assert await asyncio.to_thread(threads.wanted.wait, 60)
            assert (await client.get("/healthz")).status_code == 200
            assert (await client.post("/v1/route", json=ASK)).status_code == 200
            assert not heavy.done()
        return await heavy


@pytest.mark.parametrize("name", GREEDY)
async def test_another_client_is_answered_before_a_greedy_one(held_gateway, name):
    answer = await answered_beside(held_gateway, "/v1/chat/completions", GREEDY[name]())
    assert_openai_error(answer, status=400)


async def test_a_long_conversation_is_understood_beside_the_event_loop(held_gateway):
    turns = [
        {"role": "user" if i % 2 == 0 else "assistant", "content": "a" * 20} for i in range(9_999)
    ]
    content = json.dumps({**ASK, "messages": turns}).encode()
    assert (await answered_beside(held_gateway, "/v1/route", content)).json()["candidates"]


async def test_a_large_file_is_looked_through_beside_the_event_loop(held_gateway):
    head = b'--cut\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
    content = head + b'"{' * 500_000 + b"\r\n--cut--\r\n"  # no quote in it counts as JSON's
    form = {"content-type": "multipart/form-data; boundary=cut"}
    answer = await answered_beside(held_gateway, "/v1/audio/transcriptions", content, **form)
    assert "audio" in assert_openai_error(answer, status=400)["message"]


# --- what is no good counts -----------------------------------------------------------------------


@pytest.fixture
def keyed(fresh_gateway):
    return fresh_gateway(
        {
            "auth.mode": "keys",
            "store.data_dir": "store",
            "server.max_concurrent_requests": 4,
            "server.max_queued_requests": 0,
        },
        env={"STEELYARD_ADMIN_TOKEN": TOKEN},
    )


@pytest.fixture
def make(keyed):
    def make(**limits):
        answer = httpx.post(
            f"{keyed.url}/admin/keys",
            json={"name": "of the tests", "limits": limits},
            headers={"authorization": f"Bearer {TOKEN}"},
            trust_env=False,
        )
        return answer.json()["secret"]

    return make


def post(gateway, secret, content, path="/v1/chat/completions", **headers):
    headers = {"authorization": f"Bearer {secret}", "content-type": "application/json", **headers}
    return httpx.post(f"{gateway.url}{path}", content=content, headers=headers, trust_env=False)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/route"])
def test_requests_that_are_no_good_count_for_the_limit_of_requests(keyed, make, path):
    secret, other = make(requests_per_minute=4), make(requests_per_minute=4)
    bad = [
        (b"{", {}, 400),
        (json.dumps({**ASK, "model": "gpt-9"}).encode(), {}, 404),
        (b"{}", {"content-type": "text/plain"}, 415),
        (b"x" * 10_000_001, {}, 413),
    ]
    for content, headers, status in bad:
        assert_openai_error(post(keyed, secret, content, path, **headers), status=status)
    for content in (b"{", json.dumps(ASK).encode(), b"{"):
        refused = post(keyed, secret, content, path)
        error = assert_openai_error(refused, status=429)
        assert error["code"] == "key_requests_limit_exceeded"
        assert int(refused.headers["retry-after"]) >= 1
    assert post(keyed, other, json.dumps(ASK).encode(), path).status_code == 200


def test_nothing_is_read_of_who_sent_too_much_that_was_no_good(keyed, make):
    secret = make(requests_per_minute=1)
    assert_openai_error(post(keyed, secret, b"{"), status=400)
    assert_openai_error(post(keyed, secret, b"{"), status=429)
    with slow_body(keyed, secret) as client:  # it never comes, and is not waited for
        assert client.recv(65_536).startswith(b"HTTP/1.1 429 ")


# --- places ---------------------------------------------------------------------------------------


@contextlib.contextmanager
def slow_body(gateway, secret=None):
    host, _, port = gateway.url.removeprefix("http://").partition(":")
    key = f"authorization: Bearer {secret}\r\n" if secret else ""
    with socket.create_connection((host, int(port)), timeout=20) as client:
        client.sendall(
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: {host}\r\n{key}"
            "content-length: 1000\r\n\r\n{".encode()
        )
        yield client


def test_bodies_that_do_not_come_take_no_places_from_others(keyed, make):
    greedy, other = make(concurrent_requests=1), make()
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(slow_body(keyed, greedy)) for _ in range(30)]
        waiting = set(clients)
        while len(waiting) > 8:
            answered, _, _ = select.select(waiting, [], [], 30)
            assert answered
            assert all(each.recv(65_536).startswith(b"HTTP/1.1 429 ") for each in answered)
            waiting.difference_update(answered)
        for _ in range(5):
            assert post(keyed, other, json.dumps(ASK).encode()).status_code == 200
        assert len(waiting) == 8
        assert select.select(waiting, [], [], 0)[0] == []


def test_without_keys_every_address_has_a_share(fresh_gateway):
    gateway = fresh_gateway({"server.max_concurrent_requests": 2, "server.max_queued_requests": 0})
    with contextlib.ExitStack() as stack:
        for _ in range(10):
            stack.enter_context(slow_body(gateway))
        answer = httpx.post(f"{gateway.url}/v1/chat/completions", json=ASK, trust_env=False)
        assert answer.status_code == 200


def test_the_bodies_of_one_caller_take_no_more_than_half_of_the_room(fresh_gateway):
    gateway = fresh_gateway({"server.max_bodies_mb": 2})
    body = json.dumps({**ASK, "metadata": {"pad": "x" * 1_100_000}}).encode()
    refused = httpx.post(f"{gateway.url}/v1/route", content=body, trust_env=False)
    error = assert_openai_error(refused, status=503)
    assert "room" in error["message"]
    assert int(refused.headers["retry-after"]) >= 1
    for _ in range(5):  # what came of it was given back
        assert httpx.post(f"{gateway.url}/v1/route", json=ASK, trust_env=False).status_code == 200
