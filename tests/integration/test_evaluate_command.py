"""`evaluate` as a user runs it, on files whose right answers are known."""

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import pytest
from click.testing import CliRunner

from routers.commands import evaluate, fit
from routers.errors import DataError
from routers.evaluation.csv_tables import csv_files
from routers.evaluation.report import markdown
from tests.support.clusters import write_clusters
from tests.support.outcomes import write_outcomes

RECIPE = """
strategy: carrot
options:
  quality_head: {kind: linear}
  tokens_head: {kind: linear}
embedder: {kind: hashing, options: {dimensions: 96}}
calibration_folds: 3
"""


def run(command, *args):
    result = CliRunner().invoke(command.command, [str(arg) for arg in args])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("evaluate")
    write_clusters(folder / "train.jsonl", n=600, seed=1)
    write_clusters(folder / "test.jsonl", n=400, seed=2)
    (folder / "recipe.yaml").write_text(RECIPE)
    options = ("--out", folder / "router", "--recipe", folder / "recipe.yaml")
    assert run(fit, "--data", folder / "train.jsonl", *options).exit_code == 0
    return folder


@pytest.fixture(scope="module")
def report(folder) -> dict:
    result = run(
        evaluate,
        *("--artifact", folder / "router", "--data", folder / "test.jsonl"),
        *("--train", folder / "train.jsonl", "--out", folder / "report", "--draws", 200, "--json"),
    )
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def by_name(report: dict) -> dict:
    return {router["name"]: router for router in report["routers"]}


def test_every_router_stands_on_the_same_rows(report):
    names = list(by_name(report))
    assert names[0] == "router"
    assert set(names[1:]) == {
        "cheapest", "strongest", "best single", "ZeroRouter", "prompt length", "kNN(k=100)",
        "guarded kNN", "oracle",
    }  # fmt: skip
    assert report["n_queries"] == 400
    assert report["best_single"]["model"] == "max"
    assert report["best_single"]["chosen_on"] == "training rows"


def test_the_order_is_what_the_world_says(report):
    area = {name: each["aiq"]["value"] for name, each in by_name(report).items() if each["aiq"]}
    assert area["ZeroRouter"] + 0.1 < area["router"] < area["oracle"]
    assert area["prompt length"] == pytest.approx(area["ZeroRouter"], abs=0.03)
    router = by_name(report)["router"]
    assert router["aiq_over_zero"]["low"] > 0
    assert router["aiq"]["low"] < area["router"] < router["aiq"]["high"]


