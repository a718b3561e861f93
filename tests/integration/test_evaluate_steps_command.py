"""`steelyard evaluate-steps` as a user runs it: a router trained here, tasks made here."""

import csv
import json

import pytest
from click.testing import CliRunner

from routers.commands import evaluate_steps, fit
from routers.errors import DataError
from tests.support.outcomes import PRICES, TOPICS, write_outcomes

RECIPE = """
strategy: carrot
options:
  quality_head: {kind: linear}
  tokens_head: {kind: linear}
embedder: {kind: hashing, options: {dimensions: 96}}
calibration_folds: 2
"""


def run(command, *args):
    result = CliRunner().invoke(command.command, [str(arg) for arg in args])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def write_tasks(file, *, n=20):
    """Write tasks of four sums; every other one has a poem among them, which takes the large."""
    lines = []
    for task in range(n):
        messages = []
        for step in range(4):
            topic = "poem" if step == 2 and task % 2 else "sum"
            messages.append({"role": "user", "content": TOPICS[topic].format(task, step)})
            quality = {"small": float(topic == "sum"), "large": 1.0}
            lines.append(
                {"task": f"t{task}", "step": step, "messages": messages[:], "quality": quality}
            )
            messages.append({"role": "assistant", "content": f"Done with {step}. " * 5})
    file.write_text("".join(json.dumps(each) + "\n" for each in lines))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("steps")
    write_outcomes(folder / "train.parquet", n=240)
    (folder / "recipe.yaml").write_text(RECIPE)
    prices = {
        model: {"input": usd, "output": out, "cached_input": usd / 10}
        for model, (usd, out) in PRICES.items()
    }
    (folder / "prices.json").write_text(json.dumps(prices))
    options = ("--recipe", folder / "recipe.yaml", "--out", folder / "router")
    result = run(fit, "--data", folder / "train.parquet", *options)
    assert result.exit_code == 0, result.stderr
    write_tasks(folder / "tasks.jsonl")
    return folder


@pytest.fixture(scope="module")
def report(folder):
    result = run(
        evaluate_steps,
        *("--artifact", folder / "router", "--data", folder / "tasks.jsonl"),
        *("--prices", folder / "prices.json", "--knob", "0,0.9", "--out", folder / "report"),
        "--json",
    )
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def ways(report):
    return {way["name"]: way for way in report["routers"][0]["ways"]}


def test_what_single_models_come_to_is_known_beforehand(report):
    found = ways(report)
    assert (report["n_tasks"], report["n_steps"]) == (20, 80)
    assert found["small"]["finished_share"] == 0.5
    assert found["large"]["finished_share"] == found["cheapest that does"]["finished_share"] == 1
    assert found["small"]["cache_misses"] == found["large"]["cache_misses"] == 0
    assert found["small"]["cost_usd"] < found["large"]["cost_usd"]
    assert found["cheapest that does"]["switches"] == 20


def test_the_router_is_told_beside_choosing_anew_and_beside_the_lot(report):
    found = ways(report)
    cheapest, stays = found["knob 0"], found["knob 0.9"]
    assert cheapest["shares"]["small"] == 1
    assert cheapest["usd_per_finished_task"] == found["small"]["usd_per_finished_task"]
    assert stays["switches"] <= found["knob 0.9, each step anew"]["switches"]
    lot = found["shares of knob 0.9, by lot"]
    assert lot["cache_misses"] == lot["switches"] == 0
    assert stays["finished_share"] >= lot["finished_share"]
    for way in found.values():
        assert 0 <= way["finished_share"] <= 1
        assert sum(way["shares"].values()) == pytest.approx(1)


def test_the_report_lies_in_four_files_that_agree(folder, report):
    files = {path.name for path in (folder / "report").iterdir()}
    assert files == {"steps.json", "steps.md", "steps.csv", "steps.html"}
    kept = json.loads((folder / "report/steps.json").read_text())
    assert kept == report
    rows = list(csv.DictReader((folder / "report/steps.csv").read_text().splitlines()))
    assert [row["name"] for row in rows] == list(ways(report))
    page = (folder / "report/steps.html").read_text()
    table = (folder / "report/steps.md").read_text()
    for way in ways(report).values():
        assert way["name"] in page
        assert f"| {way['name']} |" in table


def test_asked_again_more_is_finished_in_more_steps(folder, report):
    result = run(
        evaluate_steps,
        *("--artifact", folder / "router", "--data", folder / "tasks.jsonl"),
        *("--prices", folder / "prices.json", "--knob", "0", "--retries", 1),
    )
    assert result.exit_code == 0, result.stderr
    (row,) = [line for line in result.stdout.splitlines() if line.strip().startswith("knob 0 ")]
    assert "100.0%" in row
    assert "4.50" in row
    assert ways(report)["knob 0"]["steps_per_task"] == 4


def test_tasks_of_other_models_are_refused_in_one_line(folder, tmp_path):
    file = tmp_path / "tasks.jsonl"
    file.write_text('{"task": "a", "prompt": "Hi", "quality": {"small": 1, "other": 1}}\n')
    with pytest.raises(DataError, match="there is nothing to choose from"):
        run(evaluate_steps, "--artifact", folder / "router", "--data", file)
