"""What models refuse is not sent to them, and clients are told; by the official library."""

import json

import httpx
import openai
import pytest

from app.outcomes.sqlite import read_outcomes
from tests.support.gateway import CONFIGS, GatewayThread, read_yaml, stub_config, write_yaml

ASK = [{"role": "user", "content": "What is a steelyard?"}]
UNTOUCHED = {"temperature": 0.2, "reasoning_effort": "minimal", "max_tokens": 5, "logprobs": True}
LIKE = {
    "gpt-4.1-nano": "gpt-5.1",  # sim-small
    "gpt-4.1-mini": "openai/o3",  # sim-medium
    "claude-sonnet-4-5": "anthropic/claude-opus-4.7",  # sim-large
    "claude-opus-5-5": "gpt-4o",  # sim-frontier
}
"""Whom the simulated models take after, by the catalogue entries that describe them."""


@pytest.fixture
def catalogue(tmp_path):
    """Return the change that describes models otherwise, by entries of the catalogue."""

    def catalogue(**parameters):
        document = read_yaml(CONFIGS / "models.yaml")
        for name, like in LIKE.items():
            own = parameters.get(name.replace("-", "_").replace(".", "_"), {"like": like})
            document["models"][name]["parameters"] = own
        file = tmp_path / "catalogue.yaml"
        write_yaml(file, document)
        return {"catalogue": str(file)}

    return catalogue


