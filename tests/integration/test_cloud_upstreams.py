"""OpenAI's client library, through the gateway, to models behind the APIs of Google and AWS."""

import contextlib
import json
import sys

import httpx
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
MODEL = "sim-frontier"
BEST_OF_TWO = {"routing": {"models": [MODEL, "sim-nano"], "cost_quality": 1}}
KEY = "upstream-canary-key"
PATHS = {
    "gemini": "/v1beta",
    "vertex": "/v1/projects/p/locations/global/publishers/google",
    "bedrock": "",
}


class Verdict(BaseModel):
    word: str
    sure: bool


@pytest.fixture(scope="module", params=sorted(PATHS))
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def mixed_gateway(kind, stub_thread, artifacts, tmp_path_factory):
    """Serve one model over the kind's own API, the others over OpenAI's, from the same stub."""
    upstream = {"kind": kind, "base_url": f"{stub_thread.origin}{PATHS[kind]}"}
    if kind == "vertex":
        upstream["token_command"] = [sys.executable, "-c", f"print('{KEY}')"]
    else:
        upstream["api_key_env"] = "CLOUD_API_KEY"
    changes = {
        "upstreams.cloud": upstream,
        f"models.{MODEL}.upstream": "cloud",
        "breaker.failures": 1_000_000,
    }
    config = stub_config(
        tmp_path_factory.mktemp("gateway"),
        stub_thread.origin,
        changes=changes,
        env={"CLOUD_API_KEY": KEY},
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


def test_the_upstream_saw_its_own_dialect_and_credential(client, stub, kind):
    messages = [{"role": "system", "content": "Be brief."}, *ASK]
    answer = client.chat.completions.create(
        model=MODEL, messages=messages, max_tokens=50, temperature=0.5, user="u-1"
    )
    (entry,) = stub.log()
    assert answer.model == MODEL
    assert "simulated answer" in answer.choices[0].message.content
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    said = {"text": ASK[0]["content"]}
    addressed = {"model": MODEL, "stream": False}
    assert entry.body == addressed | (
        {
            "messages": [{"role": "user", "content": [said]}],
            "system": [{"text": "Be brief."}],
            "inferenceConfig": {"maxTokens": 50, "temperature": 0.5},
        }
        if kind == "bedrock"
        else {
            "contents": [{"role": "user", "parts": [said]}],
            "systemInstruction": {"parts": [{"text": "Be brief."}]},
            "generationConfig": {"maxOutputTokens": 50, "temperature": 0.5},
        }
    )
    headers = dict(entry.headers)
    shown = headers["x-goog-api-key"] if kind == "gemini" else headers["authorization"]
    assert shown.removeprefix("Bearer ") == KEY
    assert "sk-client" not in str(entry.headers)


def test_a_stream_says_the_same_as_a_whole_answer_and_tells_the_cost(client):
    ask = {"model": MODEL, "messages": ASK}
    whole = client.chat.completions.create(**ask)
    *rest, last = client.chat.completions.create(
        **ask, stream=True, stream_options={"include_usage": True}
    )
    said = "".join(chunk.choices[0].delta.content or "" for chunk in rest)
    assert said == whole.choices[0].message.content
    assert rest[-1].choices[0].finish_reason == "stop"
    assert last.usage.completion_tokens == whole.usage.completion_tokens
    assert last.usage.model_extra["cost_usd"] > 0
    assert {chunk.model for chunk in [*rest, last]} == {MODEL}


def test_a_tool_loop_comes_to_its_end(client, stub, kind):
    asked = [{"role": "user", "content": "Use get_weather for Paris"}]
    answer = client.chat.completions.create(model=MODEL, messages=asked, tools=[WEATHER])
    (choice,) = answer.choices
    (call,) = choice.message.tool_calls
    assert choice.finish_reason == "tool_calls"
    assert json.loads(call.function.arguments) == {"city": "Paris"}
    told = [
        *asked,
        choice.message,
        {"role": "tool", "tool_call_id": call.id, "content": "Sunny, 21 °C"},
    ]
    answer = client.chat.completions.create(model=MODEL, messages=told, tools=[WEATHER])
    assert answer.choices[0].finish_reason == "stop"
    body = stub.log()[-1].body
    if kind == "bedrock":
        block = body["messages"][1]["content"][0]["toolUse"]
        assert block == {"toolUseId": call.id, "name": "get_weather", "input": {"city": "Paris"}}
        return
    # What the model sealed came back through a client that knows nothing of seals.
    part = body["contents"][1]["parts"][0]
    assert part["functionCall"]["args"] == {"city": "Paris"}
    sealed = call.model_extra["extra_content"]["google"]["thought_signature"]
    assert part["thoughtSignature"] == sealed
    assert len(sealed) == 64


def test_tools_through_the_accumulating_stream_helper(client):
    with client.chat.completions.stream(
        model=MODEL, messages=ASK, tools=[WEATHER], tool_choice="required"
    ) as stream:
        completion = stream.get_final_completion()
    (call,) = completion.choices[0].message.tool_calls
    assert call.function.name == "get_weather"
    assert "city" in json.loads(call.function.arguments)
    assert completion.choices[0].finish_reason == "tool_calls"


def test_structured_output_parses_into_a_model(client):
    answer = client.chat.completions.parse(model=MODEL, messages=ASK, response_format=Verdict)
    assert isinstance(answer.choices[0].message.parsed, Verdict)


def test_a_json_object_is_given_whether_there_is_a_mode_for_it_or_not(client, stub, kind):
    answer = client.chat.completions.create(
        model=MODEL, messages=ASK, response_format={"type": "json_object"}
    )
    body = stub.log()[0].body
    if kind == "bedrock":
        assert "one JSON object" in body["system"][-1]["text"]
    else:
        assert body["generationConfig"]["responseMimeType"] == "application/json"
        assert isinstance(json.loads(answer.choices[0].message.content), dict)


def test_what_was_thought_is_told_with_its_tokens(client, kind):
    if kind == "bedrock":
        pytest.skip("Converse has no word for it; the families that have are tested one by one")
    answer = client.chat.completions.create(model=MODEL, messages=ASK, reasoning_effort="low")
    assert answer.choices[0].message.model_extra["reasoning_content"]
    assert answer.usage.completion_tokens_details.reasoning_tokens > 0


def test_pictures_arrive(client, stub, kind):
    content = [
        {"type": "text", "text": "What is in this picture?"},
        {"type": "image_url", "image_url": {"url": PIXEL}},
    ]
    client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": content}])
    body = stub.log()[0].body
    if kind == "bedrock":
        picture = body["messages"][0]["content"][1]["image"]
        assert picture == {"format": "png", "source": {"bytes": "iVBORw0KGgo="}}
    else:
        picture = body["contents"][0]["parts"][1]["inlineData"]
        assert picture == {"mimeType": "image/png", "data": "iVBORw0KGgo="}


def test_what_cannot_be_said_there_is_answered_by_another_model_or_refused(client, stub):
    two = client.chat.completions.create(model="auto", messages=ASK, n=2, extra_body=BEST_OF_TWO)
    assert two.model == "sim-nano"
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=MODEL, messages=ASK, n=2)
    assert (caught.value.param, caught.value.code) == ("n", "unsupported_by_upstream")
    assert len(stub.log()) == 1


