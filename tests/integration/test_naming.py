"""Names that clients send: aliases, knobs that hang on names, and what comes before what."""

import httpx
import openai
import pytest

from tests.support.gateway import GatewayThread, stub_config
from tests.support.requests import assert_openai_error

ASK = [{"role": "user", "content": "What is a steelyard?"}]
TOKEN = "an-admin-token-of-the-tests"  # noqa: S105  (opens nothing else)
ALIASES = {
    "gpt-4o": "auto",
    "gpt-5.6-luna": "auto:economy",
    "claude-*": "auto:quality:0",
    "claude-opus-*": "sim-large",
    "fast": "sim-nano",
    "faster": "fast",
    "llm": "router-carrot-0",
    "best": "auto:1",
}


@pytest.fixture(scope="module")
def named(stub_thread, artifacts, tmp_path_factory):
    """Run a gateway with aliases that asks for keys."""
    changes = {
        "aliases": ALIASES,
        "auth": {"mode": "keys"},
        "store": {"data_dir": "data"},
        "breaker.failures": 1_000_000,
    }
    env = {"STEELYARD_ADMIN_TOKEN": TOKEN}
    config = stub_config(
        tmp_path_factory.mktemp("named"), stub_thread.origin, changes=changes, env=env
    )
    with GatewayThread(config, artifacts=artifacts) as gateway:
        yield gateway


