"""The chat endpoint byte by byte, over sockets: what the upstream sees, what the client gets."""

import json
import re

import httpx
import pytest

from app import __version__
from app.main import create_app
from tests.support.gateway import stub_config
from tests.support.raw_server import raw_server

ASK = {"model": "auto", "messages": [{"role": "user", "content": "What is a steelyard?"}]}

ROUTED = {
    "x-request-id",
    "x-route-model",
    "x-route-policy",
    "x-route-policy-version",
    "x-route-decision-id",
    "x-route-reason",
    "x-route-predicted-quality",
    "x-route-evidence",
    "x-route-predicted-cost-usd",
    "x-route-router-ms",
    "x-route-overhead-ms",
    "x-route-session",
    "x-route-session-reason",
    "x-route-cache",
}
TIMED = {"x-route-predicted-ttft-ms", "x-route-predicted-latency-ms"}
"""Beside these, where a call is made."""
NUMBERS = (
    "x-route-predicted-quality",
    "x-route-predicted-cost-usd",
    "x-route-predicted-ttft-ms",
    "x-route-predicted-latency-ms",
    "x-route-router-ms",
    "x-route-overhead-ms",
)


@pytest.fixture
def client(gateway):
    with httpx.Client(base_url=gateway.url, trust_env=False) as client:
        yield client


def post(client, /, headers=None, **fields):
    return client.post("/v1/chat/completions", json={**ASK, **fields}, headers=headers)


def payloads(text):
    """Return the data of every event of a stream."""
    blocks = text.split("\n\n")
    assert blocks.pop() == ""
    return [block.removeprefix("data: ") for block in blocks if not block.startswith(":")]


def masked(body):
    """Hide the two things in which answers of the stub to the same request differ."""
    return re.sub(rb'"created":\d+', b"", re.sub(rb"-sim[0-9a-f]{8}", b"", body))


def routing_headers(response):
    return {name for name in response.headers if name.startswith(("x-route-", "x-request-id"))}


# --- bytes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields", [{}, {"n": 3}, {"tools": [{"type": "function", "function": {"name": "f"}}]}]
)
def test_a_whole_answer_is_what_the_upstream_sent_but_for_its_cost(client, stub, fields):
    request = {"model": "sim-frontier", "messages": ASK["messages"], **fields}
    routed = client.post("/v1/chat/completions", json=request)
    direct = httpx.post(f"{stub.base_url}/chat/completions", json=request, trust_env=False)
    assert routed.status_code == 200
    assert routed.headers["content-type"] == "application/json"
    told = re.search(rb',"cost_usd":([^}]+)', routed.content)
    assert masked(routed.content.replace(told[0], b"")) == masked(direct.content)
    # As exactly as the header says it.
    assert float(told[1]) == float(routed.headers["x-route-cost-usd"]) > 0


@pytest.mark.parametrize("include_usage", [False, True])
def test_a_stream_is_what_the_upstream_sent_but_for_usage(client, stub, include_usage):
    request = {"model": "sim-small", "messages": ASK["messages"], "stream": True}
    options = {"stream_options": {"include_usage": True}}
    routed = client.post(
        "/v1/chat/completions", json={**request, **(options if include_usage else {})}
    )
    direct = httpx.post(
        f"{stub.base_url}/chat/completions", json={**request, **options}, trust_env=False
    )
    *sent, sent_usage, done = payloads(masked(direct.content).decode())
    assert done == "[DONE]"
    *got, last = payloads(masked(routed.content).decode())
    assert last == "[DONE]"
    if include_usage:
        usage = json.loads(got.pop().replace("{,", "{").replace(",,", ","))
        expected = json.loads(sent_usage.replace("{,", "{").replace(",,", ","))
        assert usage["choices"] == []
        assert usage["usage"].pop("cost_usd") > 0
        assert usage == expected
    assert got == sent