@pytest.mark.parametrize("status", [429, 500, 503])
def test_an_upstream_that_fails_is_replaced_by_another_model(client, stub, status):
    stub.add_fault("status", status=status, model=MODEL, times=10)
    answer = client.chat.completions.create(model="auto", messages=ASK, extra_body=BEST_OF_TWO)
    assert answer.model == "sim-nano"


def test_a_rejection_is_told_in_openais_shape(client, stub):
    stub.add_fault("status", status=400, model=MODEL)
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=MODEL, messages=ASK)
    assert caught.value.body["message"] == "Simulated failure."
    assert caught.value.body.keys() == {"message", "type", "param", "code"}


@pytest.mark.parametrize("fault", ["error_event", "reset_mid_stream", "end_without_done"])
def test_a_stream_that_breaks_raises_after_what_was_said(client, stub, fault):
    stub.add_fault(fault, after_chunks=6)
    said = []

    def read() -> None:
        for chunk in client.chat.completions.create(model=MODEL, messages=ASK, stream=True):
            said.append(chunk.choices[0].delta.content or "")  # noqa: PERF401

    with pytest.raises(openai.APIError):
        read()
    assert "".join(said).startswith("This is a")


TOOL_USE = {"type": "tool_use", "name": "get_weather", "input": {"city": "Paris"}}


