"""`fit` and `route-batch` as a user runs them."""

import itertools
import json
import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from routers.commands import fit, route_batch
from routers.errors import DataError, RoutingConfigError
from tests.support.outcomes import write_outcomes

RECIPE = """
strategy: carrot
options:
  quality_head: {kind: knn, options: {n_neighbors: 40}}
  tokens_head: {kind: linear}
embedder: {kind: hashing, options: {dimensions: 64}}
calibration_folds: 3
"""


COMMANDS = {"fit": fit.command, "route-batch": route_batch.command}


def command(*args):
    result = CliRunner().invoke(COMMANDS[args[0]], [str(arg) for arg in args[1:]])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("commands")
    write_outcomes(folder / "data.parquet")
    (folder / "recipe.yaml").write_text(RECIPE)
    result = command(
        "fit",
        "--data",
        folder / "data.parquet",
        "--out",
        folder / "router",
        "--recipe",
        folder / "recipe.yaml",
        "--json",
    )
    assert result.exit_code == 0, result.stderr
    (folder / "summary.json").write_text(result.stdout)
    return folder


def route(folder, out, *, data="data.parquet", knobs="0,0.5,1", extra=()):
    result = command(
        "route-batch",
        "--artifact",
        folder / "router",
        "--data",
        folder / data,
        "--cost-quality",
        knobs,
        "--out",
        out,
        *extra,
    )
    assert result.exit_code == 0, result.stderr
    return pq.read_table(out)


def test_fit_prints_a_summary_and_progress_apart(folder):
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["models"] == ["small", "large"]
    assert summary["metrics"]["aiq"] > summary["metrics"]["aiq_zero_router"]


def test_a_recipe_of_the_repository_goes_by_its_name(folder, tmp_path, monkeypatch):
    (tmp_path / "configs/training").mkdir(parents=True)
    (tmp_path / "configs/training/mine.yaml").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)
    result = command(
        *("fit", "--data", folder / "data.parquet", "--out", tmp_path / "out", "--recipe", "mine"),
        "--json",
    )
    expected = json.loads((folder / "summary.json").read_text())
    assert json.loads(result.stdout)["version"] == expected["version"]
    with pytest.raises(RoutingConfigError, match="absent"):
        command(
            *("fit", "--data", folder / "data.parquet", "--out", tmp_path / "no"),
            *("--recipe", "absent"),
        )


def test_route_batch_writes_one_row_per_query_and_knob(folder, tmp_path):
    table = route(folder, tmp_path / "out.parquet")
    assert table.num_rows == 240 * 3
    assert table.column_names == [
        "query_id",
        "knob",
        "model",
        "quality:small",
        "quality:large",
        "tokens:small",
        "tokens:large",
        "cost_usd:small",
        "cost_usd:large",
    ]
    assert table["query_id"].to_pylist()[:4] == ["q0", "q0", "q0", "q1"]
    assert table["knob"].to_pylist()[:3] == [0, 0.5, 1]
    assert set(table["model"].to_pylist()[::3]) == {"small"}
    rows = table.to_pylist()
    for before, after in itertools.pairwise(rows):
        if before["query_id"] == after["query_id"]:
            for family in ("quality", "cost_usd"):
                lower = before[f"{family}:{before['model']}"]
                assert after[f"{family}:{after['model']}"] >= lower


def test_route_batch_is_the_same_to_the_last_byte(folder, tmp_path):
    route(folder, tmp_path / "one.parquet")
    route(folder, tmp_path / "two.parquet")
    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "two.parquet").read_bytes()


def test_route_batch_never_reads_outcomes(folder, tmp_path):
    table = pq.read_table(folder / "data.parquet")
    outcomes = [name for name in table.column_names if name[:2] in ("q:", "c:", "t:")]
    pq.write_table(table.drop_columns(outcomes), folder / "bare.parquet")
    shuffled = np.random.default_rng(0).permutation(table.num_rows)
    for name in outcomes:
        column = table.column_names.index(name)
        table = table.set_column(column, name, table[name].take(pa.array(shuffled)))
    pq.write_table(table, folder / "shuffled.parquet")
    broken = table.set_column(
        table.column_names.index(outcomes[0]), outcomes[0], pa.array(["?"] * table.num_rows)
    )
    pq.write_table(broken, folder / "broken.parquet")
    expected = route(folder, tmp_path / "a.parquet")
    for data in ("bare.parquet", "shuffled.parquet", "broken.parquet"):
        assert route(folder, tmp_path / "b.parquet", data=data).equals(expected)


