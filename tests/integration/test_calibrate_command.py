"""`calibrate` as a user runs it."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from routers.artifact.load import load_artifact
from routers.artifact.thresholds import stored_thresholds
from routers.commands import calibrate, evaluate, fit
from routers.data.dataset import read_outcomes
from routers.decision.pairwise import strong_scores
from routers.errors import ArtifactError, DataError, RoutingConfigError
from tests.integration.test_evaluate_command import RECIPE, run
from tests.support.clusters import write_clusters
from tests.support.outcomes import write_outcomes


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("calibrate")
    write_clusters(folder / "train.jsonl", n=600, seed=100)
    write_clusters(folder / "fresh.jsonl", n=3000, seed=300, decline=0.2)
    write_clusters(folder / "test.jsonl", n=2000, seed=200, decline=0.2)
    (folder / "recipe.yaml").write_text(RECIPE)
    options = ("--out", folder / "router", "--recipe", folder / "recipe.yaml")
    assert run(fit, "--data", folder / "train.jsonl", *options).exit_code == 0
    return folder


def calibrated(folder, out, *options, data="fresh.jsonl"):
    arguments = ("--artifact", folder / "router", "--data", folder / data, "--out", out, *options)
    return CliRunner().invoke(calibrate.command, [str(each) for each in arguments])


@pytest.fixture(scope="module")
def record(folder) -> dict:
    result = calibrated(
        folder,
        folder / "promised",
        *("--strong", "max", "--weak", "mini", "--strong-share", 0.6),
        *("--max-quality-drop", 0.25, "--confidence", 0.9, "--json"),
    )
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_calibration_errors_fall_on_rows_that_were_not_fitted(folder, record):
    assert record["corrected"]
    assert record["after"]["brier"] < record["before"]["brier"]
    assert set(record["per_model"]) == {"mini", "mid", "max"}
    result = run(
        evaluate,
        *("--artifact", f"{folder / 'router'},{folder / 'promised'}"),
        *("--data", folder / "test.jsonl", "--draws", 100, "--json"),
    )
    before, after = json.loads(result.stdout)["routers"][:2]
    assert after["ece"] < before["ece"]
    assert after["brier"] < before["brier"]
    assert after["ece"] == pytest.approx(record["after"]["ece"], abs=0.02)
    assert after["knob_error"] < 0.1


def test_the_threshold_gives_the_asked_share_of_other_requests(folder, record):
    artifact = load_artifact(folder / "promised")
    table = read_outcomes([folder / "test.jsonl"])
    predictions = artifact.predict_conversations(table.conversations)
    score = strong_scores(predictions, strong=2, weak=0)
    share = (score >= record["thresholds"]["threshold"]).mean()
    assert share == pytest.approx(0.6, abs=0.04)
    values = [threshold for _, threshold in record["thresholds"]["by_strong_share"]]
    assert values == sorted(values, reverse=True)


def test_the_promise_is_stored_and_kept_on_other_requests(folder, record):
    promise = record["guarantee"]
    artifact = load_artifact(folder / "promised")
    assert artifact.manifest["recalibrated"]["guarantee"] == promise
    assert promise["method"] == "clopper-pearson"
    assert "with confidence 90%" in promise["statement"]
    table = read_outcomes([folder / "test.jsonl"])
    predictions = artifact.predict_conversations(table.conversations)
    kept = strong_scores(predictions, strong=2, weak=0) < promise["threshold"]
    lost = (table.quality[:, 2] > table.quality[:, 0])[kept]
    assert 0.1 < kept.mean() < 0.6
    assert lost.mean() <= 0.25 + 2 * np.sqrt(0.25 * 0.75 / kept.sum())


def test_nothing_is_written_when_nothing_can_be_promised(folder, tmp_path):
    out = tmp_path / "none"
    result = calibrated(
        folder,
        out,
        *("--strong", "max", "--weak", "mini", "--max-quality-drop", 0.001, "--json"),
    )
    assert result.exit_code == 1
    assert not out.exists()
    found = json.loads(result.stdout)
    assert (found["artifact"], found["version"]) == (None, None)
    assert "call max" in found["refused"]


def test_graded_outcomes_get_a_promise_on_the_mean(folder, tmp_path):
    write_clusters(folder / "graded.jsonl", n=800, seed=400, graded=True)
    result = calibrated(
        folder,
        tmp_path / "graded",
        *("--strong", "max", "--weak", "mini", "--max-quality-drop", 0.05),
        data="graded.jsonl",
    )
    assert result.exit_code == 0, result.output
    assert "in expectation" in result.stdout


def test_the_same_data_gives_the_same_version(folder, tmp_path):
    versions = {
        load_artifact(out).version
        for out in (tmp_path / "a", tmp_path / "b")
        if calibrated(folder, out).exit_code == 0
    }
    assert len(versions) == 1
    assert versions != {load_artifact(folder / "router").version}


def test_calibrating_again_replaces_the_correction(folder, tmp_path):
    assert calibrated(folder, tmp_path / "once").exit_code == 0
    result = run(
        calibrate,
        *("--artifact", tmp_path / "once", "--data", folder / "fresh.jsonl"),
        *("--out", tmp_path / "twice", "--json"),
    )
    once, twice = load_artifact(tmp_path / "once"), load_artifact(tmp_path / "twice")
    assert (once.correction.to == twice.correction.to).all()
    assert json.loads(result.stdout)["base_version"] == once.version


def test_a_damaged_correction_is_refused(folder, record, tmp_path):
    for name in ("manifest.json", "weights.npz"):
        (tmp_path / name).write_bytes((folder / "promised" / name).read_bytes())
    text = (tmp_path / "manifest.json").read_text()
    assert '"corrected": true' in text
    (tmp_path / "manifest.json").write_text(text.replace('"corrected": true', '"corrected": false'))
    with pytest.raises(ArtifactError, match="digest"):
        load_artifact(tmp_path)


@pytest.mark.parametrize("written", ["5%", "0.05"])
def test_the_allowed_drop_is_kept_on_the_data_and_told_of_others(folder, tmp_path, written):
    result = calibrated(
        folder,
        tmp_path / "dropped",
        *("--strong", "max", "--weak", "mini", "--max-drop", written, "--json"),
    )
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)["drop"]
    assert found["limit"] == 0.05
    assert found["drop"] <= 0.05
    artifact = load_artifact(tmp_path / "dropped")
    stored = stored_thresholds(artifact.manifest)
    assert stored["max-drop"].threshold == found["threshold"]
    assert "guaranteed" not in stored
    table = read_outcomes([folder / "test.jsonl"])
    predictions = artifact.predict_conversations(table.conversations)
    kept = strong_scores(predictions, strong=2, weak=0) < found["threshold"]
    assert kept.mean() == pytest.approx(found["cost_advantage"], abs=0.05)
    strong, weak = table.quality[:, 2], table.quality[:, 0]
    drop = np.where(kept, strong - weak, 0).mean() / strong.mean()
    assert drop < 0.05 + 0.03


def test_a_drop_and_a_promise_are_told_apart(folder, tmp_path):
    result = calibrated(
        folder,
        tmp_path / "both",
        *("--strong", "max", "--weak", "mini", "--max-drop", "5%", "--max-quality-drop", 0.25),
    )
    assert result.exit_code == 0, result.output
    assert "Nothing is guaranteed" in result.stdout
    assert "promised: Among requests that stay on mini" in result.stdout
    assert set(stored_thresholds(load_artifact(tmp_path / "both").manifest)) == {
        "max-drop",
        "guaranteed",
    }


@pytest.mark.parametrize("written", ["1.5", "100%", "-1%", "much", "nan", "%"])
def test_a_drop_that_is_no_share_is_refused(folder, tmp_path, written):
    options = ("--strong", "max", "--weak", "mini", f"--max-drop={written}")
    result = calibrated(folder, tmp_path / "none", *options)
    assert result.exit_code == 2
    assert "write 1% or 0.01" in result.output


def test_wrong_usage_and_unknown_models_are_named(folder, tmp_path):
    assert calibrated(folder, tmp_path, "--strong", "max").exit_code == 2
    assert calibrated(folder, tmp_path, "--max-quality-drop", 0.1).exit_code == 2
    assert calibrated(folder, tmp_path, "--max-drop", "1%").exit_code == 2
    result = calibrated(folder, tmp_path, "--strong", "huge", "--weak", "mini")
    assert isinstance(result.exception, RoutingConfigError)
    result = calibrated(folder, tmp_path, "--strong", "max", "--weak", "max")
    assert isinstance(result.exception, DataError)
    write_outcomes(folder / "other.parquet", n=60)
    result = calibrated(folder, tmp_path, data="other.parquet")
    assert isinstance(result.exception, DataError)