def test_artifacts_are_compared_in_pairs_and_benchmark_by_benchmark(folder, tmp_path):
    rows = [json.loads(line) for line in (folder / "test.jsonl").read_text().splitlines()]
    for number, row in enumerate(rows):
        row["benchmark"] = ("even", "odd")[number // 3 % 2]
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    single = ("--strategy", "best-single", "--embedder", "hashing", "--out", tmp_path / "single")
    assert run(fit, "--data", folder / "train.jsonl", *single).exit_code == 0
    both = f"{folder / 'router'},{tmp_path / 'single'}"
    options = ("--artifact", both, "--data", tmp_path / "test.jsonl", "--draws", 100)
    found = json.loads(run(evaluate, *options, "--json").stdout)
    (pair,) = found["paired"]
    assert (pair["first"], pair["second"]) == ("router", "single")
    for name in ("area", "auc_log_cost", "hull_apgr"):
        assert pair[name]["low"] > 0, name
    router = by_name(found)["router"]
    assert router["hull_apgr"]["value"] > 0.6
    # Models that are told apart by nothing recover half of the gap.
    assert by_name(found)["single"]["hull_apgr"]["value"] == pytest.approx(0.5, abs=0.02)
    assert [each["n"] for each in found["benchmarks"]] == [200, 200]
    assert [each["name"] for each in found["benchmarks"][0]["routers"]] == ["router", "single"]
    tables = {name: text.splitlines() for name, text in csv_files(found).items()}
    assert tables["benchmarks.csv"][0] == "benchmark,n,router,quality,cost_share_of_best_single"
    assert len(tables["benchmarks.csv"]) == 1 + 2 * 4
    assert len(tables["routers.csv"]) == 1 + len(found["routers"])
    points = [row.split(",") for row in tables["curve.csv"][1:] if row.startswith("router,")]
    assert [[float(each[2]), float(each[3])] for each in points] == router["curve"]["points"]
    on_hull = [[float(each[2]), float(each[3])] for each in points if each[4] == "1"]
    assert on_hull == router["curve"]["hull"]
    assert len(tables["knob.csv"]) == 1 + 2 * 11
    text = markdown(found)
    assert "## Differences between artifacts" in text
    assert "clusters/odd" in text
    assert "clusters/odd" in run(evaluate, *options).stdout


def test_another_pair_is_measured_under_the_names_it_is_predicted_as(folder, tmp_path):
    """Rename two models of the data: whoever is told whom they stand for finds the same."""
    rows = [json.loads(line) for line in (folder / "test.jsonl").read_text().splitlines()]
    new = {"mini": "tiny", "max": "huge"}
    (tmp_path / "new.jsonl").write_text(
        "".join(
            json.dumps(row | {"model": new.get(row["model"], row["model"])}) + "\n" for row in rows
        )
    )
    options = ("--artifact", folder / "router", "--draws", 100, "--json")
    served = ("--data", tmp_path / "new.jsonl", "--predicted-as", "tiny=mini,huge=max")
    found = json.loads(run(evaluate, *options, *served).stdout)
    same = json.loads(run(evaluate, *options, "--data", folder / "test.jsonl").stdout)
    assert {each["model"] for each in found["models"]} == {"mini", "mid", "max"}
    assert by_name(found)["router"]["apgr"] == by_name(same)["router"]["apgr"]
    # The weak model for the strong one: what is gained on the easy is lost on the hard.
    turned = ("--data", folder / "test.jsonl", "--predicted-as", "mini=max,max=mini")
    back = json.loads(run(evaluate, *options, *turned).stdout)
    assert by_name(back)["router"]["best_quality"] < by_name(same)["router"]["best_quality"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("nobody=max", "there are no outcomes of nobody"),
        ("mini=max,mid=max", "cannot be predicted as the same one"),
        ("mini", "is not NAME=MODEL"),
        ("mini=max,mini=mid", "every name once"),
        ("=max", "is not NAME=MODEL"),
    ],
)
def test_who_stands_for_whom_has_to_be_said_clearly(folder, given, message):
    options = ("--artifact", folder / "router", "--data", folder / "test.jsonl")
    arguments = [str(each) for each in (*options, "--predicted-as", given)]
    result = CliRunner().invoke(evaluate.command, arguments)
    assert result.exit_code == 2 or isinstance(result.exception, DataError)
    assert message in (result.output + str(result.exception))


def test_fixed_models_have_their_own_numbers(report):
    found, models = by_name(report), {each["model"]: each for each in report["models"]}
    assert found["cheapest"]["best_quality"] == pytest.approx(models["mini"]["quality"])
    assert found["best single"]["match_cost_share"]["value"] == pytest.approx(1)
    assert found["cheapest"]["match_cost_share"]["value"] is None
    assert found["best single"]["aiq"] is None
    assert found["ZeroRouter"]["aiq_over_zero"] == {"value": 0, "low": 0, "high": 0}
    assert found["oracle"]["oracle_gap"] == 0
    assert found["oracle"]["model_recall"] == 1


def test_the_knob_is_replayed_from_cheapest_to_best(report):
    router = by_name(report)["router"]
    cost = [step["usd_per_1000"] for step in router["knob"]]
    assert cost == sorted(cost)
    share = {step["cost_quality"]: step["share_of_gap"]["value"] for step in router["knob"]}
    assert (share[0], share[1]) == (0, 1)
    assert router["knob_error"] == pytest.approx(max(abs(share[t] - t) for t in share))
    assert sum(router["at_middle"]["shares"].values()) == pytest.approx(1)