def test_route_batch_reads_lines_of_prompts_too(folder, tmp_path):
    expected = route(folder, tmp_path / "parquet.parquet")
    rows = pq.read_table(folder / "data.parquet", columns=["query_id", "prompt"]).to_pylist()
    for i, row in enumerate(rows):
        if i % 2:
            row["messages"] = [{"role": "user", "content": row.pop("prompt")}]
    outcomes = [{**row, "model": model, "quality": 1} for row in rows for model in ("a", "b")]
    for records in (rows, outcomes):
        lines = "".join(json.dumps(record) + "\n" for record in records)
        (folder / "prompts.jsonl").write_text(lines)
        assert route(folder, tmp_path / "out.parquet", data="prompts.jsonl").equals(expected)


def test_lines_without_an_id_are_numbered(folder, tmp_path):
    (folder / "bare.jsonl").write_text('{"prompt": "Add 1 and 2"}\n\n{"prompt": "A poem"}\n')
    table = route(folder, tmp_path / "out.parquet", data="bare.jsonl", knobs="0.5")
    assert table["query_id"].to_pylist() == ["1", "3"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no rows"),
        ("{", "line 1: is not valid JSON"),
        ("{}", "line 1: give either 'prompt' or 'messages'"),
        ('{"prompt": "a", "query_id": 1.5}', "'query_id' must be a text"),
    ],
)
def test_lines_that_cannot_be_routed_are_named(folder, tmp_path, text, message):
    (folder / "wrong.jsonl").write_text(text)
    with pytest.raises(DataError, match=message):
        route(folder, tmp_path / "out.parquet", data="wrong.jsonl")


def test_the_batch_tells_how_often_each_model_was_chosen(folder, tmp_path):
    result = command(
        *("route-batch", "--artifact", folder / "router", "--data", folder / "data.parquet"),
        *("--cost-quality", "0,1", "--out", tmp_path / "out.parquet"),
    )
    assert "knob 0: small 100%" in result.stdout
    assert "knob 1: large" in result.stdout


def test_todays_prices_change_costs_and_choices(folder, tmp_path):
    (tmp_path / "p.json").write_text('{"small": [5, 15], "large": [0.5, 1.5]}')
    table = route(
        folder, tmp_path / "out.parquet", knobs="0", extra=("--prices", tmp_path / "p.json")
    )
    assert set(table["model"].to_pylist()) == {"large"}
    (tmp_path / "p.json").write_text('{"small": [5, 15]}')
    with pytest.raises(DataError, match="no price of large"):
        route(folder, tmp_path / "out.parquet", extra=("--prices", tmp_path / "p.json"))


def test_the_batch_summary_counts_decisions(folder, tmp_path):
    result = command(
        "route-batch",
        "--artifact",
        folder / "router",
        "--data",
        folder / "data.parquet",
        "--cost-quality",
        "0,1",
        "--out",
        tmp_path / "out.parquet",
        "--json",
    )
    summary = json.loads(result.stdout)
    assert summary["n_rows"] == 480
    assert summary["shares"]["0"] == {"small": 1.0}


@pytest.mark.parametrize("knobs", ["", "nan", "0,1.01", "-0.1", "a,b", "0,,1", "inf"])
def test_wrong_knobs_are_named(folder, tmp_path, knobs):
    result = command(
        "route-batch",
        "--artifact",
        folder / "router",
        "--data",
        folder / "data.parquet",
        "--cost-quality",
        knobs,
        "--out",
        tmp_path / "out.parquet",
    )
    assert result.exit_code == 2
    assert "--cost-quality" in result.stderr


def test_recipe_and_strategy_contradict_each_other(folder, tmp_path):
    result = command(
        "fit",
        "--data",
        folder / "data.parquet",
        "--out",
        tmp_path / "r",
        "--recipe",
        folder / "recipe.yaml",
        "--strategy",
        "carrot",
    )
    assert result.exit_code == 2
    assert "--recipe" in result.stderr