@pytest.mark.parametrize("stream", [True, False])
def test_clients_of_the_messages_api_do_a_tool_loop_too(mixed_gateway, stub, kind, stream):
    schema = WEATHER["function"]["parameters"]
    asked = {"role": "user", "content": "Use get_weather for Paris"}
    body = {
        "model": MODEL,
        "max_tokens": 2000,
        "tools": [{"name": "get_weather", "input_schema": schema}],
    }
    with httpx.Client(base_url=mixed_gateway.url, trust_env=False) as client:
        answer = client.post("/v1/messages", json={**body, "messages": [asked], "stream": stream})
        assert answer.status_code == 200
        content = messages_content(answer.text) if stream else answer.json()["content"]
        (called,) = [block for block in content if block["type"] == "tool_use"]
        assert called.items() >= TOOL_USE.items()
        result = {"type": "tool_result", "tool_use_id": called["id"], "content": "Sunny, 21 °C"}
        turns = [
            asked,
            {"role": "assistant", "content": content},
            {"role": "user", "content": [result]},
        ]
        answer = client.post("/v1/messages", json={**body, "messages": turns})
    assert answer.json()["stop_reason"] == "end_turn"
    assert "Sunny" in answer.json()["content"][0]["text"]


def messages_content(text: str) -> list[dict]:
    """Put the blocks of a stream of the Messages API together."""
    blocks: list[dict] = []
    for line in text.splitlines():
        if not line.startswith("data: "):
            continue
        told = json.loads(line[6:])
        if told["type"] == "content_block_start":
            blocks.append({**told["content_block"], "json": ""})
        elif told["type"] == "content_block_delta":
            blocks[-1]["json"] += told["delta"].get("partial_json", "")
            blocks[-1]["text"] = blocks[-1].get("text", "") + told["delta"].get("text", "")
    for block in blocks:
        arguments = block.pop("json")
        if block["type"] == "tool_use":
            block["input"] = json.loads(arguments)
            block.pop("text", None)
    return blocks


def test_clients_of_the_responses_api_are_answered_too(client, stub):
    answer = client.responses.create(
        model=MODEL,
        input="Use get_weather for Paris",
        tools=[
            {
                "type": "function",
                "name": "get_weather",
                "parameters": WEATHER["function"]["parameters"],
            }
        ],
    )
    (called,) = [item for item in answer.output if item.type == "function_call"]
    assert json.loads(called.arguments) == {"city": "Paris"}
    assert answer.usage.output_tokens > 0


@pytest.mark.parametrize("streaming", [False, True])
def test_a_client_that_takes_one_call_gets_one(client, stub, streaming):
    fields = {
        "model": MODEL,
        "messages": [{"role": "user", "content": "What is the weather in Paris and in Rome?"}],
        "tools": [WEATHER],
        "stream": streaming,
    }
    seen = []
    for more in ({}, {"parallel_tool_calls": False}):
        raw = client.chat.completions.with_raw_response.create(**fields, **more)
        answer = raw.parse()
        if streaming:
            deltas = [chunk.choices[0] for chunk in answer if chunk.choices]
            calls = [call for each in deltas for call in each.delta.tool_calls or ()]
            names = [call.function.name for call in calls if call.function.name]
            assert deltas[-1].finish_reason == "tool_calls"
            assert {call.index for call in calls} == set(range(len(names)))
            arguments = "".join(c.function.arguments or "" for c in calls if c.index == 0)
        else:
            (choice,) = answer.choices
            assert choice.finish_reason == "tool_calls"
            names = [call.function.name for call in choice.message.tool_calls]
            arguments = choice.message.tool_calls[0].function.arguments
        assert json.loads(arguments) == {"city": "Paris"}
        seen.append((names, raw.headers.get("x-route-params")))
    assert seen == [
        (["get_weather", "get_weather"], None),
        (["get_weather"], "parallel_tool_calls=first call kept"),
    ]
    first, second = stub.log()
    assert first.body == second.body
