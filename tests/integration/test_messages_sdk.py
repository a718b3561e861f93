"""The official client library of Anthropic's, through the gateway, to models of either dialect."""

import contextlib
import datetime as dt

import pytest

from tests.support.gateway import GatewayThread, stub_config

anthropic = pytest.importorskip("anthropic", reason="anthropic is not installed")

ASK = [{"role": "user", "content": "What is a steelyard?"}]
WEATHER = {
    "name": "get_weather",
    "description": "Tells the weather.",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
}
CLAUDE, CHAT = "sim-frontier", "sim-nano"


@pytest.fixture(scope="module")
def mixed_gateway(stub_thread, artifacts, tmp_path_factory):
    """Serve one model over Anthropic's API, the others over OpenAI's, from the same stub."""
    changes = {
        "upstreams.claude": {
            "kind": "anthropic",
            "base_url": f"{stub_thread.origin}/v1",
            "api_key_env": "ANTHROPIC_API_KEY",
        },
        f"models.{CLAUDE}.upstream": "claude",
        "breaker.failures": 1_000_000,
    }
    env = {"ANTHROPIC_API_KEY": "sk-ant-canary"}
    config = stub_config(
        tmp_path_factory.mktemp("gateway"), stub_thread.origin, changes=changes, env=env
    )
    with GatewayThread(config, artifacts=artifacts) as gateway:
        yield gateway


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture(params=[CLAUDE, CHAT], ids=["native", "translated"])
def model(request):
    return request.param


@pytest.fixture
def client(mixed_gateway, stub):
    with contextlib.closing(
        anthropic.Anthropic(base_url=mixed_gateway.url, api_key="sk-client", max_retries=0)
    ) as made:
        yield made


def test_whole_and_streamed_answers_are_the_same(client, model, stub):
    ask = {"model": model, "messages": ASK, "max_tokens": 500}
    whole = client.messages.create(**ask)
    with client.messages.stream(**ask) as stream:
        started = next(iter(stream))
        message = stream.get_final_message()
    assert started.message.usage.input_tokens > 0
    assert whole.content[0].text == message.content[0].text
    assert "simulated answer" in message.content[0].text
    assert (whole.stop_reason, message.stop_reason) == ("end_turn", "end_turn")
    assert message.usage.output_tokens == whole.usage.output_tokens > 0
    assert message.usage.input_tokens == whole.usage.input_tokens > 0
    natively = ["anthropic-version" in dict(entry.headers) for entry in stub.log()]
    assert natively == [model == CLAUDE] * 2


async def test_the_same_asynchronously(mixed_gateway, model, stub):
    async with anthropic.AsyncAnthropic(
        base_url=mixed_gateway.url,
        auth_token="sk-client",  # noqa: S106
        api_key=None,
        max_retries=0,
    ) as client:
        events = [
            event.type
            async for event in await client.messages.create(
                model=model, messages=ASK, max_tokens=500, stream=True
            )
        ]
    assert (events[0], events[-1]) == ("message_start", "message_stop")
    assert events.count("content_block_start") == events.count("content_block_stop") == 1


def test_a_tool_loop(client, model):
    tools = [WEATHER, {"name": "files.list:all", "input_schema": {"type": "object"}}]
    asked = [{"role": "user", "content": "Use get_weather for Paris"}]
    with client.messages.stream(model=model, messages=asked, tools=tools, max_tokens=500) as stream:
        message = stream.get_final_message()
    (call,) = [block for block in message.content if block.type == "tool_use"]
    assert (call.name, call.input) == ("get_weather", {"city": "Paris"})
    assert message.stop_reason == "tool_use"
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "Sunny"}
    answer = client.messages.create(
        model=model,
        messages=[
            *asked,
            {"role": "assistant", "content": message.content},
            {"role": "user", "content": [result]},
        ],
        tools=tools,
        max_tokens=500,
    )
    assert answer.stop_reason == "end_turn"


def test_a_forced_tool_of_a_name_that_chat_servers_refuse(client, stub):
    tool = {**WEATHER, "name": "weather.get:now"}
    message = client.messages.create(
        model=CHAT,
        messages=ASK,
        tools=[tool],
        tool_choice={"type": "tool", "name": tool["name"]},
        max_tokens=500,
    )
    (call,) = [block for block in message.content if block.type == "tool_use"]
    assert call.name == tool["name"]
    (entry,) = stub.log()
    assert entry.body["tool_choice"]["function"]["name"] != tool["name"]


def test_auto_is_decided_and_told(client):
    raw = client.messages.with_raw_response.create(
        model="auto",
        messages=ASK,
        max_tokens=500,
        extra_headers={"x-cost-quality": "0"},
        extra_query={"beta": "true"},
    )
    assert raw.headers["x-route-model"]
    assert raw.headers["x-route-reason"]
    assert float(raw.headers["x-route-cost-usd"]) > 0
    assert raw.parse()._request_id == raw.headers["x-request-id"]


