"""From answers that were rated at a level to the table that a decision model's policy has."""

import json

import numpy as np
import pytest
import yaml

from routers.commands import fit_levels
from routers.errors import DataError, RoutingConfigError
from tests.integration.test_evaluate_command import run

LEVELS = ("easy", "medium", "hard")
SKILL = {"nano": (0.95, 0.6, 0.2), "mini": (0.95, 0.9, 0.4), "large": (0.96, 0.92, 0.9)}
USD = {"nano": 0.0001, "mini": 0.001, "large": 0.01}


def write(path, *, n=900, seed=0, key="decision_model_told", **fields):
    rng = np.random.default_rng(seed)
    with path.open("w") as lines:
        for i in range(n):
            level = int(rng.integers(len(LEVELS)))
            model = list(SKILL)[int(rng.integers(len(SKILL)))]
            chances = dict.fromkeys(LEVELS, 0.1) | {LEVELS[level]: 0.8}
            row = {
                "query_id": str(i),
                "prompt": f"prompt {i}",
                "policy": "leveled",
                "model": model,
                "quality": float(rng.random() < SKILL[model][level]),
                "cost_usd": USD[model] * (1 + level),
                key: {"result": "asked", "level": chances, "kind": {}},
            }
            lines.write(json.dumps(row | fields) + "\n")
    return path


def fitted(*arguments):
    result = run(fit_levels, *arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.mark.parametrize("key", ["decision_model_told", "decision_model"])
def test_each_level_goes_to_the_cheapest_model_that_will_do(key, tmp_path):
    data = write(tmp_path / "rated.jsonl", n=3_000, key=key)
    found = fitted("--data", data, "--max-quality-loss", 0.05, "--out", tmp_path / "levels.yaml")
    assert found["by_level"] == {"easy": "nano", "medium": "mini", "hard": "large"}
    assert yaml.safe_load((tmp_path / "levels.yaml").read_text())["by_level"] == found["by_level"]
    assert found["best_single"]["model"] == "large"
    assert found["held_out"]["quality"] == pytest.approx((0.95 + 0.9 + 0.9) / 3, abs=0.05)
    assert found["held_out"]["usd"] < 0.7 * found["best_single"]["usd"]


def test_a_budget_is_kept_on_average(tmp_path):
    data = write(tmp_path / "rated.jsonl")
    dear = fitted("--data", data, "--usd-per-request", 1)
    assert dear["by_level"]["hard"] == "large"
    cheap = fitted("--data", data, "--usd-per-request", 0.0015)
    assert cheap["by_level"]["hard"] != "large"
    assert cheap["held_out"]["usd"] <= 0.0016
    with pytest.raises(RoutingConfigError, match="the least is"):
        run(fit_levels, "--data", data, "--usd-per-request", 0.00001)


def test_levels_at_which_nobody_was_rated_enough_stay_with_the_router(tmp_path):
    lines = write(tmp_path / "all.jsonl").read_text().splitlines()
    hard = [line for line in lines if '"hard": 0.8' in line]
    (tmp_path / "some.jsonl").write_text("\n".join([*set(lines) - set(hard), *hard[:10]]))
    result = run(fit_levels, "--data", tmp_path / "some.jsonl")
    assert "hard    1." in result.stdout
    assert "(the router decides)" in result.stdout
    assert "hard" not in fitted("--data", tmp_path / "some.jsonl")["by_level"]


def test_what_was_said_under_another_policy_is_left_out(tmp_path):
    own = write(tmp_path / "own.jsonl", n=300)
    other = write(tmp_path / "other.jsonl", n=300, policy="another", quality=0.0)
    both = f"{own},{other}"
    assert fitted("--data", both, "--policy", "leveled") == fitted("--data", own)
    assert fitted("--data", both)["rows"] == 600


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"decision_model_told": None}, "no rated answer has a level"),
        ({"quality": None}, "no rated answer has a level"),
        ({"decision_model_told": {"level": {"easy": "much"}}}, "the chances of `level`"),
        ({"model": None}, "'model' must be a text"),
        ({"quality": 3}, "'quality'"),
    ],
    ids=["no-level", "no-rating", "no-chance", "no-model", "no-quality"],
)
def test_what_cannot_be_learned_from_is_told(fields, words, tmp_path):
    data = write(tmp_path / "rated.jsonl", n=60, **fields)
    with pytest.raises(DataError, match=words):
        run(fit_levels, "--data", data)


def test_other_levels_than_those_given_are_named(tmp_path):
    data = write(tmp_path / "rated.jsonl", n=60)
    with pytest.raises(DataError, match=r"is none of the levels low, high"):
        run(fit_levels, "--data", data, "--levels", "low,high")
    assert run(fit_levels, "--data", data, "--levels", "low,").exit_code == 2
    with pytest.raises(DataError, match="500 rated answers at any level"):
        run(fit_levels, "--data", data, "--fewest-rows", 500)
