"""Each class of mistake in a configuration is one clear line; what is shipped is right."""

import copy
import re
from pathlib import Path

import pytest
import yaml

from app.assembly import build_names, build_policies, load_artifacts
from app.config import load_config
from app.errors import ConfigError
from tests.support.gateway import CONFIGS, REPOSITORY

SHIPPED = sorted(CONFIGS.glob("gateway*.yaml"))

GOOD = {
    "upstreams": {"up": {"base_url": "http://127.0.0.1:9/v1"}},
    "models": {"cheap": {"upstream": "up"}, "dear": {"upstream": "up"}},
    "routers": {"carrot": {"pair": {"strong": "dear", "weak": "cheap"}}},
    "policies": {
        "default": {
            "router": "carrot",
            "candidates": ["cheap", "dear"],
            "default_model": "cheap",
        }
    },
}
ENTRY = {
    "prices": {
        "input_usd_per_mtok": 1.0,
        "output_usd_per_mtok": 2.0,
        "source": "a price list",
        "date": "2026-01-01",
    },
    "context_window_tokens": 8192,
}
CATALOGUE = {"models": {"cheap": ENTRY, "dear": ENTRY}}


def changed(document, path, value):
    document = copy.deepcopy(document)
    *parents, last = path.split(".")
    place = document
    for parent in parents:
        place = place[parent]
    place[last] = value
    return document


@pytest.fixture
def load(tmp_path):
    """Write a configuration and its catalogue, and load them."""

    def load(document=GOOD, catalogue=CATALOGUE, *, env=None, secrets_needed=True):
        for name, content in (("gateway.yaml", document), ("models.yaml", catalogue)):
            text = content if isinstance(content, str) else yaml.safe_dump(content)
            (tmp_path / name).write_text(text, encoding="utf-8")
        return load_config(tmp_path / "gateway.yaml", env=env or {}, secrets_needed=secrets_needed)

    return load


def problem(load, *args, **kwargs):
    with pytest.raises(ConfigError) as caught:
        load(*args, **kwargs)
    message = caught.value.message
    assert "\n" not in message
    assert len(message) < 800
    return message


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.name)
def test_every_shipped_configuration_is_right(file):
    config = load_config(file, env={}, secrets_needed=False)
    policies = build_policies(config, load_artifacts(config))
    assert set(build_names(config, policies).policies) == set(config.gateway.policies)


def test_the_smallest_configuration_has_defaults_for_the_rest(load):
    config = load()
    assert config.gateway.server.max_body_bytes == 10_000_000
    assert config.gateway.policies["default"].knob == 0.8
    assert config.gateway.policies["default"].router_deadline_s == 0.05
    assert config.specs["cheap"].predicted_as == "cheap"
    assert load_config(config.path, env={}).specs == config.specs


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.name)
def test_a_load_balancer_can_both_keep_less_and_wait_longer(file):
    """docs/production.md says 610 s, and that one product has 600 s, fixed."""
    config = load_config(file, env={}, secrets_needed=False).gateway
    longest = max(each.timeouts.whole_answer_s for each in config.upstreams.values())
    assert longest <= config.server.request_timeout_s < 610 < config.server.keep_alive_s
    assert "610 s fits both" in (REPOSITORY / "docs/production.md").read_text(encoding="utf-8")


