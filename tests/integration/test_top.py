"""`steelyard top` on a real gateway, and on what is none."""

import io
import json
import os
import pty
import select
import subprocess
import sys
import termios
import threading
import time

import httpx
import pytest
from click.testing import CliRunner
from rich.console import Console

from app.cli import cli, main
from app.commands.top_view import Look, render, view
from tests.support.gateway import REPOSITORY

ASK = {"messages": [{"role": "user", "content": "What is a steelyard?"}]}


def top(url, *args, interval_s=0.5):
    options = ["--url", url, "--once", "--interval", str(interval_s)]
    return CliRunner().invoke(cli, ["top", *options, *args])


@pytest.fixture
def traffic():
    """Send requests until the test is over; return how many were answered."""
    stop = threading.Event()
    threads = []

    def traffic(gateway, models):
        answered = []

        def work():
            with httpx.Client(trust_env=False, timeout=60) as client:
                while not stop.is_set():
                    for model in models:
                        answer = client.post(
                            f"{gateway.url}/v1/chat/completions", json={**ASK, "model": model}
                        )
                        answered.append(answer.status_code)

        threads.append(threading.Thread(target=work))
        threads[-1].start()
        deadline = time.monotonic() + 60
        while len(answered) < 2 * len(models):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return answered

    yield traffic
    stop.set()
    for thread in threads:
        thread.join(60)


def test_a_gateway_under_traffic_is_told_in_numbers(fresh_gateway, traffic):
    gateway = fresh_gateway({"models.sim-large.limits": {"requests_per_minute": 1}})
    traffic(gateway, ["sim-nano", "sim-nano", "sim-nano", "sim-small", "auto", "sim-large"])
    # Long enough for some rounds of all models, on a slow machine too.
    result = top(gateway.url, "--json", interval_s=5)
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["window_s"] >= 0.5
    assert told["requests_per_s"] > 0
    assert 0 < told["errors_per_s"] < told["requests_per_s"]
    assert 0 < told["overhead_p50_ms"] <= told["overhead_p99_ms"]
    assert told["spent_usd"] > 0
    assert told["usd_per_hour"] > 0
    shares = {each["model"]: each["share"] for each in told["models"]}
    assert sum(shares.values()) == pytest.approx(1.0)
    assert max(shares, key=shares.get) == "sim-nano"
    assert 0.4 < shares["sim-nano"] < 0.95
    assert {each["model"] for each in told["breakers"]} >= {"sim-nano", "sim-frontier"}
    assert {each["state"] for each in told["breakers"]} == {"closed"}
    assert told["refusals_per_s"]["model requests"] > 0
    assert told["reasons_per_s"]["pinned"] > 0


def test_an_idle_gateway_is_told_without_guesses(fresh_gateway):
    gateway = fresh_gateway()
    told = json.loads(top(gateway.url, "--json").stdout)
    assert told["requests_per_s"] == 0
    assert told["overhead_p99_ms"] is None
    assert all(each["share"] is None for each in told["models"])


def test_it_reads_as_a_table_too(fresh_gateway, traffic):
    gateway = fresh_gateway()
    traffic(gateway, ["sim-nano"])
    result = top(gateway.url, interval_s=3)
    assert result.exit_code == 0, result.output
    for word in ("requests/s", "overhead p50/p99 ms", "sim-nano", "closed", "100%"):
        assert word in result.stdout


def test_q_ends_it_and_the_terminal_is_as_before(fresh_gateway):
    gateway = fresh_gateway()
    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)
    command = (sys.executable, "-m", "app", "top", "--url", gateway.url, "--interval", "0.1")
    with subprocess.Popen(
        command, cwd=REPOSITORY, stdin=theirs, stdout=theirs, stderr=theirs
    ) as process:
        shown = b""
        while b"in flight" not in shown:
            shown += os.read(ours, 4096)
        os.write(ours, b"xq")
        while process.poll() is None:
            if select.select([ours], [], [], 0.1)[0]:
                os.read(ours, 4096)
        assert process.returncode == 0
    assert termios.tcgetattr(theirs) == before
    os.close(ours)
    os.close(theirs)


def test_a_narrow_terminal_breaks_lines_between_facts():
    before, now = Look(0.0, {}), Look(1.0, {})
    console = Console(width=60, file=io.StringIO())
    console.print(render(view(before, now), url="http://127.0.0.1:8080"))
    told = console.file.getvalue()
    for fact in ("requests/s 0.0", "overhead p50/p99 ms -/-", "first token p50 ms -"):
        assert fact in told
    assert max(map(len, told.splitlines())) <= 60


def test_metrics_behind_a_token_need_it(fresh_gateway):
    token = "an-admin-token-of-the-tests"  # noqa: S105  (opens nothing else)
    gateway = fresh_gateway(
        {"auth": {"mode": "keys"}, "store": {"data_dir": "data"}},
        env={"STEELYARD_ADMIN_TOKEN": token},
    )
    assert "asks for a token" in str(top(gateway.url).exception)
    assert top(gateway.url, "--token", token).exit_code == 0


def test_what_is_no_gateway_is_told_in_one_line(capsys, stub):
    for url, message in (("http://127.0.0.1:9", "cannot be reached"), (stub.origin, "answered")):
        with pytest.raises(SystemExit) as exit_:
            main(["top", "--url", url, "--once"])
        told = capsys.readouterr().err
        assert exit_.value.code == 2
        assert len(told.splitlines()) == 1
        assert message in told


BUCKETS = """\
# TYPE gateway_overhead_seconds histogram
gateway_overhead_seconds_bucket{{le="0.001"}} {0}
gateway_overhead_seconds_bucket{{le="0.002"}} {1}
gateway_overhead_seconds_bucket{{le="+Inf"}} {2}
# TYPE gateway_cost_usd counter
gateway_cost_usd_total{{model="m",role="judge"}} {3}
"""


def look(at_s, *values):
    return Look.of(BUCKETS.format(*values), at_s=at_s)


def test_quantiles_are_those_of_the_window():
    shown = view(look(0, 100, 100, 100, 1.0), look(10, 100, 200, 200, 2.0))
    assert shown.overhead_p50_ms == pytest.approx(1.5)
    assert shown.overhead_p99_ms == pytest.approx(1.99)
    assert shown.usd_per_hour == pytest.approx(360.0)
    assert shown.usd_per_hour_by_role == pytest.approx({"judge": 360.0})
    assert shown.spent_usd == 2.0


def test_beyond_the_last_bucket_its_bound_is_told():
    shown = view(look(0, 0, 0, 0, 0), look(1, 1, 1, 100, 0))
    assert shown.overhead_p99_ms == pytest.approx(2.0)


def test_a_gateway_that_began_anew_has_done_what_it_says():
    shown = view(look(0, 50, 50, 50, 9.0), look(10, 10, 10, 10, 1.0))
    assert shown.usd_per_hour == pytest.approx(360.0)
    assert shown.overhead_p50_ms == pytest.approx(0.5)
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(render(shown, url="http://gateway"))
    assert "$/hour by role: judge $360.0000" in console.export_text()
