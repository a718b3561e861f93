"""OpenAI's client library, through the gateway, to models behind Anthropic's Messages API."""

import contextlib

import openai
import pytest
from pydantic import BaseModel

from tests.support.gateway import GatewayThread, stub_config

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
PIXEL = "data:image/png;base64,iVBORw0KGgo="
CLAUDE = "sim-frontier"
BEST_OF_TWO = {"routing": {"models": [CLAUDE, "sim-nano"], "cost_quality": 1}}
"""Decides for the model behind Anthropic's API, with one behind OpenAI's to fall back on."""


class Verdict(BaseModel):
    word: str
    sure: bool


@pytest.fixture(scope="module")
def mixed_gateway(stub_thread, artifacts, tmp_path_factory):
    """Serve one model over Anthropic's API, the others over OpenAI's, from the same stub."""
    changes = {
        "upstreams.claude": {
            "kind": "anthropic",
            "base_url": f"{stub_thread.origin}/v1",
            "api_key_env": "ANTHROPIC_API_KEY",
            "drop_fields": ["seed"],
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


@pytest.fixture
def client(mixed_gateway, stub, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with contextlib.closing(
        openai.OpenAI(base_url=mixed_gateway.openai_url, api_key="sk-client", max_retries=0)
    ) as made:
        yield made


def test_a_plain_answer_parses_and_the_upstream_saw_its_own_dialect(client, stub):
    messages = [{"role": "system", "content": "Be brief."}, *ASK]
    answer = client.chat.completions.create(
        model=CLAUDE, messages=messages, max_tokens=50, temperature=1.5, seed=7, user="u-1"
    )
    (entry,) = stub.log()
    assert answer.model == CLAUDE
    assert "simulated answer" in answer.choices[0].message.content
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert entry.body == {
        "model": CLAUDE,
        "max_tokens": 50,
        "system": [{"type": "text", "text": "Be brief."}],
        "messages": [{"role": "user", "content": [{"type": "text", "text": ASK[0]["content"]}]}],
        "metadata": {"user_id": "u-1"},
    }
    headers = dict(entry.headers)
    assert headers["x-api-key"] == "sk-ant-canary"
    assert headers["anthropic-version"] == "2023-06-01"
    assert "sk-client" not in str(entry.headers)


def test_a_stream_says_the_same_as_a_whole_answer_and_tells_the_cost(client):
    ask = {"model": CLAUDE, "messages": ASK}
    whole = client.chat.completions.create(**ask)
    *rest, last = client.chat.completions.create(
        **ask, stream=True, stream_options={"include_usage": True}
    )
    said = "".join(chunk.choices[0].delta.content or "" for chunk in rest)
    assert said == whole.choices[0].message.content
    assert rest[-1].choices[0].finish_reason == "stop"
    assert last.choices == []
    assert last.usage.completion_tokens == whole.usage.completion_tokens
    priced = (4 * last.usage.prompt_tokens + 20 * last.usage.completion_tokens) / 1e6
    assert last.usage.model_extra["cost_usd"] == pytest.approx(priced)
    assert {chunk.model for chunk in [*rest, last]} == {CLAUDE}


def test_a_tool_call_comes_back_and_its_result_is_answered(client, stub):
    asked = [{"role": "user", "content": "Use get_weather for Paris"}]
    answer = client.chat.completions.create(model=CLAUDE, messages=asked, tools=[WEATHER])
    (choice,) = answer.choices
    (call,) = choice.message.tool_calls
    assert choice.finish_reason == "tool_calls"
    assert call.function.arguments == '{"city":"Paris"}'
    told = [
        *asked,
        choice.message,
        {"role": "tool", "tool_call_id": call.id, "content": "Sunny, 21 °C"},
    ]
    answer = client.chat.completions.create(model=CLAUDE, messages=told, tools=[WEATHER])
    assert answer.choices[0].finish_reason == "stop"
    _, assistant, result = stub.log()[-1].body["messages"]
    assert assistant["content"] == [
        {"type": "tool_use", "id": call.id, "name": "get_weather", "input": {"city": "Paris"}}
    ]
    assert result["content"][0]["tool_use_id"] == call.id


def test_tools_through_the_accumulating_stream_helper(client):
    with client.chat.completions.stream(
        model=CLAUDE, messages=ASK, tools=[WEATHER], tool_choice="required"
    ) as stream:
        completion = stream.get_final_completion()
    (call,) = completion.choices[0].message.tool_calls
    assert (call.function.name, call.function.arguments) == ("get_weather", '{"city":"simulated"}')
    assert completion.choices[0].finish_reason == "tool_calls"


def test_structured_output_parses_into_a_model(client, stub):
    answer = client.chat.completions.parse(model=CLAUDE, messages=ASK, response_format=Verdict)
    assert answer.choices[0].message.parsed == Verdict(word="simulated", sure=True)
    assert stub.log()[0].body["output_config"]["format"]["type"] == "json_schema"


def test_pictures_arrive_as_blocks(client, stub):
    content = [
        {"type": "text", "text": "What is in this picture?"},
        {"type": "image_url", "image_url": {"url": PIXEL}},
    ]
    client.chat.completions.create(model=CLAUDE, messages=[{"role": "user", "content": content}])
    source = stub.log()[0].body["messages"][0]["content"][1]["source"]
    assert source == {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}


def test_what_cannot_be_said_there_is_refused_by_name_before_anything_is_sent(client, stub):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=CLAUDE, messages=ASK, n=2)
    assert (caught.value.param, caught.value.code) == ("n", "unsupported_by_upstream")
    assert stub.log() == []


def test_what_cannot_be_said_there_is_answered_by_another_model(client, stub):
    plain = client.chat.completions.create(model="auto", messages=ASK, extra_body=BEST_OF_TWO)
    two = client.chat.completions.create(model="auto", messages=ASK, n=2, extra_body=BEST_OF_TWO)
    assert plain.model == CLAUDE
    assert two.model == "sim-nano"
    assert len(two.choices) == 2
    assert len(stub.log()) == 2


@pytest.mark.parametrize("status", [500, 529])
def test_an_overloaded_upstream_is_replaced_by_another_model(client, stub, status):
    stub.add_fault("status", status=status, model=CLAUDE, times=10)
    answer = client.chat.completions.create(model="auto", messages=ASK, extra_body=BEST_OF_TWO)
    assert answer.model == "sim-nano"


def test_a_rejection_is_told_in_openais_shape(client, stub):
    stub.add_fault("status", status=400, model=CLAUDE)
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=CLAUDE, messages=ASK)
    assert caught.value.type == "invalid_request_error"
    assert caught.value.body == {
        "message": "Simulated failure.",
        "type": "invalid_request_error",
        "param": None,
        "code": None,
    }


@pytest.mark.parametrize("fault", ["error_event", "reset_mid_stream", "end_without_done"])
def test_a_stream_that_breaks_raises_after_what_was_said(client, stub, fault):
    stub.add_fault(fault, after_chunks=6)
    said = []

    def read() -> None:
        for chunk in client.chat.completions.create(model=CLAUDE, messages=ASK, stream=True):
            said.append(chunk.choices[0].delta.content or "")  # noqa: PERF401

    with pytest.raises(openai.APIError):
        read()
    assert "".join(said).startswith("This is a")
