"""The official client library against the gateway, over sockets, on both of its HTTP libraries."""

import contextlib
import time

import httpx
import openai
import pytest
from pydantic import BaseModel

ASK = [{"role": "user", "content": "What is a steelyard?"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}
PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"


class Verdict(BaseModel):
    word: str
    sure: bool
    score: float


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture(params=["shipped", "httpx"])
def client(request, gateway):
    with contextlib.ExitStack() as stack:
        http_client = None
        if request.param == "httpx":
            http_client = stack.enter_context(httpx.Client())
        yield stack.enter_context(
            openai.OpenAI(
                base_url=gateway.openai_url,
                api_key="sk-client",
                max_retries=0,
                http_client=http_client,
            )
        )


@pytest.fixture(params=["shipped", "httpx"])
async def async_client(request, gateway):
    async with contextlib.AsyncExitStack() as stack:
        http_client = None
        if request.param == "httpx":
            http_client = await stack.enter_async_context(httpx.AsyncClient())
        yield await stack.enter_async_context(
            openai.AsyncOpenAI(
                base_url=gateway.openai_url,
                api_key="sk-client",
                max_retries=0,
                http_client=http_client,
            )
        )


def test_a_plain_answer_parses(client, stub):
    answer = client.chat.completions.create(model="auto", messages=ASK)
    (entry,) = stub.log()
    assert answer.model == entry.model
    assert answer.id.startswith("chatcmpl-sim")
    assert "simulated answer" in answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.system_fingerprint == "fp_simulated"


async def test_a_plain_answer_parses_async(async_client, stub):
    answer = await async_client.chat.completions.create(model="auto", messages=ASK)
    assert answer.model == stub.log()[0].model
    assert "simulated answer" in answer.choices[0].message.content


def test_a_stream_says_the_same_as_a_whole_answer(client):
    whole = client.chat.completions.create(model="sim-small", messages=ASK)
    with client.chat.completions.create(model="sim-small", messages=ASK, stream=True) as stream:
        chunks = list(stream)
    said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert said == whole.choices[0].message.content
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert all(chunk.usage is None for chunk in chunks)
    assert {chunk.model for chunk in chunks} == {"sim-small"}


async def test_a_stream_says_the_same_as_a_whole_answer_async(async_client):
    whole = await async_client.chat.completions.create(model="sim-small", messages=ASK)
    said = ""
    stream = await async_client.chat.completions.create(
        model="sim-small", messages=ASK, stream=True
    )
    async with stream:
        async for chunk in stream:
            said += chunk.choices[0].delta.content or ""
    assert said == whole.choices[0].message.content


def test_usage_comes_last_in_a_stream_that_asks_for_it_and_tells_the_cost(client):
    whole = client.chat.completions.create(model="sim-frontier", messages=ASK)
    chunks = list(
        client.chat.completions.create(
            model="sim-frontier",
            messages=ASK,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    *rest, last = chunks
    assert all(chunk.usage is None for chunk in rest)
    assert last.choices == []
    assert last.usage.completion_tokens == whole.usage.completion_tokens
    assert last.usage.prompt_tokens == whole.usage.prompt_tokens
    priced = (4 * last.usage.prompt_tokens + 20 * last.usage.completion_tokens) / 1e6
    assert last.usage.model_extra["cost_usd"] == pytest.approx(priced)


def test_a_tool_call_comes_back_and_its_result_is_answered(client):
    asked = [{"role": "user", "content": "What is the weather like in Paris?"}]
    answer = client.chat.completions.create(model="auto", messages=asked, tools=[WEATHER])
    (choice,) = answer.choices
    (call,) = choice.message.tool_calls
    assert choice.finish_reason == "tool_calls"
    assert call.function.name == "get_weather"
    assert call.function.arguments == '{"city":"Paris"}'
    told = [
        *asked,
        choice.message,
        {"role": "tool", "tool_call_id": call.id, "content": "Sunny, 21 °C"},
    ]
    answer = client.chat.completions.create(model="auto", messages=told, tools=[WEATHER])
    assert answer.choices[0].finish_reason == "stop"
    assert "simulated answer" in answer.choices[0].message.content


def test_tool_call_deltas_of_a_stream_add_up(client):
    chunks = list(
        client.chat.completions.create(
            model="auto", messages=ASK, tools=[WEATHER], tool_choice="required", stream=True
        )
    )
    deltas = [
        call
        for chunk in chunks
        for choice in chunk.choices
        for call in choice.delta.tool_calls or ()
    ]
    assert deltas[0].function.name == "get_weather"
    assert deltas[0].id.startswith("call_")
    assert "".join(call.function.arguments for call in deltas) == '{"city":"simulated"}'
    assert len(deltas) > 2
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


async def test_tools_through_the_accumulating_stream_helper(async_client):
    async with async_client.chat.completions.stream(
        model="auto", messages=ASK, tools=[WEATHER], tool_choice="required"
    ) as stream:
        completion = await stream.get_final_completion()
    assert completion.choices[0].message.tool_calls[0].function.name == "get_weather"


def test_structured_output_parses_into_a_model(client, stub):
    answer = client.chat.completions.parse(model="auto", messages=ASK, response_format=Verdict)
    assert answer.choices[0].message.parsed == Verdict(word="simulated", sure=True, score=1)
    assert stub.log()[0].body["response_format"]["json_schema"]["strict"] is True


async def test_structured_output_parses_into_a_model_async(async_client):
    answer = await async_client.chat.completions.parse(
        model="auto", messages=ASK, response_format=Verdict
    )
    assert isinstance(answer.choices[0].message.parsed, Verdict)


def test_pictures_reach_a_model_that_sees(client, stub):
    content = [
        {"type": "text", "text": "What is in this picture?"},
        {"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}},
    ]
    answer = client.chat.completions.create(
        model="auto",
        messages=[{"role": "user", "content": content}],
        extra_headers={"x-cost-quality": "0"},
    )
    assert answer.model == "sim-small"  # the cheapest with eyes, however low the knob
    assert stub.log()[0].body["messages"][0]["content"] == content


def test_several_answers_at_once(client):
    whole = client.chat.completions.create(model="auto", messages=ASK, n=2)
    assert [choice.index for choice in whole.choices] == [0, 1]
    said = ["", ""]
    for chunk in client.chat.completions.create(model="auto", messages=ASK, n=2, stream=True):
        for choice in chunk.choices:
            said[choice.index] += choice.delta.content or ""
    assert said == [choice.message.content for choice in whole.choices]


def test_fields_that_nobody_knows_reach_the_upstream_and_routing_does_not(client, stub):
    client.chat.completions.create(
        model="auto",
        messages=ASK,
        seed=7,
        metadata={"team": "blue"},
        extra_body={"x_new": {"deep": [1, None, "ü"]}, "routing": {"cost_quality": 0.2}},
    )
    (entry,) = stub.log()
    assert entry.body == {
        "model": entry.model,
        "messages": ASK,
        "seed": 7,
        "metadata": {"team": "blue"},
        "x_new": {"deep": [1, None, "ü"]},
    }


def test_the_knob_works_as_header_and_in_the_body(client):
    create = client.chat.completions.create
    by_header = [
        create(model="auto", messages=ASK, extra_headers={"x-cost-quality": t}).model
        for t in ("0", "1")
    ]
    by_body = [
        create(model="auto", messages=ASK, extra_body={"routing": {"cost_quality": t}}).model
        for t in (0, 1)
    ]
    assert by_header == by_body
    assert by_header[0] == "sim-nano"
    assert by_header[1] != "sim-nano"


def test_models_can_be_listed_and_looked_up(client):
    ids = [model.id for model in client.models.list()]
    assert {"auto", "auto:default", "auto:economy", "sim-nano", "sim-frontier"} <= set(ids)
    for model_id in ids:
        assert client.models.retrieve(model_id).id == model_id
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("gpt-9")
    assert caught.value.code == "model_not_found"


def test_mistakes_of_the_client_name_the_parameter(client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(
            model="auto", messages=ASK, extra_headers={"x-cost-quality": "1.5"}
        )
    assert caught.value.param == "x-cost-quality"
    assert caught.value.type == "invalid_request_error"
    assert caught.value.request_id == caught.value.response.headers["x-request-id"]
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="auto", messages=[])
    assert caught.value.param == "messages"
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(
            model="auto", messages=ASK, extra_body={"routing": {"max_cost": 0}}
        )
    assert caught.value.code == "no_eligible_model"


def test_an_unknown_model_is_not_found_and_the_known_ones_are_told(client):
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="gpt-9", messages=ASK)
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
    for name in ("auto:economy", "sim-medium"):
        assert name in caught.value.message


def test_an_upstream_that_finds_the_request_at_fault_is_a_bad_request(client, stub):
    stub.add_fault("status", status=400, code="invalid_value")
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="auto", messages=ASK)
    assert caught.value.code == "invalid_value"
    assert len(stub.log()) == 1


def test_a_rate_limit_is_told_with_the_time_to_wait(client, stub):
    stub.add_fault("status", status=429, retry_after_s=7)
    with pytest.raises(openai.RateLimitError) as caught:
        client.chat.completions.create(model="sim-nano", messages=ASK)
    assert caught.value.response.headers["retry-after"] == "7"
    assert caught.value.code == "upstream_rate_limit_exceeded"


def test_the_library_waits_as_it_is_told_and_tries_again(gateway, stub):
    stub.add_fault("status", status=429, retry_after_s=1, model="sim-nano")
    with openai.OpenAI(base_url=gateway.openai_url, api_key="x", max_retries=1) as client:
        began = time.monotonic()
        answer = client.chat.completions.create(model="sim-nano", messages=ASK)
    assert answer.model == "sim-nano"
    assert time.monotonic() - began >= 1  # its own first back-off would be half a second at most
    assert [entry.status for entry in stub.log()] == [429, 200]


async def test_the_library_tries_again_after_a_server_error_async(gateway, stub):
    stub.add_fault("status", status=503, model="sim-nano")
    async with openai.AsyncOpenAI(
        base_url=gateway.openai_url, api_key="x", max_retries=1
    ) as client:
        answer = await client.chat.completions.create(model="sim-nano", messages=ASK)
    assert answer.model == "sim-nano"
    assert [entry.status for entry in stub.log()] == [503, 200]


@pytest.mark.parametrize("fault", ["reset_before_headers", "bad_json", "status"])
def test_an_upstream_that_fails_is_a_server_error(client, stub, fault):
    # Twice: a kept connection that breaks before any answer is tried once more on a new one.
    stub.add_fault(fault, model="sim-nano", times=2)
    with pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(model="sim-nano", messages=ASK)
    assert caught.value.status_code == 502
    assert caught.value.code == "all_attempts_failed"
    assert caught.value.body["attempts"][0]["model"] == "sim-nano"


@pytest.mark.parametrize("fault", ["error_event", "reset_mid_stream", "garbage_sse"])
def test_a_stream_that_breaks_raises_after_what_was_said(client, stub, fault):
    stub.add_fault(fault, after_chunks=4)
    said = []
    with pytest.raises(openai.APIError) as caught:  # noqa: PT012
        for chunk in client.chat.completions.create(model="auto", messages=ASK, stream=True):
            said += [choice.delta.content for choice in chunk.choices]
    assert [text for text in said if text] == ["This", " is", " a"]
    assert caught.value.type == "service_unavailable_error"
    assert len(stub.log()) == 1


async def test_a_stream_that_breaks_raises_after_what_was_said_async(async_client, stub):
    stub.add_fault("close_mid_stream", after_chunks=4)
    said = []
    stream = await async_client.chat.completions.create(model="auto", messages=ASK, stream=True)
    with pytest.raises(openai.APIError):  # noqa: PT012
        async for chunk in stream:
            said += [choice.delta.content for choice in chunk.choices]
    assert [text for text in said if text] == ["This", " is", " a"]


def test_raw_responses_show_the_routing_headers(client):
    raw = client.chat.completions.with_raw_response.create(
        model="auto:quality", messages=ASK, extra_headers={"x-request-id": "mine-1"}
    )
    assert raw.headers["x-route-model"] == raw.parse().model
    assert raw.headers["x-route-policy"] == "quality"
    assert float(raw.headers["x-route-cost-usd"]) > 0
    assert raw.headers["x-request-id"] == "mine-1"
    with client.chat.completions.with_streaming_response.create(
        model="auto:quality", messages=ASK, stream=True
    ) as streaming:
        assert streaming.headers["x-route-model"] == raw.headers["x-route-model"]
        assert list(streaming.iter_lines())[-2:] == ["data: [DONE]", ""]
