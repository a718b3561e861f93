"""Addresses that clients make of a base URL in other ways lead where they were meant to."""

import json

import httpx
import openai
import pytest

from app.api.dialects.base import dialects

ASK = {"messages": [{"role": "user", "content": "What is a steelyard?"}], "max_tokens": 5}


def ask(gateway, path, method="POST", **options):
    return httpx.request(method, gateway.url + path, trust_env=False, **options)


@pytest.mark.parametrize("dialect", dialects().all, ids=lambda each: each.name)
@pytest.mark.parametrize("before", ["", "/v1/v1", "/v1/v1/v1", "/openai/v1", "/openai"])
def test_a_base_url_without_its_v1_or_with_two_is_answered(gateway, dialect, before):
    path = before + dialect.path.removeprefix("/v1")
    asked = {**dialect.documented.example, "model": "sim-nano"}
    answer = ask(gateway, path + "?beta=true", json=asked)
    assert answer.status_code == 200, answer.text
    dialect.documented.answer.model_validate(answer.json())
    refused = ask(gateway, path, content=b"{", headers={"content-type": "application/json"})
    assert refused.status_code == 400
    dialect.documented.error.model_validate(refused.json())
    assert ask(gateway, path, "PUT").status_code == 405


@pytest.mark.parametrize("path", ["/models", "/v1/v1/models", "/openai/models", "/models/auto"])
def test_the_models_are_listed_there_too(gateway, path):
    answer = ask(gateway, path, "GET")
    assert answer.status_code == 200
    assert answer.json()["object"] in {"list", "model"}


@pytest.mark.parametrize("path", ["/v1", "/v1/v1", "/openai", "/chat", "/x"])
def test_nothing_else_is_taken_for_one_of_them(gateway, path):
    assert ask(gateway, path, json=ASK).status_code == 404


def test_azures_client_names_the_model_in_its_address(gateway, stub, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    client = openai.AzureOpenAI(
        azure_endpoint=gateway.url, api_key="none", api_version="2024-10-21", max_retries=0
    )
    with client:
        answer = client.chat.completions.with_raw_response.create(model="sim-nano", **ASK)
        assert answer.headers["x-route-model"] == "sim-nano"
        stream = client.chat.completions.create(model="auto", stream=True, **ASK)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
        text = client.completions.create(model="sim-nano", prompt="Hi", max_tokens=3)
        assert text.choices[0].text
        with pytest.raises(openai.NotFoundError, match="no-such"):
            client.chat.completions.create(model="no-such", **ASK)


@pytest.mark.parametrize("body_model", [None, "other", 7])
def test_the_address_counts_and_not_the_body(gateway, stub, body_model):
    body = ASK if body_model is None else {**ASK, "model": body_model}
    path = "/openai/deployments/sim-nano/chat/completions?api-version=1"
    answer = ask(gateway, path, json={**body, "seed": 7})
    assert answer.headers["x-route-model"] == "sim-nano"
    (entry,) = stub.log()
    assert entry.body["seed"] == 7
    assert entry.body["messages"] == ASK["messages"]


@pytest.mark.parametrize("model", ["no%2Fsuch", "no/such", "%22", "auto%3Anone"])
def test_a_model_that_is_not_there_is_told_as_such(gateway, model):
    answer = ask(gateway, f"/openai/deployments/{model}/chat/completions", json=ASK)
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "model_not_found"


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff", b'{"\xff":1}'])
def test_a_body_that_is_none_is_refused_as_elsewhere(gateway, body):
    headers = {"content-type": "application/json"}
    path = "/openai/deployments/auto/chat/completions"
    answers = [
        ask(gateway, each, content=body, headers=headers) for each in (path, "/v1/chat/completions")
    ]
    assert [each.status_code for each in answers] == [400, 400]
    assert answers[0].json() == answers[1].json()


def test_it_is_counted_under_the_path_that_was_meant(fresh_gateway):
    gateway = fresh_gateway()
    ask(gateway, "/openai/deployments/sim-nano/chat/completions", json=ASK)
    ask(gateway, "/chat/completions", json={**ASK, "model": "sim-nano"})
    ask(gateway, "/chat/completions", json={**ASK, "model": "no-such"})
    lines = httpx.get(f"{gateway.url}/metrics", trust_env=False).text.splitlines()
    counted = [each for each in lines if each.startswith("gateway_requests_total{")]
    assert all('route="/v1/chat/completions"' in each for each in counted), json.dumps(counted)
    assert sum(float(each.rpartition(" ")[2]) for each in counted) == 3
