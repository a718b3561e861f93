"""Policies of several calls from recorded answers to an artifact and its replay."""

import json

import numpy as np
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
    (folder / "worse.yaml").write_text(
        RECIPE
        + WORKFLOW.replace("mini, small", "mini, large").replace("last: large", "last: small")
    )
    (folder / "odd.yaml").write_text(RECIPE + WORKFLOW.replace("mini,", "tiny,"))
    fitted = run(*fit(folder, "--answers", folder / "answers.parquet"))
    assert fitted.exit_code == 0, fitted.output
    return folder


def test_a_workflow_is_fitted_stored_and_measured(folder):
    artifact = load_artifact(folder / "several")
    assert artifact.workflow.kind == "agree"
    assert artifact.workflow.models == ("mini", "small")
    assert artifact.workflow_knob is None
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


def test_a_workflow_that_is_better_is_kept_with_its_knob(routed, folder):
    found = routed.manifest["metrics"]["workflow"]
    assert found["ships"]
    assert found["aiq_over_single_choice"]["low"] > 0
    assert routed.workflow.kind == "cascade-routing"
    assert routed.workflow_knob is not None
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


def calibrate(folder, name, out, *further):
    return run(
        *("calibrate", "--artifact", folder / name, "--data", folder / "outcomes.parquet"),
        *("--out", out, *further),
    )


def test_the_knob_of_a_workflow_is_refitted_on_fresh_answers(routed, folder, tmp_path):
    # Answers of which the dear model's are worth nothing: the same rates recover other shares.
    outcomes = pq.read_table(folder / "outcomes.parquet")
    worse = pa.array([0.4] * len(outcomes))
    at = outcomes.column_names.index("q:large")
    pq.write_table(outcomes.set_column(at, "q:large", worse), tmp_path / "outcomes.parquet")
    done = run(
        *("calibrate", "--artifact", folder / "routed", "--data", tmp_path / "outcomes.parquet"),
        *("--answers", folder / "answers.parquet", "--out", tmp_path / "out"),
    )
    assert done.exit_code == 0, done.output
    assert "knob of the workflow refitted on 300 queries" in done.output
    again = load_artifact(tmp_path / "out")
    assert again.workflow_knob != routed.workflow_knob
    assert again.manifest["recalibrated"]["workflow_knob"]["refitted"]
    np.testing.assert_equal(again.workflow.state(), routed.workflow.state())


def test_without_answers_the_knob_of_a_workflow_stays_as_it_was(routed, folder, tmp_path):
    done = calibrate(folder, "routed", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "knob of the workflow as it was: " in done.output
    assert load_artifact(tmp_path / "out").workflow_knob == routed.workflow_knob


def test_answers_are_refused_where_no_knob_steers_a_workflow(folder, tmp_path):
    done = calibrate(folder, "several", tmp_path / "out", "--answers", folder / "answers.parquet")
    assert done.exit_code != 0
    assert "no workflow that the knob steers" in str(done.exception)
    assert not (tmp_path / "out").exists()


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


def gate(folder, name, *further):
    told = run(
        *("gate", "--artifact", folder / name, "--train", folder / "outcomes.parquet"),
        *("--max-p50-ms", 1000, "--draws", 200, *further, "--json"),
    )
    return told.exit_code, json.loads(told.stdout)


def test_the_gate_says_that_a_workflow_ships_that_beats_single_choice(folder):
    code, found = gate(folder, "several", "--answers", folder / "answers.parquet")
    checks = {check["name"]: check for check in found["checks"]}
    assert found["ships"] == "workflow"
    assert checks["single choice"]["verdict"] == "passed"
    assert checks["single choice"]["interval"]["low"] > 0
    assert "the workflow ships" in checks["single choice"]["finding"]
    assert "cost-matched shuffle" not in checks
    assert (code, found["verdict"]) == (0, "passed")


def test_the_gate_judges_further_rows_by_the_workflow_as_it_is(folder, tmp_path):
    (tmp_path / "further").mkdir()
    outcomes, answers = write_answered(tmp_path / "further", seed=1)
    for path, where in ((outcomes, "outcomes"), (answers, "answers")):
        table = pq.read_table(path)
        ids = pa.array([f"further-{each}" for each in table["query_id"].to_pylist()])
        table = table.set_column(0, "query_id", ids)
        if where == "outcomes":
            prompts = [f"Another one: {each}" for each in table["prompt"].to_pylist()]
            table = table.set_column(1, "prompt", pa.array(prompts))
        pq.write_table(table, path)
    both = f"{folder / 'answers.parquet'},{answers}"
    code, found = gate(folder, "several", "--data", outcomes, "--answers", both)
    assert (found["n_queries"], found["n_cross_fitted"]) == (600, 300)
    assert (code, found["ships"]) == (0, "workflow")


def test_the_gate_says_that_single_choice_ships_where_it_is_better(folder):
    fitted = run(*fit(folder, "--answers", folder / "answers.parquet", recipe="worse", out="worse"))
    assert fitted.exit_code == 0, fitted.output
    code, found = gate(folder, "worse", "--answers", folder / "answers.parquet")
    assert code != 0
    assert not found["passed"]
    assert found["ships"] == "single choice"


def test_the_gate_needs_answers_where_there_is_a_workflow(folder, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(
            [
                *("gate", "--artifact", str(folder / "several")),
                *("--train", str(folder / "outcomes.parquet")),
            ]
        )
    assert exit_.value.code == 2
    assert "outcomes.parquet: holds no answers" in capsys.readouterr().err.splitlines()[-1]


def test_the_gate_looks_at_no_answers_where_there_is_no_workflow(folder):
    assert run(*fit(folder, recipe="single", out="single")).exit_code == 0
    _, found = gate(folder, "single", "--answers", folder / "answers.parquet")
    assert found["ships"] is None
    assert "The artifact has no workflow: nothing looks at answers." in found["notes"]