def test_models_alone_need_no_router(load):
    document = {key: GOOD[key] for key in ("upstreams", "models")}
    assert load(document).gateway.policies == {}


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("serverr", {}, ["line 18: serverr", "did you mean `server`?"]),
        (
            "policies.default.cost_qualty",
            1,
            ["policies.default.cost_qualty", "mean `cost_quality`?"],
        ),
        ("models.cheap.upstream", "nope", ["models.cheap.upstream", "'nope'", "known: up"]),
        ("models.cheap.spec", "nope", ["models.cheap.spec", "'nope'", "cheap, dear"]),
        ("policies.default.router", "nope", ["policies.default.router", "known: carrot"]),
        ("policies.default.candidates", ["cheap", "x"], ["policies.default.candidates.1", "'x'"]),
        ("policies.default.candidates", ["cheap", "cheap"], ["names a model twice"]),
        ("policies.default.candidates", [], ["policies.default.candidates", "at least 1"]),
        ("policies.default.candidates", ["dear"], ["default_model", "not among its candidates"]),
        ("policies.default.default_model", "x", ["policies.default.default_model", "'x'"]),
        ("policies.default.cost_quality", 1.5, ["policies.default.cost_quality"]),
        ("policies.default.cost_quality", "cheap", ["policies.default.cost_quality", "economy"]),
        (
            "policies.default.best_effort",
            {"deadline_ms": 0, "tiers": ["dear", "cheap"]},
            ["policies.default.best_effort.deadline_ms"],
        ),
        (
            "policies.default.best_effort",
            {"deadline_ms": 9, "tiers": ["dear"]},
            ["policies.default.best_effort.tiers", "at least 2"],
        ),
        (
            "policies.default.best_effort",
            {"deadline_ms": 9, "tiers": ["dear", "dear"]},
            ["policies.default.best_effort.tiers", "twice"],
        ),
        (
            "policies.default.best_effort",
            {"deadline_ms": 9, "tiers": ["dear", "x"]},
            ["policies.default.best_effort.tiers.1", "'x' is not among"],
        ),
        (
            "policies.default.best_effort",
            {"deadline_ms": 9, "tiers": ["dear", "cheap"], "by": "me"},
            ["policies.default.best_effort.by"],
        ),
        ("policies.default.load", {"target": 0}, ["policies.default.load.target"]),
        ("policies.default.load", {"target": 1.5}, ["policies.default.load.target"]),
        ("policies.default.max_attempts", 0, ["policies.default.max_attempts"]),
        ("policies.default.router_deadline_s", 0, ["policies.default.router_deadline_s"]),
        ("default_policy", "nope", ["default_policy", "'nope'", "known: default"]),
        ("routers.carrot.pair.strong", "nope", ["routers.carrot.pair.strong", "'nope'"]),
        ("policies.default.threshold", 1.5, ["policies.default.threshold"]),
        (
            "policies.default.threshold",
            "best",
            ["policies.default.threshold", "one of calibrated, max-drop, guar"],
        ),
        ("models.cheap", {}, ["models.cheap", "either `upstream` or `deployments`"]),
        (
            "models.cheap",
            {"upstream": "up", "deployments": [{"upstream": "up"}]},
            ["models.cheap", "either `upstream` or `deployments`"],
        ),
        (
            "models.cheap",
            {"upstream_model": "x", "deployments": [{"upstream": "up"}]},
            ["models.cheap", "belongs into each of the `deployments`"],
        ),
        (
            "models.cheap",
            {"deployments": [{"upstream": "up"}, {"upstream": "nope"}]},
            ["models.cheap.deployments", "'nope'", "known: up"],
        ),
        (
            "models.cheap",
            {"deployments": [{"upstream": "up"}, {"upstream": "up"}]},
            ["models.cheap", "a place twice", "more weight"],
        ),
        ("models.cheap", {"deployments": []}, ["models.cheap.deployments", "at least 1"]),
        (
            "models.cheap",
            {"deployments": [{"upstream": "up", "weight": 0}]},
            ["models.cheap.deployments.0.weight", "above 0"],
        ),
        (
            "models.cheap",
            {"deployments": [{"upstream": "up", "max_rps": 0}]},
            ["models.cheap.deployments.0.max_rps", "above 0"],
        ),
        (
            "models.cheap",
            {"deployments": [{"upstream": "up", "tokens_per_minute": 0}]},
            ["models.cheap.deployments.0.tokens_per_minute", "from 1"],
        ),
        (
            "models.cheap",
            {"deployments": [{"upstream": "up", "region": "eu west"}]},
            ["models.cheap.deployments.0.region", "a name of letters"],
        ),
        (
            "models.cheap",
            {"deployments": [{"upstream": "up", "usd_per_hour": -1}]},
            ["models.cheap.deployments.0.usd_per_hour", "from 0"],
        ),
        (
            "models.cheap",
            {"upstream": "up", "balance": "bandit", "bandit": {"kind": "greedy"}},
            ["models.cheap.bandit.kind", "sw-ucb"],
        ),
        (
            "models.cheap",
            {
                "upstream": "up",
                "balance": "bandit",
                "bandit": {"kind": "sw-ucb", "memory": 50_000},
            },
            ["models.cheap.bandit.memory", "20000 calls at most"],
        ),
        (
            "models.cheap",
            {"upstream": "up", "balance": "bandit", "bandit": {"memory": 5}},
            ["models.cheap.bandit.memory", "10"],
        ),
        (
            "models.cheap",
            {"upstream": "up", "balance": "bandit", "bandit": {"memory": "long"}},
            ["models.cheap.bandit.memory", "adaptive"],
        ),
        (
            "models.cheap",
            {"upstream": "up", "balance": "bandit", "bandit": {"context": ["model", "model"]}},
            ["models.cheap.bandit.context", "twice"],
        ),
        (
            "models.cheap",
            {"upstream": "up", "bandit": {}},
            ["models.cheap.bandit", "about `balance: bandit` alone"],
        ),
        (
            "models.cheap",
            {"upstream": "up", "balance": "prefix-affinity", "prefix_affinity": {"max_load": 1}},
            ["models.cheap.prefix_affinity.max_load", "above 1"],
        ),
        ("upstreams.up.retries", -1, ["upstreams.up.retries"]),
        ("upstreams.up.timeouts", {"total_s": 0}, ["upstreams.up.timeouts.total_s"]),
        ("policies.default.hedge_after_s", 0, ["policies.default.hedge_after_s"]),
        ("policies.default.hedge_after_s", "soon", ["policies.default.hedge_after_s", "or auto"]),
        (
            "policies.default",
            {**GOOD["policies"]["default"], "hedge_after_s": 1, "fallback": False},
            ["policies.default.hedge_after_s", "no second model"],
        ),
        (
            "policies.default",
            {**GOOD["policies"]["default"], "hedge_after_s": 1, "max_attempts": 1},
            ["policies.default.hedge_after_s", "no second model"],
        ),
        ("models.auto", {"upstream": "up"}, ["models.auto", "reserved"]),
        ("models.router-x-1", {"upstream": "up"}, ["models.router-x-1", "reserved"]),
        ("models.a b", {"upstream": "up"}, ["'a b' must be a name of letters"]),
        ("upstreams", {}, ["upstreams", "at least 1"]),
        (
            "upstreams.up.base_url",
            "localhost",
            ["upstreams.up.base_url", "an address such as https://"],
        ),
        ("upstreams.up.timeouts", {"idle_s": -1}, ["upstreams.up.timeouts.idle_s"]),
        ("upstreams.up.drop_fields", ["seed", "messages"], ["drop_fields: messages cannot be"]),
        ("server", {"port": 70_000}, ["server.port"]),
        ("server", {"max_body_bytes": float("nan")}, ["server.max_body_bytes"]),
        (
            "catalogue",
            "nowhere.yaml",
            ["catalogue: ", "nowhere.yaml cannot be read (No such", "start at the folder"],
        ),
        ("catalogue", "x" * 256, ["catalogue: ", "cannot be read (File name too long)"]),
        ("models.cheap", None, ["models.cheap"]),
    ],
)
def test_a_mistake_is_one_line_that_names_the_key(load, path, value, words):
    message = problem(load, changed(GOOD, path, value))
    for word in words:
        assert word in message
    assert ".yaml" in message


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("models.cheap.prices.input_usd_per_mtok", -1.0),
        ("models.cheap.prices.input_usd_per_mtok", float("nan")),
        ("models.cheap.prices.input_usd_per_mtok", "cheap"),
        ("models.cheap.prices.price", 1.0),
        ("models.cheap.prices.date", "yesterday"),
        ("models.cheap.context_window_tokens", 0),
        ("models.cheap.capabilities", ["telepathy"]),
    ],
)
def test_a_mistake_in_the_catalogue_names_its_file_and_key(load, path, value):
    message = problem(load, catalogue=changed(CATALOGUE, path, value))
    assert "models.yaml: " in message
    assert path in message


