"""Variants of models: an effort as an action of its own, over sockets with the official library."""

import httpx
import openai
import pytest

from app.assembly import build_policies, config_version
from app.errors import ConfigError
from tests.support.gateway import CONFIGS, read_yaml, stub_config, write_yaml

ASK = [{"role": "user", "content": "What is a steelyard?"}]
VARIANTS = {
    "low": {"reasoning_effort": "low", "reasoning_tokens": 100},
    "high": {"reasoning_effort": "high", "reasoning_tokens": 4_000, "max_output_tokens": 9_000},
}
CANDIDATES = ["sim-nano", "sim-small@low", "sim-small@high"]


@pytest.fixture
def changed(tmp_path):
    """Return the change that gives sim-small variants and has a policy choose among them."""

    def changed(variants=VARIANTS, candidates=CANDIDATES, **more):
        document = read_yaml(CONFIGS / "models.yaml")
        document["models"]["gpt-4.1-nano"]["variants"] = variants
        document["models"]["gpt-4.1-nano"]["parameters"] = {"known": False}
        file = tmp_path / "catalogue.yaml"
        write_yaml(file, document)
        return {
            "catalogue": str(file),
            "policies.thinking": {
                "router": "carrot",
                "candidates": candidates,
                "default_model": candidates[-1],
                "router_deadline_s": 10.0,
            },
            **more,
        }

    return changed


