"""`gate` lets signal pass and refuses noise."""

import json

import pytest
from click.testing import CliRunner

from routers.commands import fit, gate
from tests.integration.test_evaluate_command import RECIPE, run
from tests.support.clusters import write_clusters


def gated(*args):
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


def test_an_artifact_that_learned_something_passes_with_evidence(folder):
    result = gated(*options(folder, router="train"), "--json")
    found = json.loads(result.stdout)
    assert result.exit_code == 0, result.stdout
    assert found["passed"]
    assert [check["name"] for check in found["checks"]] == [
        "ZeroRouter", "best single (max)", "prompt length", "kNN(k=100)", "latency", "size",
    ]  # fmt: skip
    areas = [check for check in found["checks"] if check["name"] in ("ZeroRouter", "kNN(k=100)")]
    assert all(check["interval"]["low"] > 0 for check in areas)
    text = gated(*options(folder, router="train"))
    assert text.exit_code == 0
    assert text.stdout.count("pass  ") == 6


def test_an_artifact_of_permuted_labels_is_refused_with_reasons(folder):
    result = gated(*options(folder, router="noise"), "--json")
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    failed = {check["name"] for check in found["checks"] if not check["passed"]}
    # Noise may be lucky against the weak baselines, never against neighbours with true labels.
    assert {"prompt length", "kNN(k=100)"} <= failed
    text = gated(*options(folder, router="noise"))
    assert text.exit_code == 1
    assert "is REFUSED" in text.stdout
    assert "FAIL  kNN(k=100): area" in text.stdout


def test_slow_and_large_artifacts_are_refused(folder):
    result = gated(
        *options(folder, router="train"),
        *("--max-p50-ms", "0.000001", "--max-size-mb", "0.001", "--json"),
    )
    assert result.exit_code == 1
    failed = [check for check in json.loads(result.stdout)["checks"] if not check["passed"]]
    assert [check["name"] for check in failed] == ["latency", "size"]
    assert "above the limit" in failed[0]["finding"]


def test_wrong_usage_is_another_exit_code(folder):
    assert gated("--artifact", folder / "router-train").exit_code == 2
    assert gated(*options(folder, router="train"), "--max-size-mb", "-1").exit_code == 2