def test_a_price_must_be_written_even_if_it_is_not_known(load):
    prices = {key: value for key, value in ENTRY["prices"].items() if "input" not in key}
    message = problem(load, catalogue=changed(CATALOGUE, "models.cheap.prices", prices))
    assert "models.cheap.prices.input_usd_per_mtok: is missing: a number" in message
    unknown = changed(CATALOGUE, "models.cheap.prices.input_usd_per_mtok", None)
    assert load(catalogue=unknown).specs["cheap"].prices.input_usd_per_mtok is None


def test_a_key_that_stands_twice_is_no_silent_choice(load):
    text = yaml.safe_dump(GOOD) + "models: {}\n"
    assert "key 'models' stands twice" in problem(load, text)


@pytest.mark.parametrize(
    "text", ["", "[]", "just words", "a: [", "\t", "a: !!python/object:os.x {}"]
)
def test_what_is_no_configuration_is_one_line(load, text):
    assert "gateway.yaml: " in problem(load, text)


def test_a_file_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(ConfigError, match=r"gone\.yaml: cannot be read \(No such file"):
        load_config(tmp_path / "gone.yaml", env={})
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path, env={})


def test_where_the_default_file_is_not_it_is_said_how_to_name_another(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="name yours with --config, or in STEELYARD_CONFIG"):
        load_config(Path("configs/gateway.yaml"), env={})


