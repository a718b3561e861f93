"""`GET /v1/models` as each kind of its readers takes it."""

import datetime as dt
import re

import anthropic
import httpx
import openai
import pytest

from tests.support.gateway import STUB_MODELS, GatewayThread, stub_config
from tests.support.requests import assert_openai_error

TOKEN = "an-admin-token-of-the-tests"  # noqa: S105  (opens nothing else)
ALIASES = {"claude-auto": "auto:economy", "gpt-*": "auto", "fast": "sim-nano"}
POLICIES = ("default", "economy", "quality")
LISTED = {"auto", *(f"auto:{name}" for name in POLICIES), "claude-auto", "fast", *STUB_MODELS}
# Of Anthropic's SDK, `types/model_capabilities.py`: each must be there.
CAPABILITIES = {
    *("batch", "citations", "code_execution", "context_management", "effort", "image_input"),
    *("pdf_input", "server_tools", "structured_outputs", "thinking"),
}
# Of Codex, `codex-rs/protocol/src/openai_models.rs`: fields without a default.
CODEX_FIELDS = {
    *("slug", "display_name", "supported_reasoning_levels", "shell_type", "visibility"),
    *("supported_in_api", "priority", "base_instructions", "supports_reasoning_summaries"),
    *("support_verbosity", "truncation_policy", "supports_parallel_tool_calls"),
    *("experimental_supported_tools",),
}


@pytest.fixture(scope="module")
def keyed(stub_thread, artifacts, tmp_path_factory):
    """Run a gateway with aliases that asks for keys."""
    changes = {"aliases": ALIASES, "auth": {"mode": "keys"}, "store": {"data_dir": "data"}}
    env = {"STEELYARD_ADMIN_TOKEN": TOKEN}
    folder = tmp_path_factory.mktemp("models")
    config = stub_config(folder, stub_thread.origin, changes=changes, env=env)
    with GatewayThread(config, artifacts=artifacts) as gateway:
        yield gateway


@pytest.fixture
def reader(keyed):
    """Return clients with keys of the given terms."""
    clients = []

    def reader(**terms):
        made = httpx.post(
            f"{keyed.url}/admin/keys",
            headers={"authorization": f"Bearer {TOKEN}"},
            json={"name": "test", **terms},
            trust_env=False,
        )
        client = httpx.Client(
            base_url=keyed.url, headers={"x-api-key": made.json()["secret"]}, trust_env=False
        )
        clients.append(client)
        return client

    yield reader
    for client in clients:
        client.close()


def listed(client, **params):
    answer = client.get("/v1/models", params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_openais_library_lists_and_looks_up(keyed, reader, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    secret = reader().headers["x-api-key"]
    with openai.OpenAI(base_url=keyed.openai_url, api_key=secret) as client:
        models = list(client.models.list())
        assert {model.id for model in models} >= LISTED
        assert not [model.id for model in models if "*" in model.id]
        for model in models:
            assert client.models.retrieve(model.id) == model
            assert (model.object, type(model.created)) == ("model", int)
        owners = {model.id: model.owned_by for model in models}
    assert (owners["sim-nano"], owners["auto"], owners["fast"]) == (
        "upstream",
        "steelyard",
        "steelyard",
    )


def test_anthropics_fields_are_there(reader):
    for model in listed(reader())["data"]:
        assert model["type"] == "model"
        assert model["display_name"]
        assert model["lifecycle"] == "active"
        assert dt.datetime.fromisoformat(model["created_at"]).tzinfo is not None
        assert set(model["capabilities"]) == CAPABILITIES
        for support in model["capabilities"].values():
            assert type(support["supported"]) is bool
        assert set(model["capabilities"]["effort"]) > {"low", "medium", "high", "max"}
        types = model["capabilities"]["thinking"]["types"]
        assert set(types) == {"adaptive", "between_tools", "disabled", "enabled"}
        assert type(model["max_input_tokens"]) is type(model["max_tokens"]) is int


@pytest.mark.parametrize("limit", [1, 3, 1000])
def test_pages_hold_every_name_once_forward_and_backward(reader, limit):
    client = reader()
    whole = listed(client)
    ids = [model["id"] for model in whole["data"]]
    assert whole["has_more"] is False
    assert (whole["first_id"], whole["last_id"]) == (ids[0], ids[-1])
    forward, params = [], {}
    while True:
        page = listed(client, limit=limit, **params)
        forward += [model["id"] for model in page["data"]]
        assert len(page["data"]) <= limit
        if not page["has_more"]:
            break
        params = {"after_id": page["last_id"]}
    assert forward == ids
    backward, params = [], {"before_id": ids[-1]}
    while True:
        page = listed(client, limit=limit, **params)
        backward = [model["id"] for model in page["data"]] + backward
        if not page["has_more"]:
            break
        params = {"before_id": page["first_id"]}
    assert backward == ids[:-1]
    nothing = listed(client, after_id=ids[-1])
    assert (nothing["data"], nothing["first_id"], nothing["has_more"]) == ([], None, False)


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({"limit": "0"}, "limit"),
        ({"limit": "1001"}, "limit"),
        ({"limit": "-1"}, "limit"),
        ({"limit": "many"}, "limit"),
        ({"limit": "9" * 5_000}, "limit"),
        ({"limit": "1.5"}, "limit"),
    ],
)
def test_a_page_that_cannot_be_is_refused(reader, params, param):
    error = assert_openai_error(reader().get("/v1/models", params=params), status=400)
    assert error["param"] == param