def test_predictions_are_held_against_outcomes(report):
    router = by_name(report)["router"]
    assert 0 <= router["ece"] < 0.1
    assert 0 < router["brier"] < 0.25
    assert router["upper_tokens_coverage"] == pytest.approx(0.9, abs=0.05)
    assert [each["model"] for each in router["per_model"]] == ["mini", "mid", "max"]
    assert router["apgr"]["low"] > 0.5


def test_the_same_seed_gives_the_same_report(folder, report):
    again = run(
        evaluate,
        *("--artifact", folder / "router", "--data", folder / "test.jsonl"),
        *("--train", folder / "train.jsonl", "--draws", 200, "--json"),
    )
    assert {**json.loads(again.stdout), "created_at": ""} == {**report, "created_at": ""}


def test_three_files_are_written_and_the_page_needs_nothing_else(folder, report):
    out = folder / "report"
    assert json.loads((out / "report.json").read_text()) == report
    text = (out / "report.md").read_text()
    assert "| router | AIQ [95%] |" in text
    assert "kNN(k=100)" in text
    page = (out / "report.html").read_text()
    assert "/*DATA*/" not in page
    assert not re.search(r"""(src|href)\s*=|@import|url\((?!#)|fetch\(""", page)
    assert set(re.findall(r"https?://[^\s\"'<]+", page)) == {"http://www.w3.org/2000/svg"}


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node to read the page's script")
def test_the_script_of_the_page_is_well_formed(folder, report, tmp_path):
    page = (folder / "report" / "report.html").read_text()
    (tmp_path / "page.js").write_text(page.split("<script>")[1].split("</script>")[0])
    node = subprocess.run(
        ["node", "--check", str(tmp_path / "page.js")], capture_output=True, text=True, check=False
    )
    assert node.returncode == 0, node.stderr
    used = set(re.findall(r'\$\("([a-z-]+)"\)', page))
    assert used <= set(re.findall(r'id="([a-z-]+)"', page))


def test_names_from_data_cannot_leave_the_script_of_the_page(report):
    from routers.evaluation.report import html

    hostile = {**report, "notes": ["</script><script>alert(1)</script>"]}
    assert "<script>alert" not in html(hostile)
    assert html(hostile).count("</script>") == 1


def test_names_from_data_are_no_markup(report):
    evil = "a|b\n# c `d` <script>e</script> [f](http://g) @h *i* \x1b[2J &lt; \\"
    changed = json.loads(json.dumps(report).replace('"mini"', json.dumps(evil)))
    lines = markdown(changed).splitlines()
    assert len(lines) == len(markdown(report).splitlines())
    for line, plain in zip(lines, markdown(report).splitlines(), strict=True):
        assert line.count("|") == plain.count("|")
        assert not set("`<@\x1b\\") & set(line)
        assert "](" not in line
        assert "://" not in line
    shown = "\n".join(lines)
    assert unescape(shown).count("a|b # c `d` <script>e</script> [f](http://g) @h *i*  [2J") == 3


def test_the_terminal_gets_a_table_and_progress_apart(folder):
    result = run(
        evaluate,
        *("--artifact", folder / "router", "--data", folder / "test.jsonl", "--draws", 100),
    )
    assert "ZeroRouter" in result.stdout
    assert "chosen on evaluated rows" in result.stdout
    assert "kNN" not in result.stdout.split("there is no kNN")[0]
    assert "measuring" in result.stderr
    assert "measuring" not in result.stdout


def test_training_rows_among_the_evaluated_are_called_out(folder):
    result = run(
        evaluate,
        *("--artifact", folder / "router", "--data", folder / "train.jsonl"),
        *("--train", folder / "train.jsonl", "--draws", 100, "--json"),
    )
    assert any(
        "600 evaluated queries are also among" in n for n in json.loads(result.stdout)["notes"]
    )


def test_prices_change_choices_but_not_recorded_costs(folder, report):
    (folder / "p.json").write_text('{"mini": [80, 320]}')
    result = run(
        evaluate,
        *("--artifact", folder / "router", "--data", folder / "test.jsonl"),
        *("--prices", folder / "p.json", "--draws", 100, "--json"),
    )
    found = json.loads(result.stdout)
    assert found["models"][0]["usd_per_1000"] == report["models"][0]["usd_per_1000"]
    assert (
        found["routers"][0]["knob"][0]["usd_per_1000"]
        > report["routers"][0]["knob"][0]["usd_per_1000"]
    )


