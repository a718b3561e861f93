"""Outcomes that cannot tell how routers compare: said in words, and nothing is made up of them."""

import json
import random

import pytest
from click.testing import CliRunner

from app.cli import cli
from routers.artifact.load import load_artifact
from tests.support.outcomes import TOPICS

RECIPE = """
strategy: carrot
options: {quality_head: {kind: linear}}
embedder: {kind: hashing, options: {dimensions: 16}}
blocks: [embedding, lexical]
calibration_folds: 3
"""
MODELS = tuple(f"model-{i}" for i in range(7))
_COMPARED = ("aiq", "aiq_zero_router", "aiq_oracle", "best_routed_quality", "best_single_model")


def write(path, *, tried, n=210, models=MODELS, seed=0):
    """Write `n` prompts, `tried(rng, models)` of which are answered."""
    rng = random.Random(seed)
    with path.open("w") as file:
        for i in range(n):
            prompt = rng.choice(list(TOPICS.values())).format(rng.randrange(9999), i)
            for model in tried(rng, models):
                quality = float(rng.random() < 0.4 + 0.08 * models.index(model))
                record = {"query_id": str(i), "prompt": prompt, "model": model, "quality": quality}
                cost = {"output_tokens": 50, "cost_usd": 0.001 * (1 + models.index(model))}
                file.write(json.dumps(record | cost) + "\n")
    return path


def one(rng, models):
    return [rng.choice(models)]


def most(rng, models):
    return [model for model in models if rng.random() < 0.7]


def run(*arguments):
    return CliRunner().invoke(cli, [str(each) for each in arguments])


@pytest.fixture(scope="module")
def bandit(tmp_path_factory):
    """Return a folder with a router that was fitted on one answer per prompt."""
    folder = tmp_path_factory.mktemp("bandit")
    (folder / "recipe.yaml").write_text(RECIPE)
    write(folder / "train.jsonl", tried=one)
    write(folder / "test.jsonl", tried=one, seed=1)
    fitted = run(
        *("fit", "--data", folder / "train.jsonl", "--out", folder / "router"),
        *("--recipe", folder / "recipe.yaml"),
    )
    assert fitted.exit_code == 0, fitted.output
    (folder / "said.txt").write_text(fitted.stdout)
    return folder


def test_one_answer_per_prompt_trains_a_router_and_compares_nothing(bandit):
    manifest = load_artifact(bandit / "router").manifest
    assert [manifest["metrics"][name] for name in _COMPARED] == [None] * 5
    assert {step["quality"] for step in manifest["metrics"]["knob"]} == {None}
    assert manifest["metrics"]["support"]["n_compared"] == 0
    assert manifest["metrics"]["quality_calibration_error"] < 0.2
    said = (bandit / "said.txt").read_text()
    assert "210 queries 0 (0%) have outcomes of two or more models and 0 of all 7" in said
    assert "AIQ" not in said
    assert "of the gap" not in said
    assert "model-6 0." in said


def test_the_gate_does_not_decide_on_an_artifact_that_nothing_speaks_for(bandit):
    arguments = ("gate", "--artifact", bandit / "router", "--data", bandit / "test.jsonl")
    judged = run(*arguments, "--train", bandit / "train.jsonl", "--json")
    assert judged.exit_code == 3
    verdict = json.loads(judged.stdout)
    assert (verdict["verdict"], verdict["passed"]) == ("not decided", False)
    assert [check["name"] for check in verdict["checks"]] == ["outcomes"]


def test_a_report_leaves_out_what_it_cannot_know(bandit, tmp_path):
    measured = run(
        *("evaluate", "--artifact", bandit / "router", "--data", bandit / "test.jsonl"),
        *("--draws", 100, "--out", tmp_path, "--json"),
    )
    assert measured.exit_code == 0, measured.output
    report = json.loads(measured.stdout)
    assert "WARNING: of 210 queries 0 (0%)" in report["notes"][0]
    for router in report["routers"]:
        assert router["aiq"] is None
        assert router["oracle_gap"] is None
        assert router["curve"]["hull"] == []
        assert "knob" not in router
    assert report["routers"][0]["ece"] is not None
    assert "WARNING" in (tmp_path / "report.md").read_text()


def test_known_outcomes_of_most_models_are_compared_but_no_oracle(tmp_path):
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    data = write(tmp_path / "data.jsonl", tried=most)
    fitted = run(
        *("fit", "--data", data, "--out", tmp_path / "router", "--json"),
        *("--recipe", tmp_path / "recipe.yaml"),
    )
    assert fitted.exit_code == 0, fitted.output
    metrics = json.loads(fitted.stdout)["metrics"]
    assert 0 < metrics["aiq"] <= 1
    assert metrics["aiq_oracle"] is None
    arguments = ("--artifact", tmp_path / "router", "--data", data, "--draws", 100, "--json")
    report = json.loads(run("evaluate", *arguments).stdout)
    assert report["routers"][0]["aiq"] is not None
    assert report["routers"][0]["oracle_gap"] is None
    assert run("gate", *arguments, "--train", data).exit_code == 3


def test_models_that_are_all_alike_leave_no_gap_to_share(tmp_path):
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    data = tmp_path / "data.jsonl"
    with data.open("w") as file:
        for i in range(80):
            for model, cost in (("a", 0.001), ("b", 0.002)):
                record = {"query_id": str(i), "prompt": f"Question {i}", "model": model}
                file.write(json.dumps(record | {"quality": 1.0, "cost_usd": cost}) + "\n")
    fitted = run(
        "fit", "--data", data, "--out", tmp_path / "r", "--recipe", tmp_path / "recipe.yaml"
    )
    assert fitted.exit_code == 0, fitted.output
    assert "of the gap" not in fitted.stdout
    assert "the cheapest candidate is already the best: nothing to route" in fitted.stdout