@pytest.mark.parametrize("param", ["after_id", "before_id"])
def test_a_page_beside_a_name_that_is_not_listed_is_not_found(reader, param):
    for name in ("nobody", "gpt-*", "auto:0.7"):
        assert_openai_error(reader().get("/v1/models", params={param: name}), status=404)


def test_claude_code_finds_what_is_called_claude(reader):
    found = [m for m in listed(reader(), limit=1000)["data"] if "claude" in m["id"]]
    assert [(model["id"], model["display_name"]) for model in found] == [("claude-auto",) * 2]


def test_codex_gets_cards_where_it_asks(reader):
    client = reader()
    assert "models" not in listed(client)
    assert "models" not in listed(client, client_version="")
    answer = listed(client, client_version="0.155.0")
    assert [each["slug"] for each in answer["models"]] == [each["id"] for each in answer["data"]]
    for each in answer["models"]:
        assert set(each) >= CODEX_FIELDS
        assert each["base_instructions"]
        assert each["truncation_policy"] == {"mode": "bytes", "limit": 10_000}
        assert set(each["input_modalities"]) <= {"text", "image"}
    windows = {each["slug"]: each["context_window"] for each in answer["models"]}
    assert windows["auto"] == max(windows[name] for name in STUB_MODELS)


def test_limits_prices_and_abilities_are_those_of_the_catalogue(keyed, reader):
    config = keyed.app.state.steelyard.config
    told = {model["id"]: model for model in listed(reader())["data"]}
    for name in STUB_MODELS:
        spec, model = config.specs[name], told[name]
        assert model["context_length"] == model["max_input_tokens"] == spec.context_window_tokens
        longest = spec.max_output_tokens or spec.context_window_tokens
        assert model["max_output_tokens"] == model["max_tokens"] == longest
        sees = "vision" in spec.capabilities
        assert ("image" in model["architecture"]["input_modalities"]) is sees
        assert model["capabilities"]["image_input"]["supported"] is sees
        assert ("tools" in model["supported_parameters"]) is ("tools" in spec.capabilities)
        for key, usd in (
            ("prompt", spec.prices.input_usd_per_mtok),
            ("completion", spec.prices.output_usd_per_mtok),
        ):
            assert re.fullmatch(r"0|0\.\d*[1-9]", model["pricing"][key])
            assert float(model["pricing"][key]) == pytest.approx(usd / 1e6)
        assert model["steelyard"]["prices_from"]["source"]
    fast = told["fast"]
    assert (fast["pricing"], fast["steelyard"]["stands_for"]) == (
        told["sim-nano"]["pricing"],
        "sim-nano",
    )


def test_a_policy_gives_what_any_of_its_candidates_gives(reader):
    told = {model["id"]: model for model in listed(reader())["data"]}
    for name in ("auto", "auto:economy", "claude-auto"):
        model = told[name]
        for limit in ("context_length", "max_output_tokens"):
            assert model[limit] == max(told[each][limit] for each in STUB_MODELS)
        assert model["pricing"] is None
        assert model["steelyard"]["candidates"] == list(STUB_MODELS)
        prices = model["steelyard"]["prices_usd_per_mtok"]["input"]
        assert prices["least"] < prices["most"]
        assert {"image", "text"} <= set(model["architecture"]["input_modalities"])
    assert told["auto"]["steelyard"]["cost_quality"] == 0.8
    assert told["claude-auto"]["steelyard"]["stands_for"] == "auto:economy"
    assert told["claude-auto"]["steelyard"]["cost_quality"] == 0.5


