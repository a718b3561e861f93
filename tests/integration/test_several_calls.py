"""Policies of several calls from recorded answers to an artifact and its replay."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from app.cli import cli, main
from routers.artifact.load import load_artifact
from tests.support.answers import write_answered

RECIPE = """
strategy: carrot
options:
  quality_head: {kind: linear}
  tokens_head: {kind: linear}
embedder: {kind: hashing, options: {dimensions: 32}}
blocks: [embedding, lexical]
calibration_folds: 2
"""
WORKFLOW = "workflow: {kind: agree, models: [mini, small], last: large, normaliser: option}\n"


def run(*arguments):
    return CliRunner().invoke(cli, [str(each) for each in arguments])


def fit(folder, *further, recipe="several", out="several"):
    return (
        *("fit", "--data", folder / "outcomes.parquet", "--out", folder / out),
        *("--recipe", folder / f"{recipe}.yaml", *further),
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("several")
    write_answered(folder)
    (folder / "single.yaml").write_text(RECIPE)
    (folder / "several.yaml").write_text(RECIPE + WORKFLOW)
    (folder / "odd.yaml").write_text(RECIPE + WORKFLOW.replace("mini,", "tiny,"))
    fitted = run(*fit(folder, "--answers", folder / "answers.parquet"))
    assert fitted.exit_code == 0, fitted.output
    return folder


def test_a_workflow_is_fitted_stored_and_measured(folder):
    artifact = load_artifact(folder / "several")
    assert artifact.workflow.kind == "agree"
    assert artifact.workflow.models == ("mini", "small")
    assert artifact.workflow_knob is None
    assert artifact.workflow_position(0.3) == 0.3
    found = artifact.manifest["metrics"]["workflow"]
    assert found["aiq_over_single_choice"]["low"] > 0
    assert len(found["positions"]) == 21
    assert 2 < found["positions"][0]["calls"] < 3


@pytest.fixture(scope="module")
def routed(folder):
    (folder / "routed.yaml").write_text(RECIPE + "workflow: {kind: cascade-routing}\n")
    answers = ("--answers", folder / "answers.parquet")
    fitted = run(*fit(folder, *answers, recipe="routed", out="routed"))
    assert fitted.exit_code == 0, fitted.output
    return load_artifact(folder / "routed")


def test_a_workflow_that_is_better_is_kept_with_a_knob_of_its_own(routed, folder):
    found = routed.manifest["metrics"]["workflow"]
    assert found["ships"]
    assert found["aiq_over_single_choice"]["low"] > 0
    assert routed.workflow.kind == "cascade-routing"
    assert routed.workflow.knob_ is not None
    replayed = run(
        *("replay", "--artifact", folder / "routed", "--data", folder / "outcomes.parquet"),
        *("--answers", folder / "answers.parquet", "--cost-quality", "0,0.5,1", "--draws", 100),
        "--json",
    )
    assert replayed.exit_code == 0, replayed.output
    positions = json.loads(replayed.stdout)["positions"]
    assert positions[0]["calls"] == 1 < positions[1]["calls"]
    # Three models leave no finer choice than about a tenth of the gap.
    assert positions[1]["share_of_gap"]["value"] > 0.4


def test_single_choice_serves_where_answers_tell_nothing(folder, tmp_path):
    table = pq.read_table(folder / "answers.parquet")
    silent = pa.array([""] * len(table))
    columns = {name: table[name] if name == "query_id" else silent for name in table.column_names}
    pq.write_table(pa.table(columns), tmp_path / "answers.parquet")
    (tmp_path / "routed.yaml").write_text(RECIPE + "workflow: {kind: cascade-routing}\n")
    fitted = run(
        *("fit", "--data", folder / "outcomes.parquet", "--out", tmp_path / "out"),
        *("--recipe", tmp_path / "routed.yaml", "--answers", tmp_path / "answers.parquet"),
    )
    assert fitted.exit_code == 0, fitted.output
    assert "single choice serves" in fitted.output
    artifact = load_artifact(tmp_path / "out")
    assert artifact.workflow is None
    assert not artifact.manifest["metrics"]["workflow"]["ships"]


def test_an_artifact_is_replayed_with_its_workflow(folder):
    replayed = run(
        *("replay", "--artifact", folder / "several", "--data", folder / "outcomes.parquet"),
        *("--answers", folder / "answers.parquet", "--cost-quality", "0,1", "--draws", 100),
        "--json",
    )
    assert replayed.exit_code == 0, replayed.output
    found = json.loads(replayed.stdout)
    assert found["workflow"] == "agree"
    assert found["positions"][0]["over_single_choice"]["low"] > 0


@pytest.mark.parametrize(
    ("recipe", "further", "told"),
    [
        ("single", ("--answers", "answers.parquet"), "the recipe has no workflow"),
        ("several", (), "outcomes.parquet: holds no answers"),
        ("odd", ("--answers", "answers.parquet"), "cannot work: it calls 'tiny'"),
    ],
)
def test_what_does_not_fit_together_is_one_line(  # noqa: PLR0917  (fixtures)
    folder, capsys, monkeypatch, recipe, further, told
):
    monkeypatch.chdir(folder)
    with pytest.raises(SystemExit) as exit_:
        main([str(each) for each in fit(folder, *further, recipe=recipe, out="none")])
    assert exit_.value.code == 2
    assert told in capsys.readouterr().err.splitlines()[-1]
    assert not (folder / "none").exists()