def test_strategy_and_embedder_can_be_named_without_a_recipe(tmp_path):
    result = command(
        "fit",
        "--data",
        write_outcomes(tmp_path / "few.parquet", n=40),
        "--out",
        tmp_path / "r",
        "--strategy",
        "carrot",
        "--embedder",
        "hashing",
        "--seed",
        "3",
        "--aux",
        write_outcomes(tmp_path / "other.parquet", n=40, seed=1),
    )
    assert result.exit_code == 0
    assert "version" in result.stdout
    manifest = json.loads((tmp_path / "r/manifest.json").read_text())
    assert manifest["features"]["embedder"] == "hashing"
    assert manifest["seed"] == 3
    assert manifest["training"]["auxiliary"] == ["other.parquet"]


def test_prices_are_needed_where_no_costs_are_recorded(folder, tmp_path):
    data = write_outcomes(tmp_path / "free.parquet", with_costs=False)
    args = ("fit", "--data", data, "--out", tmp_path / "r", "--recipe", folder / "recipe.yaml")
    with pytest.raises(DataError, match="--prices"):
        command(*args)
    (tmp_path / "p.yaml").write_text("small: [0.5, 1.5]\nlarge: [5, 15]\n")
    assert command(*args, "--prices", tmp_path / "p.yaml").exit_code == 0
    manifest = json.loads((tmp_path / "r/manifest.json").read_text())
    assert manifest["prices"]["large"]["output_usd_per_mtok"] == 15


def test_a_price_file_that_is_not_needed_is_not_passed_over_in_silence(folder, tmp_path):
    (tmp_path / "p.json").write_text('{"small": [9, 9], "large": [9, 9]}')
    result = command(
        "fit",
        "--data",
        folder / "data.parquet",
        "--out",
        tmp_path / "r",
        "--recipe",
        folder / "recipe.yaml",
        "--prices",
        tmp_path / "p.json",
    )
    assert "prices by recorded costs" in result.stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stratgy: carrot", "stratgy"),
        ("calibration_folds: 1", "calibration_folds"),
        ("a: [", "not valid YAML"),
        ("strategy: oracle", "unknown strategy 'oracle'"),
        ("embedder: {kind: psychic}", "psychic"),
        ("options: {quality_head: {kind: guess}}", "unknown head 'guess'"),
        ("{options: {residual_folds: 1}, embedder: {kind: hashing}}", "residual_folds"),
    ],
)
def test_defects_of_recipes_are_named(folder, tmp_path, text, message):
    (tmp_path / "recipe.yaml").write_text(text)
    with pytest.raises(RoutingConfigError, match=message):
        command(
            "fit",
            "--data",
            folder / "data.parquet",
            "--out",
            tmp_path / "r",
            "--recipe",
            tmp_path / "recipe.yaml",
        )


def test_too_few_prompts_are_refused(tmp_path):
    data = write_outcomes(tmp_path / "few.parquet", n=3)
    with pytest.raises(DataError, match="folds"):
        command("fit", "--data", data, "--out", tmp_path / "r", "--embedder", "hashing")


def test_costs_are_finite_in_every_row(folder, tmp_path):
    table = route(folder, tmp_path / "out.parquet")
    for name in table.column_names[3:]:
        assert all(math.isfinite(value) and value >= 0 for value in table[name].to_pylist())


def test_a_batch_is_planned_by_an_artifact_alone(folder, tmp_path):
    lines = [
        {"prompt": f"prompt number {n}", "custom_id": f"c{n}", "max_tokens": 50} for n in range(8)
    ]
    data, out = tmp_path / "in.jsonl", tmp_path / "plan.jsonl"
    data.write_text("\n".join(map(json.dumps, lines)))
    result = command(
        *("route-batch", "--artifact", folder / "router", "--in", data, "--out", out),
        *("--capacity", "large=3", "--budget", "1000", "--json"),
    )
    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)
    plan = [json.loads(each) for each in out.read_text().splitlines()]
    assert [each["custom_id"] for each in plan] == [f"c{n}" for n in range(8)]
    assert told["models"]["large"]["requests"] == 3
    assert told["models"]["small"]["requests"] == 5
    assert told["cost_usd_upper"] >= told["cost_usd"] > 0
    refused = command(
        *("route-batch", "--config", data, "--in", data, "--out", out, "--budget", "1")
    )
    assert refused.exit_code == 2
    assert "no gateway here" in refused.stderr
