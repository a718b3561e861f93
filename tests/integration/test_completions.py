"""Completions of plain prompts: passed through where the upstream takes them, else told as chat."""

import json

import httpx
import openai
import pytest

from tests.support.requests import assert_openai_error


@pytest.fixture(params=[True, False], ids=["native", "chat"])
def native(request):
    return request.param


@pytest.fixture
def gateway(fresh_gateway, native):
    return fresh_gateway({"upstreams.stub.also_serves": ["completions"] if native else []})


@pytest.fixture
def client(gateway, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with openai.OpenAI(base_url=gateway.openai_url, api_key="none", max_retries=0) as client:
        yield client


def test_the_official_client_reads_whole_answers_and_streams(client, stub, native):
    asked = {"model": "sim-nano", "prompt": "What is a steelyard?", "max_tokens": 30}
    whole = client.completions.create(**asked)
    assert whole.object == "text_completion"
    assert whole.id.startswith("cmpl-")
    (choice,) = whole.choices
    assert choice.text
    assert whole.usage.completion_tokens <= 30
    chunks = list(
        client.completions.create(**asked, stream=True, stream_options={"include_usage": True})
    )
    assert all(chunk.object == "text_completion" for chunk in chunks)
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == choice.text
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert chunks[-1].usage.cost_usd == whole.usage.cost_usd > 0
    bodies = [entry.body for entry in stub.log()]
    assert all(("prompt" in body) is native for body in bodies)
    assert all(body["max_tokens"] == 30 for body in bodies)


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": [11, 12, 13]},
        {"prompt": ["One", "Two"], "n": 2},
        {"prompt": "def f(", "suffix": "return 1"},
        {"prompt": "Echo", "echo": True, "logprobs": 2},
    ],
    ids=repr,
)
@pytest.mark.parametrize("streamed", [False, True])
def test_what_only_such_an_upstream_understands(gateway, stub, native, fields, streamed):
    body = {"model": "sim-nano", "max_tokens": 5, "stream": streamed, **fields}
    answer = httpx.post(f"{gateway.url}/v1/completions", json=body, trust_env=False)
    if not native:
        error = assert_openai_error(answer, status=400)
        assert error["code"] == "unsupported_by_upstream"
        assert error["param"] in fields
        assert stub.log() == []
        return
    assert answer.status_code == 200, answer.text
    (entry,) = stub.log()
    assert {name: entry.body[name] for name in fields} == fields
    events = [line[6:] for line in answer.text.split("\n") if line.startswith("data: {")]
    answers = [json.loads(each) for each in events] if streamed else [answer.json()]
    choices = {choice["index"] for each in answers for choice in each["choices"]}
    assert len(choices) == fields.get("n", 1) * (2 if fields["prompt"] == ["One", "Two"] else 1)
    if fields.get("echo") and not streamed:
        assert answers[0]["choices"][0]["text"].startswith("Echo")
        assert answers[0]["choices"][0]["logprobs"]["tokens"]


def test_a_routed_prompt_is_decided_and_booked_as_chat_is(gateway, native):
    answer = httpx.post(
        f"{gateway.url}/v1/completions",
        json={"model": "auto", "prompt": "Prove that there are infinitely many primes."},
        headers={"x-cost-quality": "1"},
        trust_env=False,
    )
    assert answer.status_code == 200
    assert answer.headers["x-route-reason"] == "knob"
    assert float(answer.headers["x-route-cost-usd"]) > 0
    assert answer.json()["choices"][0]["finish_reason"] == "length"  # of 16 tokens


@pytest.mark.parametrize("fault", ["error_event", "reset_mid_stream", "garbage_sse", "bad_json"])
def test_what_breaks_upstream_breaks_here(gateway, stub, native, fault):
    stub.add_fault(fault, after_chunks=2, times=4)
    body = {"model": "sim-nano", "prompt": "Hi", "max_tokens": 9, "stream": True}
    answer = httpx.post(f"{gateway.url}/v1/completions", json=body, trust_env=False)
    assert "[DONE]" not in answer.text
    assert '"error"' in answer.text


def test_a_server_error_of_the_upstream_is_told(gateway, stub, native):
    stub.add_fault("status", status=400, times=4)
    body = {"model": "sim-nano", "prompt": "Hi"}
    answer = httpx.post(f"{gateway.url}/v1/completions", json=body, trust_env=False)
    assert_openai_error(answer, status=400)


def test_a_limit_beyond_the_models_is_cut_whatever_it_is_called_there(fresh_gateway, stub, native):
    gateway = fresh_gateway(
        {
            "upstreams.stub.also_serves": ["completions"] if native else [],
            "upstreams.stub.max_tokens_field": "max_completion_tokens",
        }
    )
    body = {"model": "sim-frontier", "prompt": "Hi", "max_tokens": 9_000_000}
    answer = httpx.post(f"{gateway.url}/v1/completions", json=body, trust_env=False)
    assert answer.status_code == 200, answer.text
    (entry,) = stub.log()
    name = "max_tokens" if native else "max_completion_tokens"
    assert entry.body[name] == int(answer.headers["x-route-max-tokens"]) < 9_000_000