@pytest.fixture
def sdk(fresh_gateway, changed, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    gateway = fresh_gateway(changed())
    with openai.OpenAI(base_url=gateway.openai_url, api_key="x", max_retries=0) as client:
        yield client


def ask(client, model, **fields):
    create = client.chat.completions.with_raw_response.create
    return create(model=model, messages=ASK, **fields).headers


def route(client, model, **fields):
    body = {"model": model, "messages": ASK, **fields}
    return client.post("/route", cast_to=httpx.Response, body=body).json()


def table(answer):
    return {each["model"]: each for each in answer["candidates"]}


def test_a_variant_is_a_model_of_its_own_and_asked_as_it_says(sdk, stub):
    for name, effort, limit in (("low", "low", None), ("high", "high", 9_000)):
        headers = ask(sdk, f"sim-small@{name}")
        entry = stub.log()[-1]
        assert entry.model == "sim-small"
        assert entry.body["reasoning_effort"] == effort
        assert entry.body.get("max_tokens") == limit
        assert headers["x-route-model"] == f"sim-small@{name}"
        assert f"reasoning_effort={effort}" in headers["x-route-params"]
    ask(sdk, "sim-small@high", max_tokens=7, reasoning_effort="high")
    assert stub.log()[-1].body["max_tokens"] == 7
    ask(sdk, "sim-small")
    assert "reasoning_effort" not in stub.log()[-1].body
    ids = {model.id for model in sdk.models.list()}
    assert {"sim-small", "sim-small@low", "sim-small@high"} <= ids


def test_each_variant_has_predictions_and_a_price_of_its_own(sdk):
    rows = table(route(sdk, "auto:thinking"))
    low, high = rows["sim-small@low"], rows["sim-small@high"]
    assert high["predicted_output_tokens"] - low["predicted_output_tokens"] == pytest.approx(3_900)
    assert high["predicted_cost_usd"] > low["predicted_cost_usd"]
    assert low["predicted_quality"] == high["predicted_quality"]
    assert low["evidence"] == high["evidence"] == "prior"


@pytest.mark.parametrize(
    ("effort", "variant"),
    [("low", "low"), ("high", "high"), ("max", "high"), ("minimal", "low"), ("medium", "high")],
)
def test_a_clients_effort_picks_among_the_variants(sdk, effort, variant):
    answer = route(sdk, "auto:thinking", reasoning_effort=effort, routing={"cost_quality": 1})
    rows = table(answer)
    other = "low" if variant == "high" else "high"
    assert rows[f"sim-small@{variant}"]["eligible"]
    assert rows[f"sim-small@{other}"]["exclusion"] == "not_allowed"
    assert rows["sim-nano"]["eligible"]


@pytest.mark.parametrize("effort", [None, "extreme", 3])
def test_what_is_no_effort_picks_nothing(sdk, effort):
    answer = route(sdk, "auto:thinking", reasoning_effort=effort)
    assert all(each["eligible"] for each in answer["candidates"])


def test_an_effort_that_no_variant_has_is_told_as_it_is_sent(sdk, stub):
    headers = ask(
        sdk,
        "auto:thinking",
        reasoning_effort="max",
        extra_body={"routing": {"models": ["sim-small@low", "sim-small@high"]}},
    )
    assert headers["x-route-model"] == "sim-small@high"
    assert headers["x-route-params"].startswith("reasoning_effort=max->high")
    assert stub.log()[-1].body["reasoning_effort"] == "high"


def test_a_budget_for_thinking_is_one_too(fresh_gateway, changed, stub):
    variants = {"deep": {"thinking_budget_tokens": 2_048}}
    gateway = fresh_gateway(changed(variants, ["sim-nano", "sim-small@deep"]))
    answer = httpx.post(
        f"{gateway.openai_url}/chat/completions",
        json={"model": "sim-small@deep", "messages": ASK},
        trust_env=False,
    )
    assert answer.headers["x-route-params"] == "thinking=set"
    assert stub.log()[-1].body["thinking"] == {"type": "enabled", "budget_tokens": 2_048}


def test_an_alias_may_stand_for_a_variant(fresh_gateway, changed):
    gateway = fresh_gateway(changed(aliases={"thinker": "sim-small@high"}))
    answer = httpx.post(
        f"{gateway.openai_url}/chat/completions",
        json={"model": "thinker", "messages": ASK},
        trust_env=False,
    )
    assert answer.headers["x-route-model"] == "sim-small@high"
    told = httpx.get(f"{gateway.openai_url}/models/sim-small@high", trust_env=False).json()
    assert told["max_output_tokens"] == 9_000


@pytest.mark.parametrize(
    ("terms", "words"),
    [
        ({"candidates": ["sim-nano", "sim-small@huge"]}, "there is no variant 'sim-small@huge'"),
        ({"candidates": ["sim-nano", "nobody@low"]}, "unknown name 'nobody'"),
        ({"aliases": {"x": "sim-nano@low"}}, "there is no variant 'sim-nano@low'"),
        ({"variants": {"low": {}}}, "says nothing of its own"),
        ({"variants": {"low": {"reasoning_tokens": 5}}}, "says nothing of its own"),
        ({"variants": {"low": {"reasoning_effort": "extreme"}}}, "reasoning_effort"),
    ],
)
def test_a_variant_that_cannot_be_is_refused(fresh_gateway, changed, terms, words):
    with pytest.raises(ConfigError) as caught:
        fresh_gateway(changed(**terms))
    assert words in caught.value.message


def test_a_variant_that_is_likened_to_another_model_is_predicted_as_that(
    changed, tmp_path, artifacts, stub
):
    artifact = artifacts["carrot"]
    known = min(artifact.models)
    variants = {**VARIANTS, "high": {**VARIANTS["high"], "predicted_as": known}}
    config = stub_config(tmp_path, stub.origin, changes=changed(variants))
    policy = build_policies(config, artifacts)["thinking"]
    specs = {spec.model_id: spec for spec in policy.candidates}
    assert specs["sim-small@high"].predicted_as == known
    assert policy.evidence["sim-small@high"] is artifact.evidence(known)
    assert specs["sim-small@low"].predicted_as == config.specs["sim-small"].predicted_as


def test_what_a_variant_is_asked_with_is_part_of_the_configurations_version(
    changed, tmp_path, stub
):
    versions = [
        config_version(
            stub_config(
                tmp_path,
                stub.origin,
                changes=changed({"deep": {"thinking_budget_tokens": n}}, ["sim-small@deep"]),
            )
        )
        for n in (2_048, 4_096, 2_048)
    ]
    assert versions[0] == versions[2] != versions[1]
