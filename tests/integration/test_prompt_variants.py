"""System prompts of the operator's as variants of a model, over sockets with official libraries."""

import anthropic
import httpx
import openai
import pytest

from app.errors import ConfigError
from app.outcomes.sqlite import read_outcomes
from tests.support.gateway import GatewayThread, stub_config

ONE, FIRST, MAYBE = "Answer in one sentence.", "You are terse.", "Be kind."
VARIANTS = {
    "concise": {"prompt": {"system": ONE}},
    "terse": {"prompt": {"system": FIRST, "position": "prepend"}},
    "kind": {"prompt": {"system": MAYBE, "position": "if_none"}},
    "both": {"prompt": {"system": ONE}, "reasoning_effort": "low"},
}
USER = {"role": "user", "content": "What is a steelyard?"}
OWN = {"role": "system", "content": "Speak like a merchant."}
MODELS = ("sim-small", "sim-frontier")
"""At an upstream of OpenAI's kind that speaks Responses too, and at one of Anthropic's."""


@pytest.fixture(scope="module")
def running(stub_thread, artifacts, tmp_path_factory):
    folder = tmp_path_factory.mktemp("prompts")
    changes = {
        "store": {"data_dir": "data"},
        "upstreams.stub.also_serves": ["responses", "completions"],
        "upstreams.claude": {"kind": "anthropic", "base_url": f"{stub_thread.origin}/v1"},
        "models.sim-frontier.upstream": "claude",
        **{f"models.{name}.variants": VARIANTS for name in MODELS},
        "models.sim-small.limits": {"requests_per_minute": 1_000},
        "policies.prompted": {
            "router": "carrot",
            "candidates": ["sim-nano", "sim-small", "sim-small@concise"],
            "default_model": "sim-small",
            "router_deadline_s": 10.0,
        },
    }
    config = stub_config(folder, stub_thread.origin, changes=changes)
    with GatewayThread(config, artifacts=artifacts) as gateway:
        yield gateway, folder / "data"


@pytest.fixture
def gateway(running, stub, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return running[0]


@pytest.fixture
def sdk(gateway):
    with openai.OpenAI(base_url=gateway.openai_url, api_key="x", max_retries=0) as client:
        yield client


def systems(messages):
    return [each["content"] for each in messages if each["role"] in ("system", "developer")]


@pytest.mark.parametrize(
    ("variant", "given", "told"),
    [
        ("concise", [], [ONE]),
        ("terse", [], [FIRST]),
        ("kind", [], [MAYBE]),
        ("concise", [OWN], [f"{OWN['content']}\n\n{ONE}"]),
        ("terse", [OWN], [f"{FIRST}\n\n{OWN['content']}"]),
        ("kind", [OWN], [OWN["content"]]),
        ("concise", [OWN, {**OWN, "content": "Twice."}], [OWN["content"], f"Twice.\n\n{ONE}"]),
        ("terse", [OWN, {**OWN, "content": "Twice."}], [f"{FIRST}\n\n{OWN['content']}", "Twice."]),
        ("concise", [{**OWN, "role": "developer"}], [f"{OWN['content']}\n\n{ONE}"]),
        (
            "terse",
            [{**OWN, "content": [{"type": "text", "text": "Parts."}]}],
            [[{"type": "text", "text": FIRST}, {"type": "text", "text": "Parts."}]],
        ),
        ("concise", [{**OWN, "content": ""}], [ONE]),
        ("concise", [USER, OWN], [ONE, OWN["content"]]),
        ("kind", [USER, OWN], [OWN["content"]]),
    ],
)
def test_a_chat_is_told_the_prompt_beside_the_clients_own(sdk, stub, variant, given, told):
    create = sdk.chat.completions.with_raw_response.create
    headers = create(model=f"sim-small@{variant}", messages=[*given, USER]).headers
    entry = stub.log()[-1]
    assert entry.model == "sim-small"
    assert systems(entry.body["messages"]) == told
    assert [each for each in entry.body["messages"] if each["role"] == "user"][-1] == USER
    assert headers["x-route-model"] == f"sim-small@{variant}"
    assert headers["x-route-prompt"] == variant
    assert f"prompt={variant}" in headers["x-route-params"]


def test_a_model_itself_is_told_nothing(sdk, stub):
    headers = sdk.chat.completions.with_raw_response.create(
        model="sim-small", messages=[OWN, USER]
    ).headers
    assert "x-route-prompt" not in headers
    assert stub.log()[-1].body["messages"] == [OWN, USER]


@pytest.mark.parametrize("model", MODELS)
def test_responses_are_told_too_natively_and_translated(sdk, stub, model):
    for given, told in (({}, [ONE]), ({"instructions": "Own."}, ["Own.", ONE])):
        sdk.responses.create(model=f"{model}@concise", input="What is a steelyard?", **given)
        body = stub.log()[-1].body
        said = body.get("instructions", body.get("system"))
        texts = said.split("\n\n") if isinstance(said, str) else [each["text"] for each in said]
        assert "\n\n".join(texts).split("\n\n") == told
    sdk.responses.create(model=f"{model}@kind", input=[{"role": "system", "content": "Own."}, USER])
    assert MAYBE not in str(stub.log()[-1].body)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    ("system", "told"),
    [
        (anthropic.NOT_GIVEN, ["Answer in one sentence."]),
        ("Own.", ["Own.", ONE]),
        ([{"type": "text", "text": "Own.", "cache_control": {"type": "ephemeral"}}], ["Own.", ONE]),
    ],
)
def test_messages_are_told_too_natively_and_translated(gateway, stub, model, system, told):
    with anthropic.Anthropic(base_url=gateway.url, api_key="x", max_retries=0) as client:
        client.messages.create(
            model=f"{model}@concise", max_tokens=20, messages=[USER], system=system
        )
    body = stub.log()[-1].body
    said = body["system"] if "system" in body else systems(body["messages"])
    text = str(said)
    assert [text.count(each) for each in told] == [1] * len(told)
    assert text.index(told[0]) <= text.index(told[-1])
    if model == "sim-frontier" and isinstance(system, list):
        assert said[0] == system[0]