async def test_only_model_and_routing_are_taken_from_the_body_of_a_request(fresh_gateway):
    seen = []
    answer = (
        b'{ "choices" : [ {"message": {"content":"A"}, "finish_reason" : "stop"} ], "x": 1.50,'
        b' "usage":{"prompt_tokens" :3, "completion_tokens":4} }\n'
    )

    async def upstream(peer):
        seen.append((await peer.request())[1])
        await peer.answer(answer, headers=b"content-type: text/json\r\n")

    fields = (
        b'"messages":[{"role":"user","content":"\\ud83d\\ude00","cache_control":{"a":1e3}}]',
        b'"seed":123456789012345678901234567890',
        b'"temperature": 0.10',
        b'"logit_bias":{"50256":-100.0}',
        b'"x_new":[ 1.0, null , {"b":"\\/"} ]',
        b'"stream_options":{"include_usage":true,"include_obfuscation":false}',
    )
    body = b'{"routing":{"cost_quality":1},%b,"model":"sim-nano"}' % b",".join(fields)
    async with raw_server(upstream) as raw:
        gateway = fresh_gateway({"upstreams.stub.base_url": f"{raw.origin}/v1"})
        async with httpx.AsyncClient(base_url=gateway.url, trust_env=False) as client:
            response = await client.post("/v1/chat/completions", content=body)
    for part in (b'[ {"message": {"content":"A"}, "finish_reason" : "stop"} ]', b'"x": 1.50'):
        assert part in response.content
    told = response.json()
    cost_usd = told["usage"].pop("cost_usd")
    assert (told, cost_usd) == (json.loads(answer), float(response.headers["x-route-cost-usd"]))
    (got,) = seen
    for field in fields:
        assert field.replace(b": ", b":", 1) in got.replace(b": ", b":", 1)
    assert json.loads(got) == {
        **{k: v for k, v in json.loads(body).items() if k != "routing"},
        "model": "sim-nano",
    }
    assert b"routing" not in got


async def test_a_stream_asks_for_usage_and_keeps_the_other_stream_options(fresh_gateway):
    seen = []

    async def upstream(peer):
        seen.append(json.loads((await peer.request())[1]))
        await peer.answer(
            b": warming up\n\n"
            b'data:{"choices":[{"index":0,"delta":{"content":"a"}}]}\r\n\r\n'
            b": ping\n\n"
            b'data: {"choices":[],\ndata: "usage":{"prompt_tokens":1,"completion_tokens":1}}\n\n'
            b"data: [DONE]\n\n",
            headers=b"content-type: text/event-stream\r\n",
        )

    async with raw_server(upstream) as raw:
        gateway = fresh_gateway({"upstreams.stub.base_url": f"{raw.origin}/v1"})
        async with httpx.AsyncClient(base_url=gateway.url, trust_env=False) as client:
            response = await client.post(
                "/v1/chat/completions",
                json={**ASK, "stream": True, "stream_options": {"include_obfuscation": False}},
            )
    assert seen[0]["stream_options"] == {"include_obfuscation": False, "include_usage": True}
    assert response.text == (
        ": warming up\n\n"
        'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'
        ": ping\n\n"
        "data: [DONE]\n\n"
    )


# --- headers ------------------------------------------------------------------------------------


def test_every_routing_header_is_on_a_whole_answer(client):
    response = post(client)
    assert routing_headers(response) == ROUTED | TIMED | {"x-route-cost-usd"}
    assert response.headers["x-route-model"] == response.json()["model"]
    assert response.headers["x-route-policy"] == "default"
    assert response.headers["x-route-reason"] == "knob"
    assert response.headers["openai-version"] == "2020-10-01"
    assert response.headers["x-upstream-request-id"] == response.json()["id"]
    for name in (*NUMBERS, "x-route-cost-usd"):
        assert float(response.headers[name]) >= 0


def test_every_routing_header_is_on_a_stream(client):
    response = post(client, stream=True)
    assert routing_headers(response) == ROUTED | TIMED
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.headers["cache-control"] == "no-cache"
    assert response.headers["x-accel-buffering"] == "no"
    assert response.headers["x-upstream-request-id"] == json.loads(payloads(response.text)[0])["id"]


@pytest.mark.parametrize("stream", [False, True])
def test_every_routing_header_is_on_an_error_after_the_decision(client, stub, stream):
    stub.add_fault("status", status=503, times=3)
    failed = post(client, stream=stream)
    assert failed.status_code == 502
    assert routing_headers(failed) == ROUTED
    stub.add_fault("status", status=400)
    rejected = post(client, stream=stream)
    assert rejected.status_code == 400
    assert routing_headers(rejected) == ROUTED
    nobody = post(client, stream=stream, headers={"x-route-max-cost": "0"})
    assert nobody.status_code == 400
    assert routing_headers(nobody) >= {"x-request-id", "x-route-policy", "x-route-decision-id"}


def test_a_pinned_model_has_the_headers_that_need_no_prediction(client):
    response = post(client, model="sim-nano")
    assert response.headers["x-route-reason"] == "pinned"
    assert response.headers["x-route-policy"] == "pinned"
    assert routing_headers(response) == (ROUTED | {"x-route-cost-usd"}) - {
        "x-route-predicted-quality",
        "x-route-evidence",
        "x-route-predicted-cost-usd",
        "x-route-session",
        "x-route-session-reason",
    }


def test_decision_ids_differ_and_policy_versions_do_not(client):
    first, second = post(client), post(client)
    assert first.headers["x-route-decision-id"] != second.headers["x-route-decision-id"]
    assert first.headers["x-route-policy-version"] == second.headers["x-route-policy-version"]