@pytest.fixture
def sdk(fresh_gateway, catalogue, monkeypatch):
    """Return a client of the official library for a gateway of one's own."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    clients = []

    def sdk(changes=None):
        gateway = fresh_gateway({"breaker.failures": 1_000_000, **(changes or catalogue())})
        client = openai.OpenAI(base_url=gateway.openai_url, api_key="x", max_retries=0)
        clients.append(client)
        return client

    yield sdk
    for client in clients:
        client.close()


def ask(client, model, **fields):
    fields = {"messages": ASK, **fields}
    return client.chat.completions.with_raw_response.create(model=model, **fields).headers


@pytest.mark.parametrize(
    ("model", "fields", "sent_and_told"),
    [
        (
            "sim-medium",
            {"temperature": 0.2, "max_tokens": 50, "reasoning_effort": "xhigh", "seed": 7},
            (
                {"max_completion_tokens": 50, "reasoning_effort": "high", "seed": 7},
                (
                    "reasoning_effort=xhigh->high; temperature=dropped; "
                    "max_tokens->max_completion_tokens"
                ),
            ),
        ),
        (
            "sim-small",
            {"temperature": 0.2, "reasoning_effort": "high"},
            ({"reasoning_effort": "high"}, "temperature=dropped"),
        ),
        ("sim-small", {"temperature": 0.2}, ({"temperature": 0.2}, None)),
        (
            "sim-large",
            {"temperature": 1, "top_p": 0.9, "reasoning_effort": "minimal"},
            (
                {"reasoning_effort": "low"},
                "reasoning_effort=minimal->low; temperature=dropped; top_p=dropped",
            ),
        ),
        ("sim-frontier", {"reasoning_effort": "low"}, ({}, "reasoning_effort=dropped")),
        ("sim-nano", UNTOUCHED, (UNTOUCHED, None)),
    ],
)
def test_a_model_gets_what_it_takes_and_the_client_is_told(sdk, stub, model, fields, sent_and_told):
    sent, told = sent_and_told
    headers = ask(sdk(), model, stream=model == "sim-large", **fields)
    (entry,) = stub.log()
    body = dict(entry.body)
    for ours in ("model", "messages", "stream", "stream_options"):
        body.pop(ours, None)
    assert body == sent
    assert headers.get("x-route-params") == told


def test_a_routed_request_is_told_as_the_model_that_serves_takes_it(sdk, stub):
    client = sdk()
    stub.add_fault("status", status=500, model="sim-medium")
    headers = ask(
        client,
        "auto",
        temperature=0.2,
        max_tokens=40,
        extra_body={"routing": {"models": ["sim-medium", "sim-frontier"], "cost_quality": 0}},
    )
    first, second = stub.log()
    assert "temperature" not in first.body
    assert first.body["max_completion_tokens"] == 40
    assert (second.body["temperature"], second.body["max_tokens"]) == (0.2, 40)
    assert "x-route-params" not in headers


def test_a_limit_that_is_cut_is_renamed_too(sdk, stub):
    headers = ask(sdk(), "sim-medium", max_tokens=900_000)
    (entry,) = stub.log()
    assert str(entry.body["max_completion_tokens"]) == headers["x-route-max-tokens"]
    assert "max_tokens" not in entry.body


def test_what_an_upstream_does_to_all_requests_is_told_too(sdk, stub):
    own = {
        "upstreams.stub.drop_fields": ["seed"],
        "upstreams.stub.developer_role": "system",
        "upstreams.stub.max_tokens_field": "max_tokens",
    }
    messages = [{"role": "developer", "content": "Be brief."}, *ASK]
    headers = ask(sdk(own), "sim-nano", messages=messages, seed=7, max_completion_tokens=9)
    assert headers["x-route-params"] == (
        "seed=dropped; max_completion_tokens->max_tokens; role developer->system"
    )
    (entry,) = stub.log()
    assert entry.body["messages"][0]["role"] == "system"
    assert (entry.body["max_tokens"], "seed" in entry.body) == (9, False)


@pytest.mark.parametrize(
    ("parameters", "sent"),
    [
        (
            {"like": "gpt-5.1", "keep": ["temperature"]},
            {"temperature": 0.2, "reasoning_effort": "high", "seed": 7},
        ),
        (
            {"like": "gpt-5.1", "known": False},
            {"temperature": 0.2, "reasoning_effort": "max", "seed": 7},
        ),
        ({"like": "o3", "drop": {"seed": {}}, "efforts": ["low"]}, {"reasoning_effort": "low"}),
        ({"like": "gpt-4o"}, {"temperature": 0.2, "seed": 7}),
    ],
)
def test_the_catalogue_has_the_last_word(sdk, stub, catalogue, parameters, sent):
    client = sdk(catalogue(gpt_4_1_nano=parameters))
    ask(client, "sim-small", temperature=0.2, reasoning_effort="max", seed=7)
    (entry,) = stub.log()
    assert {name: entry.body[name] for name in sent} == sent
    assert set(entry.body) - {"model", "messages"} == set(sent)


def test_json_is_asked_for_in_words_where_there_is_no_mode(sdk, stub, catalogue):
    client = sdk(catalogue(gpt_4_1_nano={"json_object": "words"}))
    wanted = {"type": "json_object"}
    headers = ask(client, "sim-small", response_format=wanted)
    assert headers["x-route-params"] == "response_format=in words"
    (entry,) = stub.log()
    assert "response_format" not in entry.body
    assert "one JSON object" in entry.body["messages"][0]["content"]


def test_what_was_changed_stands_in_the_decision_log_and_with_the_explanation(
    stub, artifacts, catalogue, tmp_path
):
    changes = {"store": {"data_dir": "data"}, **catalogue()}
    config = stub_config(tmp_path, stub.origin, changes=changes)
    with GatewayThread(config, artifacts=artifacts) as gateway:
        answer = httpx.post(
            f"{gateway.openai_url}/chat/completions",
            headers={"x-route-explain": "full"},
            json={"model": "sim-medium", "messages": ASK, "temperature": 0.5},
            trust_env=False,
        )
    assert answer.json()["steelyard"]["changes"] == ["temperature=dropped"]
    ((_, row),) = read_outcomes(tmp_path / "data")
    (call,) = json.loads(row.calls)
    assert call["changes"] == ["temperature=dropped"]


def test_a_client_sees_which_parameters_a_model_takes(fresh_gateway, catalogue):
    gateway = fresh_gateway(catalogue())
    with httpx.Client(base_url=gateway.openai_url, trust_env=False) as client:
        told = {each["id"]: each for each in client.get("/models").json()["data"]}
        cards = client.get("/models", params={"client_version": "1"}).json()["models"]
    assert "temperature" not in told["sim-medium"]["supported_parameters"]
    assert "temperature" in told["sim-nano"]["supported_parameters"]
    assert "temperature" in told["auto"]["supported_parameters"]
    assert "reasoning_effort" in told["sim-medium"]["supported_parameters"]
    effort = told["sim-large"]["capabilities"]["effort"]
    assert effort["supported"] is effort["xhigh"]["supported"] is effort["max"]["supported"] is True
    assert told["sim-frontier"]["capabilities"]["effort"]["supported"] is False
    levels = {each["slug"]: each["supported_reasoning_levels"] for each in cards}
    assert [each["effort"] for each in levels["sim-medium"]] == ["low", "medium", "high"]
    assert levels["sim-nano"] == []