@pytest.fixture
def sdk(named, stub, monkeypatch):
    """Return clients of the official library, each with a key of its own."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    clients = []

    def sdk(**terms):
        made = httpx.post(
            f"{named.url}/admin/keys",
            headers={"authorization": f"Bearer {TOKEN}"},
            json={"name": "test", **terms},
            trust_env=False,
        )
        client = openai.OpenAI(
            base_url=named.openai_url, api_key=made.json()["secret"], max_retries=0
        )
        clients.append(client)
        return client

    yield sdk
    for client in clients:
        client.close()


def ask(client, model, *, headers=None, routing=None):
    body = None if routing is None else {"routing": routing}
    return client.chat.completions.with_raw_response.create(
        model=model, messages=ASK, extra_headers=headers, extra_body=body
    ).headers


def knob_of(client, model, *, headers=None, routing=None):
    """Return the knob that is decided by, and where the model that it takes stands."""
    body = {"model": model, "messages": ASK} | ({} if routing is None else {"routing": routing})
    answer = client.post(
        "/route", cast_to=httpx.Response, body=body, options={"headers": headers or {}}
    )
    assert answer.status_code == 200
    return answer.json()["cost_quality"]


def test_any_name_may_stand_for_a_policy_or_a_model(sdk):
    client = sdk()
    assert ask(client, "gpt-4o")["x-route-policy"] == "default"
    assert ask(client, "gpt-5.6-luna")["x-route-policy"] == "economy"
    headers = ask(client, "claude-sonnet-9")
    assert (headers["x-route-policy"], headers["x-route-model"]) == ("quality", "sim-nano")
    for name in ("fast", "faster"):
        headers = ask(client, name)
        assert (headers["x-route-policy"], headers["x-route-model"]) == ("pinned", "sim-nano")
    assert ask(client, "claude-opus-4")["x-route-model"] == "sim-large"
    assert ask(client, "llm")["x-route-model"] == "sim-frontier"
    assert ask(client, "gpt-4o", routing={"models": ["fast"]})["x-route-model"] == "sim-nano"


def test_the_answer_names_the_model_that_served(sdk):
    answer = sdk().chat.completions.create(model="fast", messages=ASK)
    assert answer.model == "sim-nano"


@pytest.mark.parametrize(
    ("name", "policy", "knob"),
    [
        ("auto:0.25", "default", 0.25),
        ("auto:0", "default", 0),
        ("auto:quality:0.5", "quality", 0.5),
        ("auto:quality:economy", "quality", 0.5),
        ("gpt-4o:0.7", "default", 0.7),
        ("gpt-5.6-luna:quality", "economy", 0.95),
        ("claude-3.5", "quality", 0),
        ("best", "default", 1),
    ],
)
def test_the_knob_may_stand_in_the_name(sdk, name, policy, knob):
    client = sdk()
    assert knob_of(client, name) == knob
    assert ask(client, name)["x-route-policy"] == policy


def test_a_header_comes_before_the_body_the_body_before_the_name_and_the_name_before_the_key(sdk):
    client = sdk(cost_quality=0.4)
    header, body, name = {"x-cost-quality": "0.1"}, {"cost_quality": 0.2}, "auto:0.3"
    assert knob_of(client, name, headers=header, routing=body) == 0.1
    assert knob_of(client, name, routing=body) == 0.2
    assert knob_of(client, name) == 0.3
    assert knob_of(client, "auto") == knob_of(client, "gpt-4o") == 0.4
    assert knob_of(client, "auto:economy") == 0.5  # a policy that is named brings its own
    assert knob_of(sdk(), "auto") == 0.8


def test_what_is_overruled_is_told(sdk):
    client = sdk(cost_quality=0.4)
    header, body = {"x-cost-quality": "0.1"}, {"min_quality": 0.2}
    told = ask(client, "auto:0.3", headers=header, routing=body)["x-route-overruled"]
    assert told == "body; min-quality=0.2, name; cost-quality=0.3"
    told = ask(client, "best", routing=body)["x-route-overruled"]
    assert told == "name; cost-quality=1"
    same = ask(client, "auto:0.1", headers=header, routing={"cost_quality": 0.1})
    assert "x-route-overruled" not in same
    assert "x-route-overruled" not in ask(client, "auto", headers=header)


@pytest.mark.parametrize(
    ("name", "headers", "words"),
    [
        ("auto:1.5", {}, "the knob in the model name 'auto:1.5' must be a number from 0 to 1"),
        ("gpt-4o:2.0", {}, "the knob in the model name 'gpt-4o:2.0' must be"),
        ("best:0.5", {}, "an alias of 'auto:1', which has one"),
        ("fast:0.5", {}, "an alias of 'sim-nano', which takes none"),
        ("llm:0.5", {}, "an alias of 'router-carrot-0', which takes none"),
        ("llm", {"x-cost-quality": "1"}, "already sets the threshold"),
        (
            "gpt-5.6-luna",
            {"x-route-policy": "quality"},
            "'gpt-5.6-luna', which stands for the policy 'economy', and the policy 'quality'",
        ),
        ("auto:economy:0.5", {"x-route-policy": "quality"}, "contradict each other"),
    ],
)
def test_what_contradicts_itself_is_refused_and_told(sdk, name, headers, words):
    with pytest.raises(openai.BadRequestError) as caught:
        ask(sdk(), name, headers=headers)
    assert words in caught.value.message


@pytest.mark.parametrize(
    "name", ["gpt-4", "auto:", "auto:nobody", "auto:quality:", "auto:-1", "auto:0.5:0.5", "Fast"]
)
def test_other_names_are_none(sdk, name):
    with pytest.raises(openai.NotFoundError) as caught:
        ask(sdk(), name)
    assert caught.value.code == "model_not_found"
    for known in ("auto:economy", "gpt-4o", "claude-*", "sim-nano"):
        assert known in caught.value.message


def test_what_a_key_may_use_is_about_what_a_name_stands_for(sdk):
    client = sdk(models=["sim-nano"], policies=["default"])
    assert ask(client, "fast")["x-route-model"] == "sim-nano"
    assert ask(client, "gpt-4o")["x-route-model"] == "sim-nano"
    for name, code in (
        ("claude-opus-4", "model_not_allowed"),
        ("claude-sonnet-9", "policy_not_allowed"),
        ("gpt-5.6-luna", "policy_not_allowed"),
    ):
        with pytest.raises(openai.PermissionDeniedError) as caught:
            ask(client, name)
        assert caught.value.code == code
    listed = {model.id for model in client.models.list()}
    assert listed & set(ALIASES) == {"gpt-4o", "fast", "faster", "best"}


def test_names_are_listed_but_for_patterns(sdk):
    listed = [model.id for model in sdk().models.list()]
    assert {name for name in ALIASES if "*" not in name} < set(listed)
    assert not [name for name in listed if "*" in name]
    assert len(set(listed)) == len(listed)


def test_a_knob_in_a_name_is_the_clients_and_one_in_an_alias_the_operators(sdk):
    client = sdk(least_cost_quality=0.2, most_cost_quality=0.6)
    for name in ("auto:0.7", "gpt-4o:0.7"):
        with pytest.raises(openai.PermissionDeniedError) as caught:
            ask(client, name)
        assert (caught.value.code, caught.value.param) == ("knob_out_of_range", "model")
    assert knob_of(client, "best") == 0.6
    assert knob_of(client, "claude-3.5") == 0.2
    assert knob_of(client, "auto:0.5") == 0.5


def test_without_policies_a_name_may_stand_for_a_model_and_none_for_a_knob(fresh_gateway):
    gateway = fresh_gateway({"policies": {}, "routers": {}, "aliases": {"fast": "sim-nano"}})
    with httpx.Client(base_url=gateway.url, trust_env=False) as client:
        answer = client.post("/v1/chat/completions", json={"model": "fast", "messages": ASK})
        assert answer.json()["model"] == "sim-nano"
        refused = client.post("/v1/chat/completions", json={"model": "auto:0.5", "messages": ASK})
    assert assert_openai_error(refused, status=404)["code"] == "model_not_found"
