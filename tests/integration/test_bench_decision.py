"""The benchmark of decisions covers every kind and writes what it measured."""

import itertools
import json

import pytest

from loadtest import bench_decision
from loadtest.prompts import KINDS
from routers.base import ROUTERS


def test_every_strategy_is_measured():
    recipes = bench_decision.find_recipes()
    assert {recipe.strategy for recipe in recipes.values()} == set(ROUTERS.kinds())
    assert "carrot-mlp" in recipes


def test_it_writes_a_row_for_every_combination(tmp_path, capsys):
    out, table = tmp_path / "rows.json", tmp_path / "rows.md"
    combinations = ["--recipes", "carrot-linear,cheapest", "--models", "2,3", "--tokens", "8,64"]
    combinations += ["--prompts", "words,turns"]
    outputs = ["--json", str(out), "--markdown", str(table)]
    bench_decision.main([*combinations, "--rounds", "5", "--train", "200", *outputs])
    found = json.loads(out.read_text())
    rows = found["rows"]
    assert [(r["recipe"], r["models"], r["prompts"], r["tokens"]) for r in rows] == list(
        itertools.product(("carrot-linear", "cheapest"), (2, 3), ("words", "turns"), (8, 64))
    )
    for clock in ("", "cpu_"):
        assert all(0 < row[f"{clock}p50"] <= row[f"{clock}p99"] for row in rows)
    assert all(row["weights_bytes"] > 0 for row in rows)
    assert (found["rounds"], found["unit"]) == (5, "us")
    assert len(table.read_text().splitlines()) == 2 + len(rows)
    assert "carrot-linear" in capsys.readouterr().out


@pytest.mark.parametrize("kind", KINDS)
def test_the_shipped_router_is_measured_on_prompts_of_every_kind(kind, capsys):
    bench_decision.main(
        ["--recipes", "shipped", "--prompts", kind, "--tokens", "16", "--rounds", "2"]
    )
    assert f"shipped                    11 {kind:>8}     16" in capsys.readouterr().out
