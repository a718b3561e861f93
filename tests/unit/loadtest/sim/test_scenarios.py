"""Every scenario in its short form, and the command that runs them."""

import json
import random
from pathlib import Path

import pytest

from app.outcomes.export import write
from loadtest.sim.__main__ import main, verdicts
from loadtest.sim.calls_log import read_calls_log
from loadtest.sim.replay import read_log
from loadtest.sim.scenarios.base import SCENARIOS, Setting
from routers.errors import DataError


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    """Write a decision log as `steelyard export` does: a session, two loose requests, a draft."""

    def row(number, at, took_ms, read, written, **more):
        return {
            "query_id": f"q{number}", "messages": [{"role": "user", "content": "hi"}],
            "model": "m", "quality": None, "time": at, "input_tokens": read,
            "output_tokens": written, "session_id": None,
            "calls": [{"model": "m", "began_ms": 0.0, "ms": took_ms}], **more,
        }  # fmt: skip

    rows = [
        row(1, 1000.0 + 8.0, 8000.0, 100, 20, session_id="s"),
        row(2, 1000.0 + 4.0, 1000.0, 50, 10),
        row(3, 1000.0 + 11.0, 1000.0, 150, 30, session_id="s"),
        row(4, 1000.0 + 20.0, 0.0, 10, 0),
        row(5, 1000.0 + 20.0, 0.0, 10, 5, role="draft"),
    ]
    path = tmp_path_factory.mktemp("log") / "log.jsonl"
    write(rows, path)
    return path


def test_a_log_is_replayed_as_its_requests_came(log):
    traffic = read_log(log)
    assert traffic.arrives_s.tolist() == [0.0, 3.0, 10.0, 20.0]
    assert traffic.input_tokens.tolist() == [100, 50, 150, 10]
    assert traffic.output_tokens.tolist() == [20, 10, 30, 1]
    assert traffic.conversation.tolist() == [0, -1, 0, -1]
    assert traffic.known_tokens.tolist() == [0, 0, 120, 0]
    assert read_log(log, speedup=10).arrives_s.tolist() == [0.0, 0.3, 1.0, 2.0]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("log.parquet", "", "only a .jsonl"),
        ("log.jsonl", "no JSON\n", "cannot be read"),
        ("log.jsonl", json.dumps({"query_id": "q"}) + "\n", "no row has"),
        ("none.jsonl", None, "cannot be read"),
    ],
)
def test_a_log_that_cannot_be_replayed_is_refused(tmp_path, name, text, says):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=says):
        read_log(tmp_path / name)


@pytest.mark.parametrize("name", SCENARIOS.kinds())
def test_a_scenario_keeps_its_bounds_in_its_short_form(name, log):
    report = SCENARIOS.get(name)().run(Setting(short=True, log=log if name == "replay" else None))
    assert report.rows
    assert report.plots
    assert all(each.holds for each in report.verdicts), verdicts(report)


def calls_log(path, calls):
    """Write a log whose calls went to deployments: (model, deployment, error)."""
    lines = [
        json.dumps(
            {
                "query_id": f"q{number}",
                "time": 1000.0 + number,
                "calls": [{"model": model, "deployment": place, "error": error, "began_ms": 0.0}],
            }
        )
        for number, (model, place, error) in enumerate(calls)
    ]
    path.write_text("\n".join(lines))
    return path


def test_a_bandit_is_chosen_by_what_a_log_says_of_deployments(tmp_path, capsys):
    down, rng = "upstream_unavailable", random.Random(5)
    calls = []
    for number in range(3000):
        place = rng.choice(("east", "west"))
        good = 0.95 if (place == "east") == (number < 1500) else 0.6
        calls.append(("m", place, None if rng.random() < good else down))
    # What tells nothing of deployments: client errors, models in one place, throttled calls.
    calls += [("m", "east", "upstream_rejected"), ("m", "west", "upstream_rate_limit_exceeded")]
    calls += [("other", None, None)] * 5
    log = calls_log(tmp_path / "log.jsonl", calls)
    history = read_calls_log(log)
    assert (history.model, history.deployments, history.n_calls) == ("m", ("east", "west"), 3000)
    early, late = history.rates[:7].mean(axis=0), history.rates[-7:].mean(axis=0)
    assert early == pytest.approx([0.95, 0.6], abs=0.05)
    assert late == pytest.approx([0.6, 0.95], abs=0.05)
    assert main(["bandits", "--short", "--log", str(log), "--out", str(tmp_path / "p.svg")]) == 0
    said = capsys.readouterr().out
    assert "3,000 calls of m at 2 deployments" in said
    best = next(text for text in said.splitlines() if "bandit: {kind:" in text)
    assert "memory: 10,000" not in best


@pytest.mark.parametrize(
    ("name", "calls", "says"),
    [
        ("log.parquet", [], "only a .jsonl"),
        ("log.jsonl", [("m", None, None)], "no calls of any model name several deployments"),
    ],
)
def test_a_log_that_names_no_deployments_is_refused(tmp_path, name, calls, says, capsys):
    assert main(["bandits", "--log", str(calls_log(tmp_path / name, calls))]) == 2
    assert says in capsys.readouterr().err


def test_the_command_lists_scenarios_and_runs_one(log, tmp_path, capsys):
    assert main([]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in SCENARIOS.kinds())
    out = Path(tmp_path) / "plot.svg"
    assert main(["replay", "--log", str(log), "--out", str(out)]) == 0
    assert "4 requests" in capsys.readouterr().out
    assert out.read_text().startswith("<svg")


@pytest.mark.parametrize("arguments", [["replay"], ["no-such-scenario"]])
def test_the_command_says_what_would_help(arguments, capsys):
    assert main(arguments) == 2
    assert "error: " in capsys.readouterr().err
