"""The simulated upstream through OpenAI's own client, and its test controls."""

import asyncio
import contextlib
import json
import socket
import time

import httpx
import openai
import pytest

from app.stub.http import Exchange, HttpProtocol
from app.stub.log import Ended
from app.stub.server import SMALL_MODELS, StubServer
from app.stub.tiers import TIERS, Tier
from tests.support.stub import stub_process

MESSAGES = [{"role": "user", "content": "Why is the sky blue?"}]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
]


@pytest.fixture
async def stub():
    async with StubServer(speed=0) as server:
        yield server


@pytest.fixture
async def client(stub):
    async with openai.AsyncOpenAI(base_url=stub.base_url, api_key="x", max_retries=0) as made:
        yield made


@pytest.fixture
async def http(stub):
    origin = stub.base_url.removesuffix("/v1")
    async with httpx.AsyncClient(base_url=origin, trust_env=False) as made:
        yield made


async def test_models_are_listed(client):
    listed = [model.id async for model in client.models.list()]
    assert listed == [*TIERS, *SMALL_MODELS]


async def test_choices_are_counted_in_usage(client):
    answer = await client.chat.completions.create(model="sim-nano", messages=MESSAGES, n=3)
    texts = [choice.message.content for choice in answer.choices]
    assert len(texts) == 3
    words = sum(len(text.split()) for text in texts)
    assert answer.usage.completion_tokens == words
    assert answer.usage.total_tokens == words + answer.usage.prompt_tokens


@pytest.mark.parametrize("n", [1, 3])
async def test_stream_and_whole_answer_agree(client, n):
    whole = await client.chat.completions.create(model="sim-nano", messages=MESSAGES, n=n)
    stream = await client.chat.completions.create(
        model="sim-nano",
        messages=MESSAGES,
        n=n,
        stream=True,
        stream_options={"include_usage": True},
    )
    texts = [""] * n
    reasons = [None] * n
    usage = None
    async for chunk in stream:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
            reasons[choice.index] = choice.finish_reason or reasons[choice.index]
    assert texts == [choice.message.content for choice in whole.choices]
    assert reasons == ["stop"] * n
    assert usage == whole.usage


async def test_usage_is_streamed_only_where_asked_for(stub, http):
    body = {"model": "sim-nano", "messages": MESSAGES, "stream": True}
    text = (await http.post("/v1/chat/completions", json=body)).text
    assert "usage" not in text
    events = text.split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    first = json.loads(events[0].removeprefix("data: "))
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": "", "refusal": None}


async def test_tool_calls_come_whole_and_as_deltas(client):
    asked = {"model": "sim-nano", "messages": MESSAGES, "tools": TOOLS, "tool_choice": "required"}
    whole = await client.chat.completions.create(**asked)
    (call,) = whole.choices[0].message.tool_calls
    assert call.function.name == "get_weather"
    arguments = ""
    async for chunk in await client.chat.completions.create(**asked, stream=True):
        for delta in chunk.choices[0].delta.tool_calls or ():
            arguments += delta.function.arguments
    assert json.loads(arguments) == json.loads(call.function.arguments) == {"city": "simulated"}


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"model": "gpt-7", "messages": MESSAGES}, 404, "model_not_found"),
        ({"messages": MESSAGES}, 400, None),
        ({"model": "sim-nano"}, 400, None),
        ({"model": "sim-nano", "messages": []}, 400, None),
        ({"model": "sim-nano", "messages": MESSAGES, "n": 1000}, 400, None),
        ([], 400, None),
    ],
)
async def test_bad_requests_get_errors_in_openais_shape(http, body, status, code):
    response = await http.post("/v1/chat/completions", json=body)
    assert response.status_code == status
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == code


async def test_broken_json_and_unknown_paths(http):
    response = await http.post("/v1/chat/completions", content=b"{")
    assert response.status_code == 400
    response = await http.get("/v1/nothing")
    assert (response.status_code, response.json()["error"]["code"]) == (404, "unknown_url")


async def test_faults_and_log_are_driven_over_http(stub, http):
    fault = {"fault": "status", "status": 429, "retry_after_s": 3, "model": "sim-nano"}
    assert (await http.post("/stub/faults", json=[fault])).status_code == 200
    body = {"model": "sim-nano", "messages": MESSAGES}
    response = await http.post("/v1/chat/completions", json=body)
    assert (response.status_code, response.headers["retry-after"]) == (429, "3")
    assert (await http.post("/v1/chat/completions", json=body)).status_code == 200
    log = (await http.get("/stub/log", params={"wait_for": "complete"})).json()
    assert log["found"]
    assert [entry["ended"] for entry in log["entries"]] == ["fault", "complete"]
    assert log["entries"][1]["body"] == body
    await http.post("/stub/reset")
    assert (await http.get("/stub/log")).json()["entries"] == []


@pytest.mark.parametrize(
    ("path", "body"),
    [("/stub/faults", b'{"fault":"no-such-fault"}'), ("/stub/faults", b'{"fault":"status","x":1}')],
)
async def test_faults_that_do_not_exist_are_refused(http, path, body):
    assert (await http.post(path, content=body)).status_code == 400


