"""What was fitted from recorded answers, behind a guard: in configurations and in artifacts."""

import httpx
import pytest
from click.testing import CliRunner

from app.cli import cli
from app.errors import ConfigError
from routers.artifact.load import load_artifact
from tests.support.answers import write_answered
from tests.support.gateway import GatewayThread, stub_config
from tests.support.guard_worlds import write_prompts
from tests.support.several import JUDGE, LARGE, MINI, NANO, Models

RECIPE = """
strategy: carrot
options: {quality_head: {kind: linear}, tokens_head: {kind: linear}}
embedder: {kind: hashing, options: {dimensions: 32}}
blocks: [embedding, lexical]
calibration_folds: 2
workflow: {kind: cascade-routing}
"""
SLOW = {"model": JUDGE, "deadline_s": 20.0}
CASCADE = {"kind": "cascade_routing"}
WORKFLOWS = {
    "plain": ("routed", CASCADE),
    "asked": ("routed", {"kind": "guarded", "slow": SLOW, "then": CASCADE}),
    "pooled": (
        "routed",
        {"kind": "guarded", "slow": SLOW, "when_harmful": {"models": [NANO, MINI]}}
        | {"then": CASCADE},
    ),
    "fast": ("guarded", {"kind": "guarded", "slow": SLOW, "always_slow": True}),
    "other": (
        "guarded",
        {"kind": "guarded", "slow": SLOW, "always_slow": True}
        | {"then": {"kind": "agree", "normaliser": "option"}},
    ),
}
PREDICTED_AS = {NANO: "mini", MINI: "small", LARGE: "large"}


def run(*arguments):
    result = CliRunner().invoke(cli, [str(each) for each in arguments])
    assert result.exit_code == 0, result.output


@pytest.fixture(scope="module")
def artifacts_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("guards")
    write_answered(folder)
    (folder / "recipe.yaml").write_text(RECIPE)
    run(
        *("fit", "--data", folder / "outcomes.parquet", "--answers", folder / "answers.parquet"),
        *("--recipe", folder / "recipe.yaml", "--out", folder / "routed"),
    )
    write_prompts(folder / "prompts.jsonl", n=200)
    run(
        *("fit-guard", "--fast", folder / "routed", "--data", folder / "prompts.jsonl"),
        *("--out", folder / "guarded"),
    )
    return folder


def config_of(folder, workflows, url, tmp_path):
    return stub_config(
        tmp_path,
        url,
        changes={
            "upstreams.stub": {"kind": "openai", "base_url": f"{url}/v1", "retries": 0},
            "routers": {name: {"artifact": str(folder / name)} for name in ("routed", "guarded")},
            **{f"models.{name}.predicted_as": known for name, known in PREDICTED_AS.items()},
            "policies": {
                name: {
                    "router": router,
                    "candidates": [*PREDICTED_AS],
                    "default_model": LARGE,
                    "router_deadline_s": 20.0,
                    "cost_quality": 0.7,
                    "workflow": workflow,
                }
                for name, (router, workflow) in workflows.items()
            },
            "default_policy": next(iter(workflows)),
        },
    )


@pytest.fixture(scope="module")
def served(artifacts_dir, tmp_path_factory):
    with Models() as models:
        config = config_of(artifacts_dir, WORKFLOWS, models.url, tmp_path_factory.mktemp("gate"))
        with (
            GatewayThread(config) as gateway,
            httpx.Client(base_url=gateway.url, trust_env=False, timeout=60) as client,
        ):
            yield models, client
        models.release.set()


@pytest.fixture
def models(served):
    served[0].reset()
    return served[0]


@pytest.fixture
def ask(served):
    def ask(policy, **fields):
        messages = [{"role": "user", "content": "Which one is it, (A), (B) or (C)? 17"}]
        body = {"model": f"auto:{policy}", "messages": messages, **fields}
        return served[1].post("/v1/chat/completions", json=body)

    return ask


def test_the_artifact_holds_both_and_comes_back(artifacts_dir):
    before, after = (load_artifact(artifacts_dir / each) for each in ("routed", "guarded"))
    assert after.workflow.kind == "guarded"
    assert after.workflow.has_fitted_follower
    assert after.workflow.heeds_knob
    kept = after.workflow.follower.state()
    for name, array in before.workflow.state().items():
        assert (kept[name] == array).all()


@pytest.mark.parametrize("policy", ["asked", "pooled", "fast"])
@pytest.mark.parametrize("stream", [False, True])
def test_what_is_harmless_goes_the_fitted_way(ask, models, policy, stream):
    models.said[JUDGE] = "safe"
    plain = ask("plain")
    assert plain.headers["x-route-workflow"] == "cascade-routing"
    models.bodies.clear()
    response = ask(policy, stream=stream)
    assert response.status_code == 200
    assert response.headers["x-route-guard"] == "slow; harmless"
    assert response.headers["x-route-accepted-by"] == plain.headers["x-route-accepted-by"]
    asked = plain.headers["x-route-attempts"]
    assert response.headers["x-route-attempts"] == f"{JUDGE};{asked}"
    assert models.asked[0] == JUDGE


def test_a_knob_of_the_request_steers_what_comes_after(ask, models):
    models.said[JUDGE] = "safe"
    cheap = ask("asked", routing={"cost_quality": 0.0})
    assert cheap.headers["x-route-guard"] == "slow; harmless"
    assert "skipped" not in cheap.headers["x-route-workflow"]
    assert len(models.asked) == 2


def test_another_kind_may_come_after_a_guard_that_was_fitted_before_one(ask, models):
    models.said[JUDGE] = "safe"
    response = ask("other")
    assert response.headers["x-route-accepted-by"] == "agree"


@pytest.mark.parametrize(
    "said", ["unsafe", "perhaps", (500, {"error": {"message": "no", "type": "server_error"}})]
)
@pytest.mark.parametrize("policy", ["asked", "fast"])
def test_it_fails_closed(ask, models, policy, said):
    models.said[JUDGE] = said
    response = ask(policy)
    assert response.status_code == 400
    assert set(models.asked) == {JUDGE}


@pytest.mark.parametrize("stream", [False, True])
def test_harmful_requests_are_left_to_the_models_that_may(ask, models, stream):
    models.said |= {JUDGE: "unsafe", NANO: "A", MINI: "C"}
    response = ask("pooled", stream=stream)
    assert response.status_code == 200
    assert LARGE not in models.asked
    assert response.headers["x-route-guard"] == "slow; harmful"


def test_what_no_artifact_holds_is_refused_at_the_start(artifacts_dir, tmp_path):
    workflow = {"kind": "guarded", "slow": SLOW, "then": {"kind": "frugal-gpt"}}
    config = config_of(
        artifacts_dir, {"default": ("routed", workflow)}, "http://127.0.0.1:9", tmp_path
    )
    with pytest.raises(ConfigError, match="'frugal-gpt', which is fitted from recorded answers"):
        GatewayThread(config).__enter__()
