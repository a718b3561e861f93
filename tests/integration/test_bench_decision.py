"""The benchmark of decisions covers every kind and writes what it measured."""

import json

from loadtest import bench_decision
from routers.base import ROUTERS


def test_every_strategy_is_measured():
    recipes = bench_decision.find_recipes()
    assert {recipe.strategy for recipe in recipes.values()} == set(ROUTERS.kinds())
    assert "carrot-mlp" in recipes


def test_it_writes_a_row_for_every_combination(tmp_path, capsys):
    out, table = tmp_path / "rows.json", tmp_path / "rows.md"
    combinations = ["--recipes", "carrot-linear,cheapest", "--models", "2,3", "--tokens", "8,64"]
    outputs = ["--json", str(out), "--markdown", str(table)]
    bench_decision.main([*combinations, "--rounds", "5", "--train", "200", *outputs])
    found = json.loads(out.read_text())
    rows = found["rows"]
    assert [(row["recipe"], row["models"], row["tokens"]) for row in rows] == [
        (recipe, models, tokens)
        for recipe in ("carrot-linear", "cheapest")
        for models in (2, 3)
        for tokens in (8, 64)
    ]
    for clock in ("", "cpu_"):
        assert all(0 < row[f"{clock}p50"] <= row[f"{clock}p99"] for row in rows)
    assert all(row["weights_bytes"] > 0 for row in rows)
    assert (found["rounds"], found["unit"]) == (5, "us")
    assert len(table.read_text().splitlines()) == 2 + len(rows)
    assert "carrot-linear" in capsys.readouterr().out
