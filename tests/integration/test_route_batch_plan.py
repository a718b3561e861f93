"""`steelyard route-batch --budget`: a plan of a file by a gateway's configuration."""

import json

import pytest

from app.cli import main
from tests.support.batches import jsonl, line
from tests.support.gateway import CONFIGS

CONFIG = ("--config", CONFIGS / "gateway.yaml")
LINES = [line(f"t{n}", f"Prove that {n} and {n + 1} have no common divisor") for n in range(12)]


@pytest.fixture
def plan(tmp_path, capsys):
    """Plan a file; return exit code, both outputs, and the lines of the plan."""

    def plan(lines, *options, config=CONFIG):
        file, out = tmp_path / "in.jsonl", tmp_path / "plan.jsonl"
        file.write_bytes(lines if isinstance(lines, bytes) else jsonl(lines))
        arguments = ("route-batch", *config, "--in", file, "--out", out, *options)
        code = 0
        try:
            main([str(each) for each in arguments])
        except SystemExit as ended:
            code = ended.code
        said, told = capsys.readouterr()
        rows = out.read_text().splitlines() if out.exists() else []
        return code, said, told, [json.loads(each) for each in rows]

    return plan


def test_the_budget_is_kept_and_spent_where_it_buys_most(plan):
    code, said, _, _ = plan(LINES, "--budget", 100, "--json")
    assert code == 0
    best = json.loads(said)
    code, said, _, rows = plan(LINES, "--budget", best["cost_usd"] / 2, "--json")
    told = json.loads(said)
    assert told["cost_usd"] <= best["cost_usd"] / 2
    assert told["quality"] <= best["quality"]
    assert told["quality_per_usd"] > best["quality_per_usd"] == 0
    assert [each["custom_id"] for each in rows] == [each["custom_id"] for each in LINES]
    assert all(each["model"] in told["models"] for each in rows)
    assert told["n_answered"] == 12


def test_capacities_are_kept(plan):
    code, said, _, rows = plan(
        LINES, "--capacity", "sim-medium=2,sim-large=1", "--capacity", "sim-frontier=1", "--json"
    )
    assert code == 0
    models = [each["model"] for each in rows]
    assert models.count("sim-medium") <= 2
    assert models.count("sim-large") <= 1
    assert models.count("sim-frontier") <= 1
    assert any(each["quality_per_request"] > 0 for each in json.loads(said)["models"].values())


def test_cautious_costs_leave_room(plan):
    _, said, _, _ = plan(LINES, "--budget", 0.01, "--json")
    probably = json.loads(said)
    _, said, _, _ = plan(LINES, "--budget", 0.01, "--cautious", "--json")
    cautious = json.loads(said)
    assert cautious["cost_usd_upper"] <= 0.01
    assert cautious["cost_usd"] < probably["cost_usd"] <= 0.01


def test_it_tells_who_is_left_out_and_what_a_dollar_buys(plan):
    pinned = [line("dear", "Hello", model="sim-frontier"), *LINES]
    code, said, _, rows = plan(pinned, "--budget", 0.0005)
    assert code == 0
    assert rows[0] == {"custom_id": "dear", "left_out": "budget"}
    assert "one more dollar buys" in said
    assert "the budget does not pay for them" in said
    assert said.splitlines()[0].split() == ["model", "requests", "cost,", "USD", "quality"]


def test_plain_prompts_do_too_under_the_policy_that_is_named(plan):
    lines = (
        b'{"prompt": "Hello"}\n{"query_id": "b", "messages": [{"role": "user", "content": "x"}]}'
    )
    code, _, _, rows = plan(lines, "--budget", 1, "--policy", "default")
    assert code == 0
    assert [each["custom_id"] for each in rows] == ["1", "b"]


@pytest.mark.parametrize(
    ("lines", "options", "words"),
    [
        (LINES, ("--budget", 1, "--policy", "nobody"), "unknown policy 'nobody'"),
        (LINES, ("--budget", 1, "--cost-quality", "0.5"), "take the place of"),
        (LINES, ("--budget", 1, "--artifact", "x"), "either --artifact or --config"),
        (LINES, ("--cost-quality", "0.5"), "go with --budget"),
        (LINES, ("--capacity", "sim-nano"), "MODEL=REQUESTS"),
        (LINES, ("--capacity", "a=1,a=2"), "stands there twice"),
        (LINES, ("--capacity", "nobody=1"), "no request may be answered by nobody"),
        (LINES[:1] * 2, ("--budget", 1), "stands there twice"),
        ([line("a", "x", url="/v1/messages")], ("--budget", 1), "a: no batch can ask"),
        ([line("a", "x", model="nobody")], ("--budget", 1), "a: "),
        ([{"custom_id": "a"}], ("--budget", 1), "needs a body, messages, or a prompt"),
        (b"\n", ("--budget", 1), ""),
    ],
)
def test_what_cannot_be_planned_is_said_in_one_line(plan, lines, options, words):
    code, said, told, _ = plan(lines, *options)
    assert (code, said) == (2, "")
    last = told.splitlines()[-1]
    assert last.startswith("steelyard: ")
    assert words in last


@pytest.mark.parametrize("budget_usd", ["nan", "inf", "-1"])
def test_a_budget_is_a_finite_number(plan, budget_usd):
    code, _, told, rows = plan(LINES, f"--budget={budget_usd}")
    assert (code, rows) == (2, [])
    assert told.startswith("steelyard: Invalid value for '--budget'")
    assert told.count("\n") == 1


def test_a_capacity_of_thousands_of_digits_is_refused(plan):
    code, _, told, rows = plan(LINES, "--capacity", "sim-nano=" + "9" * 5000)
    assert (code, rows) == (2, [])
    assert told.startswith("steelyard: Invalid value for '--capacity'")
    assert told.count("\n") == 1


@pytest.mark.parametrize("budget", [0, 1e-12, 1e-5])
def test_where_requests_are_left_out_more_money_is_worth_something(plan, budget):
    code, said, _, rows = plan(LINES, "--budget", budget)
    assert code == 0
    assert any("left_out" in each for each in rows)
    assert "one more dollar buys nothing" not in said
    n_answered = sum("model" in each for each in rows)
    assert ("predicted $0.0000" in said) == (n_answered == 0)  # nor is little money none


@pytest.mark.parametrize(
    ("name", "why"), [("in.jsonl", "is the file that is read"), ("plan.parquet", "as .jsonl")]
)
def test_a_plan_is_not_written_over_its_requests_nor_as_what_it_is_not(tmp_path, capsys, name, why):
    file = tmp_path / "in.jsonl"
    file.write_bytes(jsonl(LINES))
    arguments = ("route-batch", *CONFIG, "--in", file, "--out", tmp_path / name, "--budget", 1)
    with pytest.raises(SystemExit) as ended:
        main([str(each) for each in arguments])
    assert ended.value.code == 2
    assert why in capsys.readouterr().err
    assert file.read_bytes() == jsonl(LINES)


def test_digits_of_other_scripts_are_no_capacity(plan):
    code, _, told, _ = plan(LINES, "--capacity", "sim-nano=\u0665")
    assert (code, "not written as MODEL=REQUESTS" in told) == (2, True)