def test_a_dialect_that_has_no_place_for_a_prompt_is_translated_to_one_that_has(gateway, stub):
    body = {"model": "sim-small@concise", "prompt": "What is a steelyard?", "max_tokens": 9}
    answer = httpx.post(f"{gateway.openai_url}/completions", json=body, trust_env=False)
    assert answer.status_code == 200
    assert systems(stub.log()[-1].body["messages"]) == [ONE]


def test_an_effort_and_a_prompt_go_together(sdk, stub):
    sdk.chat.completions.create(model="sim-small@both", messages=[USER])
    body = stub.log()[-1].body
    assert (body["reasoning_effort"], systems(body["messages"])) == ("low", [ONE])


def test_the_prompt_is_paid_and_the_price_is_the_models(gateway):
    body = {"model": "auto:prompted", "messages": [USER]}
    answer = httpx.post(f"{gateway.openai_url}/route", json=body, trust_env=False).json()
    rows = {each["model"]: each for each in answer["candidates"]}
    plain, concise = rows["sim-small"], rows["sim-small@concise"]
    n_more = concise["input_tokens"] - plain["input_tokens"]
    assert 6 <= n_more <= 20
    price = 0.1e-6  # of gpt-4.1-nano's input
    more_usd = concise["predicted_cost_usd"] - plain["predicted_cost_usd"]
    assert more_usd == pytest.approx(n_more * price)
    assert concise["evidence"] == "prior"


def test_the_log_and_metrics_tell_the_arm_and_in_its_name_the_model(sdk, gateway, running):
    headers = sdk.chat.completions.with_raw_response.create(
        model="sim-small@terse", messages=[USER]
    ).headers
    decision_id = headers["x-route-decision-id"]
    answer = httpx.post(
        f"{gateway.openai_url}/feedback",
        json={"decision_id": decision_id, "score": 0.5},
        trust_env=False,
    )
    assert answer.status_code == 200
    metrics = httpx.get(f"{gateway.url}/metrics", trust_env=False).text
    assert 'model="sim-small@terse"' in metrics
    gateway_rows = [row for _, row in read_outcomes(running[1])]
    (row,) = [row for row in gateway_rows if row.decision_id == decision_id]
    assert row.model == "sim-small@terse"


def test_the_limits_of_a_model_are_those_of_its_variants_too(fresh_gateway):
    gateway = fresh_gateway(
        {
            "models.sim-small.variants": VARIANTS,
            "models.sim-small.limits": {"requests_per_minute": 2},
        }
    )

    def ask(model):
        body = {"model": model, "messages": [USER], "max_tokens": 5}
        url = f"{gateway.openai_url}/chat/completions"
        return httpx.post(url, json=body, trust_env=False).status_code

    assert [ask(f"sim-small{each}") for each in ("", "@concise", "@terse", "")] == [
        200,
        200,
        429,
        429,
    ]


def test_answers_in_the_cache_are_kept_apart(sdk):
    def ask(model):
        create = sdk.chat.completions.with_raw_response.create
        raw = create(model=model, messages=[USER], extra_headers={"x-route-cache": "on"})
        return raw.headers["x-route-cache"]

    names = ("sim-small@concise", "sim-small@terse", "sim-small", "sim-small@concise")
    assert [ask(name) for name in names] == ["miss", "miss", "miss", "hit"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"prompt": {"system": "x", "position": "replace"}}, "never replaced"),
        ({"prompt": {"system": ""}}, "prompt.system"),
        ({"prompt": {"system": "x", "position": "sideways"}}, "position"),
        ({"prompt": {"position": "append"}}, "system"),
        ({}, "says nothing of its own"),
        ({"prompt": {"system": "x", "sytem": "y"}}, "sytem"),
    ],
)
def test_a_prompt_that_cannot_be_is_refused(fresh_gateway, changes, words):
    with pytest.raises(ConfigError) as caught:
        fresh_gateway({"models.sim-small.variants": {"odd": changes}})
    assert words in caught.value.message
    assert "models.sim-small.variants.odd" in caught.value.message


def test_a_variant_is_said_once(fresh_gateway, tmp_path):
    with pytest.raises(ConfigError) as caught:
        fresh_gateway({"policies.default.candidates": ["sim-small@concise", "sim-medium"]})
    assert "there is no variant 'sim-small@concise'" in caught.value.message