def test_what_is_left_out_is_told(client):
    raw = client.messages.with_raw_response.create(
        model=CHAT,
        messages=ASK,
        max_tokens=500,
        system=[{"type": "text", "text": "Be kind.", "cache_control": {"type": "ephemeral"}}],
        extra_body={"top_k": 5, "x\r\ny": 1},
        extra_headers={"anthropic-version": "2023-06-01"},
    )
    assert raw.headers["x-route-left-out"] == "cache_control, top_k, x??y"


def test_sampling_is_refused_with_the_version_that_lacks_it(client, model):
    with pytest.raises(anthropic.BadRequestError, match="temperature"):
        client.messages.create(
            model=model,
            messages=ASK,
            max_tokens=500,
            extra_body={"temperature": 1},
            extra_headers={"anthropic-version": "2026-10-21"},
        )


def test_nothing_is_generated_where_no_output_is_asked_for(client, stub):
    ask = {"model": CHAT, "messages": ASK, "max_tokens": 0}
    message = client.messages.create(**ask)
    with client.messages.stream(**ask) as stream:
        streamed = stream.get_final_message()
    for told in (message, streamed):
        assert (told.content, told.stop_reason) == ([], "max_tokens")
        assert told.usage.input_tokens > 0
    assert {entry.body["max_tokens"] for entry in stub.log()} == {1}


def test_tokens_are_counted_for_nothing(client, model, stub):
    count = client.messages.count_tokens(model=model, messages=ASK)
    assert count.input_tokens > 0
    assert len(stub.log()) <= (model == CLAUDE)


def test_errors_have_their_classes(client):
    with pytest.raises(anthropic.NotFoundError) as caught:
        client.messages.create(model="no-such", messages=ASK, max_tokens=5)
    assert caught.value.body["error"]["type"] == "not_found_error"
    with pytest.raises(anthropic.BadRequestError):
        client.messages.create(model="auto", messages=[], max_tokens=5)


def test_a_cut_stream_is_an_error(client, model, stub):
    stub.add_fault("close_mid_stream", after_chunks=3)
    with (
        pytest.raises(anthropic.APIError),
        client.messages.stream(model=model, messages=ASK, max_tokens=500) as stream,
    ):
        stream.get_final_message()


def test_whoever_leaves_a_stream_stops_its_upstream(client, model, stub):
    stub.add_fault("slow_drip")
    with client.messages.stream(model=model, messages=ASK, max_tokens=500) as stream:
        next(iter(stream))
    assert [entry.ended for entry in stub.log(wait_for="client_gone")] == ["client_gone"]


def test_a_spent_budget_is_told_once(fresh_gateway, stub):
    budget = {"usd": 1e-9, "period": "month"}
    gateway = fresh_gateway({"allowances.gateway.budgets": [budget]})
    seen = []
    http = anthropic.DefaultHttpxClient(event_hooks={"response": [seen.append]})
    with (
        anthropic.Anthropic(
            base_url=gateway.url, api_key="sk-client", max_retries=5, http_client=http
        ) as client,
        pytest.raises(anthropic.APIStatusError) as caught,
    ):
        client.messages.create(model="auto", messages=ASK, max_tokens=5)
    assert caught.value.status_code == 429
    assert caught.value.body["error"]["type"] == "billing_error"
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert len(seen) == 1
    assert not stub.log()


def test_a_spent_budget_says_when_it_begins_anew(fresh_gateway):
    gateway = fresh_gateway({"allowances.gateway.budgets": [{"usd": 5e-6, "period": "month"}]})
    asked = dt.datetime.now(dt.UTC)
    with anthropic.Anthropic(base_url=gateway.url, api_key="sk-client", max_retries=0) as client:

        def spend_all():
            for _ in range(100):
                client.messages.create(model=CHAT, messages=ASK, max_tokens=5)

        with pytest.raises(anthropic.RateLimitError) as caught:
            spend_all()
    assert caught.value.body["error"]["type"] == "billing_error"
    month = asked.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    ends = (month + dt.timedelta(days=32)).replace(day=1)
    told_s = int(caught.value.response.headers["retry-after"])
    assert ends - dt.datetime.now(dt.UTC) <= dt.timedelta(seconds=told_s)
    assert dt.timedelta(seconds=told_s - 1) <= ends - asked


def test_limits_are_told_in_its_headers(fresh_gateway, stub):
    gateway = fresh_gateway({"allowances.gateway.limits.requests_per_minute": 1})
    with anthropic.Anthropic(base_url=gateway.url, api_key="sk-client", max_retries=0) as client:
        ask = {"model": CHAT, "messages": ASK, "max_tokens": 5}
        told = client.messages.with_raw_response.create(**ask).headers
        assert told["anthropic-ratelimit-requests-limit"] == "1"
        assert told["anthropic-ratelimit-requests-remaining"] == "0"
        assert told["anthropic-ratelimit-requests-reset"].endswith("Z")
        with pytest.raises(anthropic.RateLimitError) as caught:
            client.messages.create(**ask)
    assert caught.value.body["error"]["type"] == "rate_limit_error"
    assert int(caught.value.response.headers["retry-after"]) > 0
    assert caught.value.response.headers["anthropic-ratelimit-requests-remaining"] == "0"