@pytest.mark.parametrize(
    ("method", "path", "content", "status"),
    [
        ("GET", "/healthz", b"", 200),
        ("GET", "/nowhere", b"", 404),
        ("DELETE", "/v1/chat/completions", b"", 405),
        ("POST", "/v1/chat/completions", b"{}", 400),
        ("POST", "/v1/chat/completions", b" " * 2048, 413),
        ("POST", "/v1/route", b" " * 2048, 413),
    ],
)
def test_every_answer_has_a_request_id(fresh_gateway, method, path, content, status):
    gateway = fresh_gateway({"server.max_body_bytes": 1024})
    with httpx.Client(base_url=gateway.url, trust_env=False) as client:
        made_up = client.request(method, path, content=content)
        mine = client.request(method, path, content=content, headers={"x-request-id": "a.B-1/2"})
    assert (made_up.status_code, mine.status_code) == (status, status)
    assert re.fullmatch(r"req-[0-9a-f]{24}", made_up.headers["x-request-id"])
    assert mine.headers["x-request-id"] == "a.B-1/2"


@pytest.mark.parametrize("unsafe", ["", "a b", 'a"b', "x" * 129, "<b>", b"\xff\xfe", "a,b"])
def test_a_request_id_that_is_not_safe_is_replaced(client, unsafe):
    response = client.get("/healthz", headers={"x-request-id": unsafe})
    assert re.fullmatch(r"req-[0-9a-f]{24}", response.headers["x-request-id"])


class BreakingClock:
    """A clock that works, but for one reading: the n-th from the arming on."""

    def __init__(self) -> None:
        self._breaks_at: int | None = None
        self.readings = 0

    def arm(self, breaks_at: int) -> None:
        self._breaks_at, self.readings = breaks_at, 0

    def __call__(self) -> float:
        self.readings += 1
        if self.readings == self._breaks_at:
            raise RuntimeError("the spring of /etc/clock is broken")
        return float(self.readings)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_defect_is_a_500_without_details_wherever_it_strikes(
    stub, artifacts, tmp_path, stream
):
    config = stub_config(tmp_path, stub.origin)
    statuses = []
    for breaks_at in range(1, 20):
        clock = BreakingClock()
        app = create_app(config, artifacts=artifacts, clock=clock)
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://gateway") as client,
        ):
            clock.arm(breaks_at)
            response = await post(client, stream=stream)
        assert "x-request-id" in response.headers
        assert "clock" not in response.text
        if clock.readings < breaks_at:
            assert response.status_code == 200
            assert len(statuses) > 4
            return
        statuses.append(response.status_code)
        if response.status_code == 500:
            assert response.json() == {
                "error": {
                    "message": response.json()["error"]["message"],
                    "type": "server_error",
                    "param": None,
                    "code": "internal_error",
                }
            }
    raise AssertionError("a request reads the clock less often than that")


async def test_the_upstream_sees_only_headers_of_the_allow_list(stub, fresh_gateway):
    gateway = fresh_gateway(
        {
            "upstreams.stub.api_key_env": "STUB_KEY",
            "upstreams.stub.extra_headers": {"x-team": "blue"},
        },
        env={"STUB_KEY": "sk-of-the-gateway"},
    )
    async with httpx.AsyncClient(base_url=gateway.url, trust_env=False) as client:
        response = await post(
            client,
            headers={
                "authorization": "Bearer sk-of-the-client",
                "api-key": "sk-of-the-client",
                "cookie": "session=1",
                "x-forwarded-for": "10.0.0.1",
                "x-request-id": "mine",
                "x-cost-quality": "0.4",
                "x-route-policy": "economy",
                "openai-beta": "assistants=v2",
                "idempotency-key": "key-1",
                "openai-organization": "org-of-the-client",
                "user-agent": "curl",
            },
        )
    assert response.status_code == 200
    (entry,) = stub.log()
    headers = dict(entry.headers)
    assert len(headers) == len(entry.headers)
    assert headers.pop("host") == stub.origin.removeprefix("http://")
    assert int(headers.pop("content-length")) > 0
    assert headers == {
        "content-type": "application/json",
        "accept": "application/json",
        "accept-encoding": "identity",
        "user-agent": f"steelyard/{__version__}",
        "authorization": "Bearer sk-of-the-gateway",
        "x-team": "blue",
        "openai-beta": "assistants=v2",
    }