def test_bytes_that_are_no_text_are_one_line(tmp_path):
    (tmp_path / "gateway.yaml").write_bytes(b"models: \xff\xfe")
    with pytest.raises(ConfigError, match=r"gateway\.yaml: line 1: the byte 0xff is no UTF-8"):
        load_config(tmp_path / "gateway.yaml", env={})


def test_a_secret_comes_from_the_variable_that_is_named(load):
    document = changed(GOOD, "upstreams.up.api_key_env", "UP_KEY")
    config = load(document, env={"UP_KEY": "sk-1"})
    assert config.secrets == {"up": "sk-1"}
    assert "sk-1" not in repr(config)
    message = problem(load, document)
    assert "UP_KEY, which is not set" in message
    assert load(document, secrets_needed=False).secrets == {}


def test_an_address_of_redis_that_is_none_is_refused_without_being_shown(load):
    message = problem(load, env={"STEELYARD_REDIS_URL": "redis://:s3cret@[::1"})
    assert message == "STEELYARD_REDIS_URL holds no address: redis://host:6379/0"


def test_a_secret_that_cannot_be_sent_is_refused_without_being_shown(load):
    document = changed(GOOD, "upstreams.up.api_key_env", "UP_KEY")
    for secret in ("sk-1\n", "sk 1", "sk-\u00fc"):
        message = problem(load, document, env={"UP_KEY": secret})
        assert "UP_KEY" in message
        assert "sk" not in message.replace("UP_KEY", "")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"cost_quality": 0.5}, "contradicts cost_quality"),
        ({"router": "alone"}, "router 'alone' has no pair"),
        ({"candidates": ["cheap"]}, "must be among the candidates"),
        ({"candidates": ["cheap", "dear", "third"], "default_model": "third"}, "one of the two"),
    ],
)
def test_a_threshold_that_cannot_decide_is_one_line(load, changes, words):
    document = changed(GOOD, "routers.alone", {})
    document["models"]["third"] = {"upstream": "up", "spec": "dear"}
    assert load(changed(document, "policies.default.threshold", 0.5)) is not None
    policy = {**GOOD["policies"]["default"], "threshold": 0.5, **changes}
    message = problem(load, changed(document, "policies.default", policy))
    assert "policies.default.threshold: " in message
    assert words in message


def test_a_model_that_the_artifact_does_not_know_is_one_line(load, artifacts):
    with pytest.raises(ConfigError, match=r"set predicted_as to one of: \w+") as caught:
        build_policies(load(), artifacts)
    assert re.search(r"\(\d+ in all; its manifest lists them\)$", caught.value.message)
    assert len(caught.value.message) < 600
    assert "policies.default: cheap is predicted as 'cheap'" in caught.value.message


def test_a_pair_outside_of_every_policy_is_one_line(load, artifacts):
    known = {
        name: {"upstream": "up", "predicted_as": "gpt-4-1106-preview"} for name in ("cheap", "dear")
    }
    document = changed(GOOD, "models", known)
    config = load(changed(document, "policies.default.candidates", ["cheap"]))
    with pytest.raises(ConfigError, match=r"routers\.carrot\.pair: no policy"):
        build_names(config, build_policies(config, artifacts))


def test_an_artifact_that_is_not_there_is_one_line(load):
    config = load(changed(GOOD, "routers.carrot.artifact", "nowhere"))
    with pytest.raises(ConfigError, match=r"routers\.carrot: .*nowhere is no artifact"):
        load_artifacts(config)
