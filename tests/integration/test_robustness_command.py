"""`evaluate --suite robustness` and `gate --suite robustness` as a user runs them."""

import json
import socket

import numpy as np
import pytest

from routers.artifact.load import load_artifact
from routers.commands import evaluate, fit, gate
from routers.commands._gateway import GatewaySubject
from routers.data.dataset import read_outcomes
from routers.errors import DataError, RoutingConfigError
from routers.robustness import items
from routers.robustness.learning import membership_check, poisoning_checks
from routers.robustness.subject import POSITIONS, ArtifactSubject
from routers.training.recipe import read_recipe
from tests.integration.test_evaluate_command import RECIPE, run
from tests.support.clusters import write_clusters

NEIGHBOUR = RECIPE.replace("{kind: linear}", "{kind: knn, options: {n_neighbors: 1}}", 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("robustness")
    write_clusters(folder / "train.jsonl", n=500, seed=1)
    write_clusters(folder / "fresh.jsonl", n=300, seed=2)
    (folder / "recipe.yaml").write_text(RECIPE)
    options = ("--out", folder / "router", "--recipe", folder / "recipe.yaml")
    assert run(fit, "--data", folder / "train.jsonl", *options).exit_code == 0
    return folder


def robust(*args):
    return run(evaluate, "--suite", "robustness", *args)


def test_a_router_that_knows_nothing_of_requests_fails_and_the_report_says_why(folder, tmp_path):
    result = robust("--artifact", folder / "router", "--out", tmp_path)
    assert result.exit_code == 1
    assert "FAILS the robustness suite" in result.stdout
    (router,) = json.loads((tmp_path / "robustness.json").read_text())["routers"]
    failed = {each["name"] for each in router["checks"] if each["verdict"] == "failed"}
    assert "hard from simple" in failed
    assert "hard from simple" in (tmp_path / "robustness.html").read_text()
    assert "| hard from simple | FAIL |" in (tmp_path / "robustness.md").read_text()


def test_the_gate_looks_at_training_too(folder):
    result = run(
        gate,
        *("--artifact", folder / "router", "--train", folder / "train.jsonl"),
        *("--data", folder / "fresh.jsonl", "--suite", "robustness"),
        *("--max-p50-ms", 1000, "--draws", 100, "--json"),
    )
    found = json.loads(result.stdout)
    assert result.exit_code == 1
    assert not found["passed"]
    names = [each["name"] for each in found["robustness"]["checks"]]
    assert names[-4:] == [
        "training rows are not given away",
        "poison leaves other requests alone",
        "many who lie persuade few",
        "the poison's trigger buys nothing",
    ]


def test_a_router_that_learned_rows_by_heart_gives_them_away(folder, tmp_path):
    (tmp_path / "recipe.yaml").write_text(NEIGHBOUR)
    options = ("--out", tmp_path / "heart", "--recipe", tmp_path / "recipe.yaml")
    assert run(fit, "--data", folder / "train.jsonl", *options).exit_code == 0
    trained, fresh = (read_outcomes([folder / f"{name}.jsonl"]) for name in ("train", "fresh"))
    by_heart = membership_check(load_artifact(tmp_path / "heart"), trained, fresh)
    general = membership_check(load_artifact(folder / "router"), trained, fresh)
    assert by_heart.value > general.value
    assert by_heart.verdict.value == "failed"


def test_a_gateway_is_asked_where_it_would_send_requests(gateway):
    subject = GatewaySubject(gateway.url, model="auto")
    asked = [each.conversation for each in items.core()[::40]]
    placed = subject.place(asked)
    assert placed.picks.shape == (len(POSITIONS), len(asked))
    assert np.isfinite(placed.cost_usd).all()
    # The dear end of the knob takes the best that is predicted.
    best = placed.quality[np.arange(len(asked)), placed.picks[-1]]
    assert (best >= placed.quality.max(axis=1) - 1e-4).all()
    assert (subject.place(asked[:3]).picks == placed.picks[:, :3]).all()


def test_a_policy_that_predicts_nothing_stays_where_it_is(gateway):
    placed = GatewaySubject(gateway.openai_url, model="sim-small").place(
        [each.conversation for each in items.core()[:2]]
    )
    assert (placed.picks == placed.picks[0]).all()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((), "nothing to look at: give --artifact, --gateway, or both"),
        (("--gateway", "ftp://x"), "give a gateway as http://HOST:PORT"),
    ],
)
def test_wrong_use_says_what_to_do(args, message):
    with pytest.raises(DataError, match=message):
        robust(*args)


def test_a_gateway_that_is_not_there_or_refuses_says_so(gateway):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(DataError, match="cannot be asked"):
        robust("--gateway", f"http://127.0.0.1:{port}")
    with pytest.raises(DataError, match="404: "):
        robust("--gateway", gateway.url, "--policy", "nobody-has-this")


def test_options_of_one_suite_are_refused_in_the_other(folder):
    quality = run(evaluate, "--artifact", folder / "router", "--gateway", "http://x")
    assert (quality.exit_code, "--gateway goes with --suite robustness" in quality.stderr) == (
        2,
        True,
    )
    other = robust("--artifact", folder / "router", "--data", folder / "fresh.jsonl")
    assert (other.exit_code, "gate --suite robustness" in other.stderr) == (2, True)
    missing = run(evaluate, "--artifact", folder / "router")
    assert (missing.exit_code, "Missing option '--data'" in missing.stderr) == (2, True)


def test_only_models_that_the_artifact_knows_and_that_differ_can_be_looked_at(folder):
    artifact = load_artifact(folder / "router")
    with pytest.raises(DataError, match="fewer than two models"):
        ArtifactSubject(artifact, name="x", models=["mini"])
    with pytest.raises((DataError, RoutingConfigError), match="nobody"):
        ArtifactSubject(artifact, name="x", models=["mini", "nobody"])


def test_nothing_is_said_of_poison_where_other_rows_alone_move_as_many(tmp_path):
    """Of outcomes that no prompt tells, routers' middles are noise: no attack could be seen."""
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    write_clusters(tmp_path / "noise.jsonl", n=420, seed=3, permuted=True)
    table = read_outcomes([tmp_path / "noise.jsonl"])
    recipe = read_recipe(tmp_path / "recipe.yaml")
    _, lies, _ = poisoning_checks(recipe, table)
    assert lies.verdict.value == "told"
    assert "nothing can be told" in lies.finding