def test_a_name_that_is_not_listed_can_be_looked_up(reader):
    client = reader(cost_quality=0.3)
    for name, knob in (("auto:0.7", 0.7), ("gpt-5", 0.3), ("gpt-5:0.25", 0.25), ("auto", 0.3)):
        model = client.get(f"/v1/models/{name}").json()
        assert (model["id"], model["steelyard"]["cost_quality"]) == (name, knob)
    for name in ("gpt", "auto:nobody", "router-nobody-0.5"):
        assert_openai_error(client.get(f"/v1/models/{name}"), status=404)
    assert_openai_error(client.get("/v1/models/auto:1.5"), status=400)


def test_a_key_is_told_of_what_it_may_use_alone(reader):
    client = reader(models=["sim-nano", "sim-small"], policies=["economy"])
    told = {model["id"]: model for model in listed(client, client_version="1")["data"]}
    assert set(told) & LISTED == {"auto", "auto:economy", "claude-auto", "fast", *STUB_MODELS[:2]}
    assert told["auto"]["steelyard"]["candidates"] == ["sim-nano", "sim-small"]
    limits = [told[name]["max_output_tokens"] for name in STUB_MODELS[:2]]
    assert told["auto"]["max_output_tokens"] == max(limits)
    for path in (
        "/v1/models/sim-large",
        "/v1/models/auto:quality",
        "/v1/model/info?model=sim-large",
    ):
        refused = assert_openai_error(client.get(path), status=404)
        assert "sim-large," not in refused["message"]
    assert "sim-large" not in client.get("/v1/model/info").text


@pytest.mark.parametrize("path", ["/v1/model/info", "/model/info"])
def test_litellms_detail_of_one_or_all(reader, path):
    client = reader()
    (entry,) = client.get(path, params={"model": "sim-frontier"}).json()["data"]
    info = entry["model_info"]
    assert entry["model_name"] == info["id"] == "sim-frontier"
    assert info["input_cost_per_token"] == pytest.approx(4e-6)
    assert info["output_cost_per_token"] == pytest.approx(20e-6)
    assert info["supports_function_calling"] is info["supports_vision"] is True
    assert info["max_output_tokens"] == 128_000
    entries = client.get(path).json()["data"]
    assert {each["model_name"] for each in entries} >= LISTED
    assert_openai_error(client.get(path, params={"litellm_model_id": "nobody"}), status=404)
    assert httpx.get(client.base_url.join(path), trust_env=False).status_code == 401


def test_a_model_without_a_price_is_told_without_one(fresh_gateway):
    gateway = fresh_gateway({"models.new": {"upstream": "stub", "spec": "gpt-6-sol"}})
    model = httpx.get(f"{gateway.openai_url}/models/new", trust_env=False).json()
    assert model["pricing"] is None
    assert model["steelyard"]["prices_usd_per_mtok"] == {"input": None, "output": None}


@pytest.mark.parametrize("path", ["/v1/models/nobody", "/v1/models?limit=0", "/v1/nothing"])
@pytest.mark.parametrize("version", ["2023-06-01", "2026-10-21"])
def test_clients_of_anthropic_are_told_of_errors_in_its_shape(reader, path, version):
    client = reader()
    usual = assert_openai_error(client.get(path))
    answer = client.get(path, headers={"anthropic-version": version})
    told = answer.json()
    assert told["type"] == "error"
    assert told["error"]["message"] == usual["message"]
    assert told["error"]["type"] in ("not_found_error", "invalid_request_error")
    assert "param" not in told["error"]
    assert answer.headers["request-id"] == answer.headers["x-request-id"] == told["request_id"]


def test_a_key_that_is_none_is_told_to_each_in_its_shape(keyed):
    with httpx.Client(base_url=keyed.url, trust_env=False) as client:
        assert_openai_error(client.get("/v1/models"), status=401)
        answer = client.get(
            "/v1/models", headers={"anthropic-version": "2023-06-01", "x-api-key": "sk-none"}
        )
    assert answer.status_code == 401
    assert answer.json()["error"]["type"] == "authentication_error"


def test_anthropics_library_knows_what_is_not_there(keyed, reader):
    client = reader()
    with (
        anthropic.Anthropic(base_url=keyed.url, api_key=client.headers["x-api-key"]) as library,
        pytest.raises(anthropic.NotFoundError) as caught,
    ):
        library.models.retrieve("nobody")
    assert caught.value.body["error"]["type"] == "not_found_error"
    assert "nobody" in caught.value.message
