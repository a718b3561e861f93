"""`steelyard bench` and submissions to RouterArena, as a researcher runs them."""

import json
import re

import pytest
from click.testing import CliRunner

from app.cli import cli
from routers.gate.bench import paired_lines
from tests.support.clusters import write_clusters

RECIPE = """
strategy: carrot
options: {quality_head: {kind: knn, options: {n_neighbors: 20}}, domains: false}
embedder: {kind: hashing, options: {dimensions: 128}}
blocks: [embedding, lexical]
calibration_folds: 2
"""


def run(*arguments):
    return CliRunner().invoke(cli, list(map(str, arguments)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    write_clusters(folder / "clusters.jsonl", n=300, seed=0)
    (folder / "near.yaml").write_text(RECIPE)
    (folder / "other").mkdir()
    return folder


@pytest.fixture(scope="module")
def benched(folder):
    return run(
        *("bench", "--data", folder / "clusters.jsonl", "--splits", 2, "--json"),
        *("--routers", f"best-single,prompt-length,{folder / 'near.yaml'}"),
        *("--out", folder / "results.json"),
    )


def test_routers_are_measured_on_the_same_splits(benched, folder):
    assert benched.exit_code == 0, benched.output
    found = json.loads(benched.stdout)["clusters"]
    single, length, near = (list(found[name].values()) for name in found)
    for split in range(2):
        assert near[split]["aiq"] > single[split]["aiq"] + 0.05
        assert near[split]["aiq"] > length[split]["aiq"]
        # What belongs to a split is the same whoever is measured.
        assert near[split]["aiq_zero"] == single[split]["aiq_zero"]
        assert near[split]["squared_error"] < single[split]["squared_error"]
    assert json.loads((folder / "results.json").read_text())["results"]["clusters"] == found


def test_what_was_measured_is_not_measured_again(benched, folder):
    assert benched.exit_code == 0
    arguments = ("bench", "--data", folder / "clusters.jsonl", "--out", folder / "results.json")
    again = run(*arguments, "--splits", 2, "--routers", "best-single,prompt-length")
    assert "split" not in again.stderr
    assert "### clusters" in again.stdout
    assert "| best-single | 2 |" in again.stdout
    assert "aiq_zero" in again.stdout
    assert "Beyond best-single, on the same splits:" in again.stdout
    assert re.search(
        r"^\| prompt-length \| [+-]0\.\d{4} ± 0\.\d{4} \(2\) \|$", again.stdout, re.MULTILINE
    )
    write_clusters(folder / "other" / "clusters.jsonl", n=60, seed=1)
    other = ("--data", folder / "other" / "clusters.jsonl", "--routers", "best-single")
    result = run("bench", *other, "--out", folder / "results.json")
    assert "clusters was another file then" in str(result.exception)


def test_gains_are_told_split_by_split_and_bold_where_they_are_no_noise():
    base = {str(i): {"aiq": each} for i, each in enumerate([0.5, 0.7, 0.6, 0.8, 0.4])}
    above = {split: {"aiq": row["aiq"] + 0.01 + 0.001 * int(split)} for split, row in base.items()}
    mixed = {split: {"aiq": row["aiq"] + 0.01 * (-1) ** int(split)} for split, row in base.items()}
    rows = {"base": base, "above": above, "mixed": mixed, "once": {"3": {"aiq": 0.7}}}
    lines = list(paired_lines({"set": rows, "none": {}}, list(rows), against="base"))
    assert lines[3:] == [
        "| router | set |",
        "|---|---|",
        "| above | **+0.0120 ± 0.0007** |",
        "| mixed | +0.0020 ± 0.0049 |",
        "| once | -0.1000 (1 split) |",
    ]
    assert list(paired_lines({"set": rows}, list(rows), against="who")) == []


@pytest.mark.parametrize(
    ("routers", "message"),
    [
        ("nothing-such", "unknown recipe 'nothing-such'; known: "),
        ("nothing-such", "or a kind of strategy: abilities, "),
        ("nothing-such", "or --plugin MODULE"),
        ("cascade", "has a workflow, which steelyard replay measures"),
        ("cheapest,cheapest", "or one twice"),
    ],
)
def test_what_cannot_be_benched_is_refused_before_any_work(folder, routers, message):
    result = run("bench", "--data", folder / "clusters.jsonl", "--routers", routers)
    assert message in result.output + str(result.exception)
    assert "reading" not in result.output


@pytest.fixture(scope="module")
def arena(folder):
    """Return a file of prompts in RouterArena's format, and an artifact."""
    fitted = run(
        *("fit", "--data", folder / "clusters.jsonl", "--recipe", folder / "near.yaml"),
        *("--out", folder / "router"),
    )
    assert fitted.exit_code == 0, fitted.output
    entries = [
        {"global index": f"AIME_{i}", "prompt": "x", "prompt_formatted": f"Question {i}: why?"}
        for i in range(5)
    ]
    (folder / "router_data_10.json").write_text(json.dumps(entries))
    return folder


def submit(folder, *options, data="router_data_10.json", out="submission"):
    return run(
        *("route-batch", "--artifact", folder / "router", "--data", folder / data),
        *("--out", folder / out, "--format", "routerarena", "--cost-quality", "0.8", *options),
    )


def test_a_submission_has_what_the_leaderboard_checks_and_says_what_it_was_trained_on(arena):
    result = submit(arena, "--name", "mine", "--train", arena / "clusters.jsonl")
    assert result.exit_code == 0, result.output
    predictions = json.loads((arena / "submission" / "predictions" / "mine.json").read_text())
    config = json.loads((arena / "submission" / "config" / "mine.json").read_text())
    assert [each["global index"] for each in predictions] == [f"AIME_{i}" for i in range(5)]
    assert predictions[3]["prompt"] == "Question 3: why?"
    models = config["pipeline_params"]["models"]
    assert {each["prediction"] for each in predictions} <= set(models) == {"mini", "mid", "max"}
    statement = (arena / "submission" / "mine.md").read_text()
    assert "No prompt of router_data_10.json (5 prompts) was trained on" in statement
    assert "clusters.jsonl (sha256 " in statement


def test_a_submission_that_cannot_state_so_is_refused(arena):
    result = submit(arena, "--name", "mine", out="refused")
    assert "give --train clusters.jsonl" in str(result.exception)
    line = json.loads((arena / "clusters.jsonl").read_text().splitlines()[0])
    known = [{"global index": "X_1", "prompt": line["prompt"].upper() + "!"}]
    (arena / "seen.json").write_text(json.dumps(known))
    options = ("--name", "mine", "--train", arena / "clusters.jsonl")
    result = submit(arena, *options, data="seen.json", out="refused")
    assert "1 prompts of seen.json are among those of the training" in str(result.exception)
    assert not (arena / "refused").exists()
    assert "needs --name" in submit(arena).output
