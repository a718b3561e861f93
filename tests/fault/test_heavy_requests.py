"""What one client sends must cost the others nothing but their share of the processor."""

import asyncio
import contextlib
import json
import socket

import httpx
import pytest

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


@pytest.mark.parametrize("name", GREEDY)
async def test_another_client_is_answered_before_a_greedy_one(gateway, name):
    body = GREEDY[name]()
    async with httpx.AsyncClient(
        base_url=gateway.url, trust_env=False, timeout=60, limits=httpx.Limits(max_connections=50)
    ) as client:
        greedy = [
            asyncio.create_task(client.post("/v1/chat/completions", content=body)) for _ in range(3)
        ]
        answered = 0
        while not all(each.done() for each in greedy):
            assert (await client.get("/healthz")).status_code == 200
            assert (await client.post("/v1/route", json=ASK)).status_code == 200
            answered += 1
        for each in greedy:
            assert_openai_error(each.result(), status=400)
    # Between two that stop the event loop there would be one round each.
    assert answered > 3 or len(body) < 1_000_000


async def test_a_long_conversation_is_understood_beside_the_event_loop(gateway):
    turns = [
        {"role": "user" if i % 2 == 0 else "assistant", "content": "a" * 20} for i in range(9_999)
    ]
    async with httpx.AsyncClient(base_url=gateway.url, trust_env=False, timeout=60) as client:
        long = asyncio.create_task(client.post("/v1/route", json={**ASK, "messages": turns}))
        rounds = 0
        while not long.done():
            assert (await client.get("/healthz")).status_code == 200
            rounds += 1
    assert rounds >= 2
    assert long.result().json()["candidates"]


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
        refused = [each for each in clients if _refused_at_once(each)]
        assert len(refused) == 30 - 8
        for _ in range(5):
            assert post(keyed, other, json.dumps(ASK).encode()).status_code == 200


def _refused_at_once(client):
    client.settimeout(1)
    try:
        return client.recv(65_536).startswith(b"HTTP/1.1 429 ")
    except TimeoutError:
        return False


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