async def test_waiting_for_what_does_not_come_is_bounded(http):
    params = {"wait_for": "client_gone", "timeout_s": "0.01"}
    assert not (await http.get("/stub/log", params=params)).json()["found"]
    assert (await http.get("/stub/log", params={"wait_for": "x"})).status_code == 400


async def test_pace_follows_tier_and_speed():
    tier = Tier(time_to_first_token_s=1.0, tokens_per_s=100.0, mean_output_tokens=30)
    async with StubServer(tiers={"sim": tier}, speed=20) as stub:
        client = openai.AsyncOpenAI(base_url=stub.base_url, api_key="x")
        started = time.perf_counter()
        stream = await client.chat.completions.create(
            model="sim", messages=MESSAGES, stream=True, max_tokens=21
        )
        times = [time.perf_counter() - started async for chunk in stream]
        await client.close()
    assert times[1] >= 0.05  # the first token, after the role
    assert times[-1] >= 0.05 + 20 / 100 / 20


async def test_the_role_does_not_wait_for_the_first_token():
    never = Tier(time_to_first_token_s=3600.0, tokens_per_s=100.0, mean_output_tokens=30)
    async with StubServer(tiers={"sim": never}) as stub:
        client = openai.AsyncOpenAI(base_url=stub.base_url, api_key="x")
        stream = await client.chat.completions.create(model="sim", messages=MESSAGES, stream=True)
        async with asyncio.timeout(60):
            first = await anext(aiter(stream))
        assert first.choices[0].delta.role == "assistant"
        await stream.close()
        await client.close()


async def test_client_that_leaves_is_noticed(stub, client):
    slow = Tier(time_to_first_token_s=60, tokens_per_s=1, mean_output_tokens=30)
    async with StubServer(tiers={"sim": slow}) as waiting:
        patient = openai.AsyncOpenAI(base_url=waiting.base_url, api_key="x")
        task = asyncio.create_task(patient.chat.completions.create(model="sim", messages=MESSAGES))
        assert await waiting.log.wait_for(Ended.RUNNING, timeout_s=60)
        task.cancel()
        assert await waiting.log.wait_for(Ended.CLIENT_GONE, timeout_s=60)
        await patient.close()


async def test_requests_out_of_turn_and_no_http_are_dropped(stub):
    for data in (
        b"\x16\x03\x01nonsense\r\n\r\n",
        b"GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n" * 2,
    ):
        reader, writer = await asyncio.open_connection(stub.host, stub.port)
        writer.write(data)
        answer = await asyncio.wait_for(reader.read(), 60)
        assert answer.count(b"HTTP/1.1 200") <= 1
        writer.close()
        await writer.wait_closed()


async def test_http_1_0_and_expectations(stub):
    reader, writer = await asyncio.open_connection(stub.host, stub.port)
    writer.write(b"POST /stub/reset HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n")
    assert (await reader.readline()).startswith(b"HTTP/1.1 100")
    writer.write(b"{}")
    await reader.readuntil(b"{}")
    writer.write(b"GET /v1/models HTTP/1.1\r\nconnection: close\r\n\r\n")
    assert b"sim-nano" in await asyncio.wait_for(reader.read(), 60)
    writer.close()
    await writer.wait_closed()


async def test_handler_that_fails_is_logged_and_its_client_let_go(caplog):
    async def broken(exchange: Exchange) -> None:
        raise RuntimeError(exchange.path)

    connections: set[HttpProtocol] = set()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: HttpProtocol(broken, connections, number=0), "127.0.0.1", 0
    )
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.write(b"GET /x HTTP/1.1\r\n\r\n")
    assert await asyncio.wait_for(reader.read(), 60) == b""
    writer.close()
    await writer.wait_closed()
    server.close()
    await server.wait_closed()
    assert "GET /x failed" in caplog.text


@pytest.mark.parametrize("n_rounds", range(5))
async def test_who_is_being_accepted_when_it_stops_is_dropped_too(n_rounds):
    stub = StubServer()
    await stub.start()
    with socket.create_connection((stub.host, stub.port), timeout=60) as client:
        for _ in range(n_rounds):  # of the event loop, on the way to a protocol
            await asyncio.sleep(0)
        await stub.aclose()
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.to_thread(client.recv, 1) == b""
    assert stub.open_connections == 0


async def test_process_announces_itself_and_ends_with_its_stdin():
    async with stub_process() as stub:
        client = openai.AsyncOpenAI(base_url=stub.base_url, api_key="x", max_retries=0)
        await stub.add_fault(fault="status", status=500)
        with pytest.raises(openai.InternalServerError):
            await client.chat.completions.create(model="sim-nano", messages=MESSAGES)
        (entry,) = await stub.log(wait_for="fault")
        assert entry["status"] == 500
        await stub.reset()
        assert await stub.log() == []
        await client.close()
    assert stub.process.returncode == 0


async def test_process_ends_at_sigterm():
    async with stub_process() as stub:
        stub.process.terminate()
        assert await asyncio.wait_for(stub.process.wait(), 10) == 0