async def test_an_idempotency_key_reaches_the_upstream_of_a_pinned_model_only(gateway, stub):
    async with httpx.AsyncClient(base_url=gateway.url, trust_env=False) as client:
        for model in ("auto", "sim-nano"):
            body = {"model": model, "messages": [{"role": "user", "content": "Hello"}]}
            headers = {"idempotency-key": "key-1"}
            response = await client.post("/v1/chat/completions", json=body, headers=headers)
            assert response.status_code == 200
    routed, pinned = (dict(entry.headers) for entry in stub.log())
    assert "idempotency-key" not in routed
    # In the gateway's words: an upstream must not take two callers for one.
    assert pinned["idempotency-key"].startswith("steelyard-")
    assert "key-1" not in pinned["idempotency-key"]


@pytest.mark.parametrize("status", [200, 400, 401, 500])
async def test_a_secret_that_the_upstream_repeats_is_kept_from_the_client(fresh_gateway, status):
    key = "sk-of-the-gateway"

    async def upstream(peer):
        await peer.request()
        error = b'{"error":{"message":"Incorrect API key: %b","code":"x"}}' % key.encode()
        await peer.send(
            b"HTTP/1.1 %d Whatever\r\nset-cookie: a=%b\r\nserver: secret/1\r\n"
            b"content-type: application/json\r\nx-api-key: %b\r\ncontent-length: %d\r\n\r\n%b"
            % (status, key.encode(), key.encode(), len(error), error)
        )

    async with raw_server(upstream) as raw:
        gateway = fresh_gateway(
            {
                "upstreams.stub.base_url": f"{raw.origin}/v1",
                "upstreams.stub.api_key_env": "STUB_KEY",
            },
            env={"STUB_KEY": key},
        )
        async with httpx.AsyncClient(base_url=gateway.url, trust_env=False) as client:
            response = await post(client)
    assert response.status_code >= 400
    assert set(response.json()["error"]) >= {"message", "type", "param", "code"}
    assert key not in response.text
    assert key not in str(response.headers)
    assert "set-cookie" not in response.headers
    assert "server" not in response.headers or "secret" not in response.headers["server"]


# --- time ---------------------------------------------------------------------------------------


def test_the_first_content_reaches_the_client_before_the_upstream_says_more(client, stub):
    stub.add_fault("stall_mid_stream", after_chunks=2)
    with client.stream("POST", "/v1/chat/completions", json={**ASK, "stream": True}) as response:
        lines = response.iter_lines()
        seen = [next(lines), next(lines), next(lines)]
        (entry,) = stub.log()
        assert (entry.ended, entry.chunks_sent) == ("running", 2)
    assert json.loads(seen[2].removeprefix("data: "))["choices"][0]["delta"]["content"] == "This"
    stub.log(wait_for="client_gone")


# --- explain ------------------------------------------------------------------------------------


def test_explain_adds_the_candidate_table_to_a_whole_answer(client):
    plain = post(client)
    explained = post(client, headers={"x-route-explain": "full"})
    assert masked(explained.content).startswith(masked(plain.content)[:-1])
    table = explained.json()["steelyard"]
    assert table["decision_id"] == explained.headers["x-route-decision-id"]
    assert table["decision"]["model"] == explained.headers["x-route-model"]
    (call,) = table["calls"]
    assert (call["role"], call["model"]) == ("answer", table["decision"]["model"])
    assert len(table["candidates"]) == 5
    assert all(0 <= each["predicted_quality"] <= 1 for each in table["candidates"])
    assert "steelyard" not in plain.json()


def test_explain_adds_the_candidate_table_to_the_first_event_of_a_stream(client):
    response = post(client, stream=True, routing={"explain": "full"})
    first, *rest, done = payloads(response.text)
    assert json.loads(first)["steelyard"]["decision"]["model"] == response.headers["x-route-model"]
    assert json.loads(first)["choices"][0]["delta"]["role"] == "assistant"
    assert all("steelyard" not in json.loads(each) for each in rest)
    assert done == "[DONE]"


async def test_explain_is_not_confused_by_comments(fresh_gateway):
    async def upstream(peer):
        await peer.request()
        await peer.answer(
            b': data: {"not": "an event"}\n\n'
            b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'
            b"data: [DONE]\n\n",
            headers=b"content-type: text/event-stream\r\n",
        )

    async with raw_server(upstream) as raw:
        gateway = fresh_gateway({"upstreams.stub.base_url": f"{raw.origin}/v1"})
        async with httpx.AsyncClient(base_url=gateway.url, trust_env=False) as client:
            response = await post(client, stream=True, headers={"x-route-explain": "full"})
    comment, event, done, _ = response.text.split("\n\n")
    assert comment == ': data: {"not": "an event"}'
    assert "candidates" in json.loads(event.removeprefix("data: "))["steelyard"]
    assert done == "data: [DONE]"
