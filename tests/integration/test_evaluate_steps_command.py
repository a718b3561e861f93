"""`steelyard evaluate-steps` as a user runs it: a router trained here, tasks made here."""

import csv
import json

import pytest
from click.testing import CliRunner

from routers.commands import evaluate_steps, fit
from routers.data.agent_releases import read_runs
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


# --- published runs ------------------------------------------------------------------------------


def call(name):
    function = {"name": name, "arguments": "{}"}
    return {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "function": function}]}


def tau_bench(file, solved, *, trials=2):
    """Write results as tau-bench does: of each task `solved` says how many trials solved it."""
    results = []
    for task, n_solved in solved.items():
        for trial in range(trials):
            traj = [
                {"role": "system", "content": "You are a clerk."},
                {"role": "user", "content": f"Return order {task}."},
                call("find_order"),
                {"role": "tool", "tool_call_id": "1", "name": "find_order", "content": "found"},
                {"role": "assistant", "content": f"Done in trial {trial}."},
            ]
            reward = float(trial < n_solved)
            results.append(
                {"task_id": task, "reward": reward, "info": {}, "traj": traj, "trial": trial}
            )
    file.write_text(json.dumps(results))
    return file


def swe_agent(folder, resolved, *, tasks=("a__b-1", "a__b-2"), queries=True):
    """Write trajectories as SWE-agent does, and the report of the evaluation beside them."""
    for task in tasks:
        turns, read = [], [{"role": "system", "content": "Fix it."}]
        read.append({"role": "user", "content": f"Issue of {task}"})
        for step in range(3):
            response = f"DISCUSSION look\n```\nls {step}\n```"
            turn = {"response": response, "thought": "look", "action": f"ls {step}"}
            turn |= {"observation": f"file{step}.py", "state": "{}"}
            if queries or step == 0:
                turn["query"] = list(read)
            turns.append(turn)
            read += [{"role": "assistant", "content": response}]
            read += [{"role": "user", "content": f"file{step}.py"}]
        (folder / task).mkdir(parents=True)
        info = {"exit_status": "submitted", "model_stats": {"instance_cost": 0.4}}
        told = {"trajectory": turns, "history": [], "info": info}
        (folder / task / f"{task}.traj").write_text(json.dumps(told))
    (folder / "results.json").write_text(json.dumps({"resolved_ids": list(resolved)}))
    return folder


def test_results_of_tau_bench_are_steps_of_the_model_that_solved_most(tmp_path):
    runs = {
        "small": tau_bench(tmp_path / "small.json", {1: 1, 2: 0, 3: 2}),
        "large": tau_bench(tmp_path / "large.json", {1: 2, 2: 1}),
    }
    first, second = read_runs(runs)
    assert (first.task, second.task) == ("1", "2")  # nobody knows of 3 what the large one made
    assert dict(first.steps[0].qualities) == {"small": 0.5, "large": 1.0}
    assert dict(second.steps[1].qualities) == {"small": 0.0, "large": 0.5}
    look, answer = first.steps
    assert [each.role for each in look.conversation.messages] == ["system", "user"]
    assert "find_order" in answer.conversation.messages[2].text
    assert answer.conversation.messages[3].text == "found"
    assert look.output_tokens[""] > answer.output_tokens[""] > 0


@pytest.mark.parametrize("queries", [True, False])
def test_trajectories_of_swe_agent_are_solved_where_the_report_says_so(tmp_path, queries):
    runs = {
        "small": swe_agent(tmp_path / "small", ["a__b-2"]),
        "large": swe_agent(tmp_path / "large", ["a__b-1", "a__b-2"], queries=queries),
    }
    first, second = read_runs(runs)
    assert dict(first.steps[0].qualities) == {"small": 0.0, "large": 1.0}
    assert dict(second.steps[0].qualities) == {"small": 1.0, "large": 1.0}
    assert len(first.steps) == 3
    read = [each.text for each in first.steps[2].conversation.messages]
    assert read[:2] == ["Fix it.", "Issue of a__b-1"]
    assert read[3:] == ["file0.py", "DISCUSSION look\n```\nls 1\n```", "file1.py"]


def test_published_runs_are_replayed(folder, tmp_path):
    small = tau_bench(tmp_path / "small.json", dict.fromkeys(range(8), 0))
    large = tau_bench(tmp_path / "large.json", dict.fromkeys(range(8), 2))
    arguments = ("--artifact", folder / "router", "--runs", f"small={small},large={large}")
    report = json.loads(run(evaluate_steps, *arguments, "--json").stdout)
    assert (report["n_tasks"], report["n_steps"]) == (8, 16)
    ways = {each["name"]: each for each in report["routers"][0]["ways"]}
    assert ways["large"]["finished"] == 8
    assert ways["small"]["finished"] == 0
    assert run(evaluate_steps, *arguments, "--data", small).exit_code == 2
    assert run(evaluate_steps, "--artifact", folder / "router").exit_code == 2
    assert run(evaluate_steps, *arguments[:3], "small").exit_code == 2


@pytest.mark.parametrize(
    ("result", "words"),
    [
        ({"reward": 1}, "'traj' must be a list"),
        ({"traj": [], "task_id": 1}, "'reward' must be in"),
        ({"traj": [], "reward": 3, "task_id": 1}, "'reward' must be in"),
        ({"traj": [], "reward": 1}, "'task_id' must name"),
        ({"traj": ["x"], "reward": 1, "task_id": 1}, "a message must be an object"),
    ],
    ids=["no-steps", "no-reward", "no-share", "no-task", "no-message"],
)
def test_results_that_lack_something_are_named(result, words, tmp_path):
    (tmp_path / "results.json").write_text(json.dumps([result]))
    with pytest.raises(DataError, match=words):
        read_runs({"m": tmp_path / "results.json"})


def test_a_run_without_its_report_or_its_tasks_is_told(tmp_path):
    folder = swe_agent(tmp_path / "run", [])
    other = tau_bench(tmp_path / "other.json", {1: 1})
    with pytest.raises(DataError, match="no task is in the runs of all of a, b"):
        read_runs({"a": folder, "b": other})
    (folder / "results.json").write_text("{")
    with pytest.raises(DataError, match="not valid JSON"):
        read_runs({"a": folder})
    (folder / "results.json").write_text("{}")
    with pytest.raises(DataError, match="'resolved_ids' must be a list"):
        read_runs({"a": folder})
    (folder / "results.json").unlink()
    with pytest.raises(DataError, match="says nowhere what was solved"):
        read_runs({"a": folder})
