"""A router that learned from what a decision model says, from outcomes to answers."""

import json

import httpx
import pytest

from app.errors import ConfigError
from routers.training.fit import fit
from routers.training.recipe import Recipe
from tests.support.gateway import GatewayThread, stub_config
from tests.support.scoring_server import ScoringServer
from tests.support.several import JUDGE, LARGE, NANO, Models

LEVELS = ("trivial", "easy", "medium", "hard")


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    """Fit a router to a world in which nothing but the level tells when the cheap model fails."""
    folder = tmp_path_factory.mktemp("judged")
    path = folder / "outcomes.jsonl"
    with path.open("w") as file:
        for i in range(240):
            level, chance = LEVELS[i % 4], 0.7 + i / 1_000
            line = {
                "query_id": str(i),
                "prompt": f"Question number {i}.",
                "decision_model": {"level": {level: chance, LEVELS[(i + 1) % 4]: 1 - chance}},
            }
            for model, quality, cost_usd in (
                (NANO, 0.95 - 0.3 * (i % 4), 1e-5),
                (LARGE, 0.95, 1e-3),
            ):
                outcome = {"model": model, "quality": quality, "cost_usd": cost_usd}
                file.write(json.dumps({**line, **outcome, "output_tokens": 100}) + "\n")
    recipe = Recipe(strategy="carrot", blocks=("judged",), calibration_folds=2, abstain=False)
    fit([path], folder / "router", recipe=recipe, created_at="", steelyard_version="")
    return folder / "router"


def changes_for(artifact, url, decision_model):
    policy = {
        "router": "judged",
        "candidates": [NANO, LARGE],
        "default_model": LARGE,
        "router_deadline_s": 20.0,
        "cost_quality": 0.9,
    }
    said = {"decision_model": {"deadline_ms": 20_000, **decision_model}}
    return {
        "upstreams.stub": {"kind": "openai", "base_url": f"{url}/v1", "retries": 0},
        "routers": {"judged": {"artifact": str(artifact)}},
        "policies": {"asks": {**policy, **said}, "silent": policy},
        "default_policy": "asks",
    }


def route(gateway, policy, prompt):
    answer = httpx.post(
        f"{gateway.url}/v1/route",
        json={"model": f"auto:{policy}", "messages": [{"role": "user", "content": prompt}]},
        trust_env=False,
        timeout=60,
    )
    assert answer.status_code == 200, answer.text
    return answer.json()


def quality_of(told, model):
    (found,) = [each for each in told["candidates"] if each["model"] == model]
    return found["predicted_quality"]


def test_the_router_reads_what_the_decision_model_says(artifact, tmp_path):
    with Models() as models, ScoringServer() as endpoint:
        endpoint.answer = lambda body: (200, {"level": body["prompt"].split()[0]})
        changes = changes_for(artifact, models.url, {"url": f"{endpoint.url}/judge"})
        with GatewayThread(stub_config(tmp_path, models.url, changes=changes)) as gateway:
            told = [route(gateway, "asks", f"{level} to answer?") for level in LEVELS]
            assert [each["decision"]["reason"] for each in told] == ["knob"] * 4
            assert (told[0]["model"], told[3]["model"]) == (NANO, LARGE)
            cheap = [quality_of(each, NANO) for each in told]
            assert cheap == sorted(cheap, reverse=True)
            assert cheap[0] - cheap[3] > 0.5
            # Where nothing was said, by failure or because nobody is asked, it is in between.
            failed = route(gateway, "asks", "gigantic to answer?")
            assert failed["decision_model"]["result"] == "failed"
            silent = route(gateway, "silent", "hard to answer?")
            assert silent["decision_model"] is None
            assert cheap[3] < quality_of(failed, NANO) == quality_of(silent, NANO) < cheap[0]


def test_other_levels_than_it_learned_from_stop_the_start(artifact, tmp_path):
    changes = changes_for(
        artifact, "http://127.0.0.1:9", {"model": JUDGE, "levels": ["low", "high"]}
    )
    config = stub_config(tmp_path, "http://127.0.0.1:9", changes=changes)
    with pytest.raises(ConfigError, match="has learned from the levels trivial, easy"):
        GatewayThread(config).__enter__()
