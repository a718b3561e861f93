"""`gate` lets signal pass, refuses noise, and says where it cannot tell."""

import functools
import json

import pytest
from click.testing import CliRunner

from routers.commands import fit, gate
from routers.errors import DataError
from tests.integration.test_evaluate_command import RECIPE, run
from tests.support.clusters import write_clusters


@functools.cache
def gated(*args):
    """Run the command once for the same arguments."""
    return CliRunner().invoke(gate.command, [str(arg) for arg in args])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gate")
    write_clusters(folder / "train.jsonl", n=600, seed=100)
    write_clusters(folder / "noise.jsonl", n=600, seed=100, permuted=True)
    write_clusters(folder / "test.jsonl", n=600, seed=200)
    (folder / "recipe.yaml").write_text(RECIPE)
    for data in ("train", "noise"):
        options = ("--out", folder / f"router-{data}", "--recipe", folder / "recipe.yaml")
        assert run(fit, "--data", folder / f"{data}.jsonl", *options).exit_code == 0
    return folder


def options(folder, *, router, train="train"):
    return (
        *("--artifact", folder / f"router-{router}", "--data", folder / "test.jsonl"),
        *("--train", folder / f"{train}.jsonl", "--max-p50-ms", 1000, "--draws", 300),
    )


def alone(folder, *, router, train):
    """Options without rows that the artifact was not trained on."""
    return (
        *("--artifact", folder / router, "--train", folder / f"{train}.jsonl"),
        *("--max-p50-ms", 1000, "--draws", 300, "--json"),
    )


def by_name(found: dict) -> dict:
    return {check["name"]: check for check in found["checks"]}


CHECKS = [
    "ZeroRouter", "cost-matched shuffle", "best single (max)", "prompt length", "kNN(k=100)",
    "guarded kNN", "latency", "size",
]  # fmt: skip


def test_an_artifact_that_learned_something_passes_with_evidence(folder):
    result = gated(*options(folder, router="train"), "--json")
    found = json.loads(result.stdout)
    assert result.exit_code == 0, result.stdout
    assert (found["verdict"], found["passed"]) == ("passed", True)
    assert list(by_name(found)) == CHECKS
    for name in ("ZeroRouter", "cost-matched shuffle", "kNN(k=100)"):
        assert by_name(found)[name]["interval"]["low"] > 0


def test_all_rows_are_judged_those_of_the_training_by_other_folds(folder):
    both = json.loads(gated(*options(folder, router="train"), "--json").stdout)
    assert (both["n_queries"], both["n_cross_fitted"]) == (1200, 600)
    result = gated(*alone(folder, router="router-train", train="train"))
    own = json.loads(result.stdout)
    assert result.exit_code == 0, result.stdout
    assert (own["n_queries"], own["n_cross_fitted"]) == (600, 600)
    zero, fewer = by_name(both)["ZeroRouter"], by_name(own)["ZeroRouter"]
    # Twice the queries see smaller differences.
    assert zero["detectable"] < 0.85 * fewer["detectable"]
    assert zero["interval"]["value"] == pytest.approx(fewer["interval"]["value"], abs=0.04)


def test_splits_are_averaged_query_by_query(folder):
    arguments = alone(folder, router="router-train", train="train")
    once = json.loads(gated(*arguments).stdout)
    result = gated(*arguments, "--splits", "2")
    found = json.loads(result.stdout)
    assert result.exit_code == 0, result.stdout
    assert (once["n_splits"], found["n_splits"], found["n_queries"]) == (1, 2, 600)
    for name, check in by_name(once).items():
        if check["interval"] is not None:
            mean, alone_ = by_name(found)[name]["interval"], check["interval"]
            assert mean["value"] == pytest.approx(alone_["value"], abs=0.04), name
            # Other folds are no further queries.
            assert mean["high"] - mean["low"] > 0.5 * (alone_["high"] - alone_["low"]), name
    zero = by_name(found)["ZeroRouter"]["interval"]
    assert zero != by_name(once)["ZeroRouter"]["interval"]


def test_rows_of_the_training_do_not_count_as_further_ones(folder):
    arguments = alone(folder, router="router-train", train="train")
    found = json.loads(gated(*arguments, "--data", folder / "train.jsonl").stdout)
    assert (found["n_queries"], found["n_cross_fitted"]) == (600, 600)
    assert any("600 rows of --data are left out" in note for note in found["notes"])


def test_an_artifact_is_not_judged_by_a_recipe_on_rows_that_it_was_not_fitted_on(folder):
    found = json.loads(gated(*options(folder, router="noise"), "--json").stdout)
    assert (found["n_queries"], found["n_cross_fitted"]) == (600, 0)
    assert any("are not those that the artifact was fitted on" in note for note in found["notes"])
    with pytest.raises(DataError, match=r"are not those .* by --data"):
        run(gate, *alone(folder, router="router-noise", train="train"))


def test_an_artifact_of_permuted_labels_is_refused_with_reasons(folder):
    result = gated(*options(folder, router="noise"), "--json")
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert found["verdict"] == "refused"
    failed = {name for name, check in by_name(found).items() if check["verdict"] == "refused"}
    # Noise may be lucky against the weak baselines, never against neighbours with true labels.
    assert {"kNN(k=100)", "guarded kNN"} <= failed
    text = gated(*options(folder, router="noise"))
    assert text.exit_code == 1
    assert "is REFUSED" in text.stdout
    assert "FAIL  kNN(k=100): area" in text.stdout
    assert "would have been seen" in text.stdout


@pytest.mark.parametrize("strategy", ["best-single", "random-mix"])
def test_a_router_that_abstains_where_nothing_can_be_won_is_not_decided_on(folder, strategy):
    out = folder / f"noise-{strategy}"
    fitting = ("--data", folder / "noise.jsonl", "--strategy", strategy, "--embedder", "hashing")
    assert run(fit, *fitting, "--out", out).exit_code == 0
    result = gated(*alone(folder, router=out.name, train="noise"))
    found = json.loads(result.stdout)
    assert result.exit_code == 3, result.stdout
    assert found["verdict"] == "not decided"
    assert "nothing to win here" in found["reason"]
    assert not found["passed"]


def test_a_router_that_abstains_where_neighbours_win_is_refused(folder):
    fitting = ("--data", folder / "train.jsonl", "--strategy", "best-single")
    out = folder / "train-single"
    assert run(fit, *fitting, "--embedder", "hashing", "--out", out).exit_code == 0
    result = gated(*alone(folder, router=out.name, train="train"))
    assert result.exit_code == 1
    assert by_name(json.loads(result.stdout))["kNN(k=100)"]["verdict"] == "refused"


def test_slow_and_large_artifacts_are_refused(folder):
    result = gated(
        *options(folder, router="train"),
        *("--max-p50-ms", "0.000001", "--max-size-mb", "0.001", "--json"),
    )
    assert result.exit_code == 1
    checks = json.loads(result.stdout)["checks"]
    failed = [check for check in checks if check["verdict"] == "refused"]
    assert [check["name"] for check in failed] == ["latency", "size"]
    assert "above the limit" in failed[0]["finding"]


def test_wrong_usage_is_another_exit_code(folder):
    assert gated("--artifact", folder / "router-train").exit_code == 2
    assert gated(*options(folder, router="train"), "--max-size-mb", "-1").exit_code == 2