def test_files_without_common_models_and_twice_the_same_artifact_are_refused(folder, tmp_path):
    other = write_outcomes(tmp_path / "other.parquet", n=60)
    with pytest.raises(DataError, match="fewer than two models in common"):
        run(evaluate, "--artifact", folder / "router", "--data", other)
    twice = f"{folder / 'router'},{folder / 'router'}"
    with pytest.raises(DataError, match="twice"):
        run(evaluate, "--artifact", twice, "--data", folder / "test.jsonl")
    result = run(evaluate, "--artifact", folder / "router")
    assert result.exit_code == 2


# --- sweeping a goal ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def swept(folder, report) -> dict:
    """Sweep the router above by size, which nobody knows of one model."""
    models = [each["model"] for each in sorted(report["models"], key=lambda m: m["quality"])]
    facts = {
        model: {"parameters_b": size, "released": f"202{i}-01-01"}
        for i, (model, size) in enumerate(zip(models[:-1], (1, 10, 100, 1000), strict=False))
    }
    (folder / "facts.json").write_text(json.dumps({"models": facts}))
    result = run(evaluate, *sweeping(folder, "size"), "--out", folder / "pareto", "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout) | {"best": models[-1]}


def sweeping(folder, goal):
    return (
        *("--artifact", folder / "router", "--data", folder / "test.jsonl", "--draws", 200),
        *("--sweep", f"flag:{goal}", "--catalogue", folder / "facts.json"),
    )


def test_a_swept_goal_traces_a_front(swept):
    router = by_name(swept)["router"]
    costs = [each["goal_cost"] for each in router["points"]]
    assert costs == sorted(costs, reverse=True)
    assert costs[-1] == min(each["goal_cost"] for each in swept["models"])
    assert router["points"][0]["weight"] == 0
    assert costs[0] > costs[-1]
    oracle = by_name(swept)["oracle"]["points"]
    assert oracle[0]["quality"] >= router["points"][0]["quality"]
    unknown = next(each for each in swept["models"] if each["model"] == swept["best"])
    assert (unknown["goal_cost"], unknown["fact"]) == (1, None)
    assert any(swept["best"] in note and "worst" in note for note in swept["notes"])
    assert router["over_mixing"]["low"] <= router["over_mixing"]["value"]


def test_a_swept_goal_is_written_for_people_and_programs(folder, swept):
    written = {each.name: each.read_text() for each in (folder / "pareto").iterdir()}
    assert set(written) == {"pareto.json", "pareto.md", "pareto.csv", "pareto.html"}
    lines = written["pareto.csv"].splitlines()
    n_points = sum(len(each["points"]) for each in swept["routers"])
    assert len(lines) == 1 + n_points + len(swept["models"])
    assert "<svg" in written["pareto.html"]
    assert "http" not in written["pareto.html"]
    assert "billions of parameters" in written["pareto.md"]


@pytest.mark.parametrize("goal", ["verbosity", "recency"])
def test_other_goals_are_swept_too(folder, swept, goal):
    result = run(evaluate, *sweeping(folder, goal), "--cost-quality", "0.8")
    assert result.exit_code == 0, result.stderr
    assert f"{goal} against quality" in result.stdout
    assert "over mixing" in result.stdout


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (
            ("--sweep", "flag:security"),
            "security is met or not and has no weight; known: flag:size",
        ),
        (("--sweep", "size"), "known: flag:size, flag:recency"),
        (("--catalogue", "x.yaml"), "--catalogue goes with --sweep flag:GOAL"),
    ],
)
def test_what_cannot_be_swept_is_told(folder, args, says):
    options = ("--artifact", folder / "router", "--data", folder / "test.jsonl")
    result = run(evaluate, *options, *args)
    assert result.exit_code == 2
    assert says in " ".join(result.stderr.split())


def test_a_goal_that_tells_no_models_apart_is_refused(folder, swept):
    with pytest.raises(DataError, match="nothing is known of the readability"):
        run(evaluate, *sweeping(folder, "readability"))
