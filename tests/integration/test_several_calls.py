"""Policies of several calls from recorded answers to an artifact and its replay."""

import json

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
