"""Limits on the time of answers and its price, asked of a gateway before a stub of known speed."""

import dataclasses
import itertools
import json
import math
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import httpx
import pytest

from app.assembly.usual_latencies import usual_latencies
from app.commands.explanation import explain
from app.config import load_config
from app.gateway.latency_terms import TimeLeft
from app.outcomes.sqlite import read_outcomes
from app.stub import tiers
from routers.decisions import CandidateEstimate
from tests.support.cascading import wait_for
from tests.support.gateway import CONFIGS, GatewayThread, read_yaml, stub_config
from tests.support.stub import StubThread

SPEED = 10.0
"""Of the stub."""
SLOWER = 8.0
"""By how much what is written says that it is slower than simulated models are: predictions have
something to learn, and lie so far apart that what a busy machine adds does not blur them."""
TIERS = {
    name: dataclasses.replace(
        tier,
        time_to_first_token_s=SLOWER * tier.time_to_first_token_s,
        tokens_per_s=tier.tokens_per_s / SLOWER,
    )
    for name, tier in tiers.TIERS.items()
}

NANO, LARGE, FRONTIER = "sim-nano", "sim-large", "sim-frontier"
HARD = "Prove that every finite group of prime order is cyclic, and classify those of order 2p."


def written(name):
    """Return a tier's speed as a configuration says it."""
    tier = TIERS[name]
    return {
        f"models.{name}.ttft_s": tier.time_to_first_token_s,
        f"models.{name}.tokens_per_s": tier.tokens_per_s,
    }


PACES = {key: value for name in TIERS for key, value in written(name).items()}
TIMES = ("ttft", "latency")
QUALITY = {"routing": {"cost_quality": 1}}


@pytest.fixture(scope="module")
def served(artifacts, tmp_path_factory):
    """Serve decisions alone, which teach nothing: no call is seen."""
    folder = tmp_path_factory.mktemp("latency")
    with StubThread(speed=SPEED) as stub:
        changes = {
            **PACES,
            "policies.hurried": {
                **read_yaml(CONFIGS / "gateway.yaml")["policies"]["default"],
                "router_deadline_s": 10.0,
                "latency": {"max_ttft_s": SLOWER * 0.95, "usd_per_s": 0.001},
            },
        }
        config = stub_config(folder, stub.origin, changes=changes)
        with GatewayThread(config, artifacts=artifacts) as gateway:
            yield SimpleNamespace(gateway=gateway, config=config, stub=stub)


@pytest.fixture
def client(served):
    with httpx.Client(base_url=served.gateway.url, trust_env=False, timeout=60) as client:
        yield client


def route(client, *, headers=None, model="auto", stream=True, **fields):
    body = {
        "model": model,
        "messages": [{"role": "user", "content": HARD}],
        "stream": stream,
        "max_tokens": 400,
        **fields,
    }
    return client.post("/v1/route", json=body, headers=headers or {})


def decided(client, **asked):
    answer = route(client, **asked)
    assert answer.status_code == 200, answer.text
    return answer.json(), answer.headers


def table(told):
    return {each["model"]: each for each in told["candidates"]}


def test_every_candidate_has_its_time_predicted_as_it_is_written_down(client):
    told, headers = decided(client, **QUALITY)
    rows = table(told)
    for name, tier in TIERS.items():
        row = rows[name]
        assert row["predicted_ttft_ms"] == pytest.approx(tier.time_to_first_token_s * 1e3)
        whole_s = tier.time_to_first_token_s + row["predicted_output_tokens"] / tier.tokens_per_s
        assert row["predicted_latency_ms"] == pytest.approx(whole_s * 1e3, rel=1e-3)
        assert row["predicted_ttft_ms"] < row["upper_ttft_ms"] <= row["upper_latency_ms"]
        assert row["surcharge_usd"] == 0
    assert told["model"] == FRONTIER
    assert float(headers["x-route-predicted-ttft-ms"]) == SLOWER * 1500
    assert "x-route-latency-unmet" not in headers


def test_of_an_answer_that_does_not_stream_the_first_token_is_the_last(client):
    rows = table(decided(client, stream=False)[0])
    assert all(row["predicted_ttft_ms"] == row["predicted_latency_ms"] for row in rows.values())


@pytest.mark.parametrize(
    ("limit", "field"),
    [("x-route-max-ttft-ms", "upper_ttft_ms"), ("x-route-max-latency-ms", "upper_latency_ms")],
)
def test_who_may_be_late_gives_way_to_the_best_who_is_not(client, limit, field):
    free = table(decided(client, **QUALITY)[0])
    known = sorted(row[field] for row in free.values())
    # Time passes until it is decided, so half-way between those that are far apart.
    between = [
        (low + high) / 2 for low, high in itertools.pairwise(known) if high > low + SLOWER * 1_000
    ]
    assert between
    for limit_ms in (*between, known[-1] + 60_000):
        told, headers = decided(client, headers={limit: f"{limit_ms}"}, **QUALITY)
        within = {each for each, row in free.items() if row[field] <= limit_ms}
        rows = table(told)
        assert {each for each, row in rows.items() if row["eligible"]} <= within
        late = [row for each, row in rows.items() if each not in within]
        assert {row["exclusion"] for row in late} <= {"latency"}
        assert all("the limit is" in row["exclusion_detail"] for row in late)
        best = max(within, key=lambda each: free[each]["predicted_quality"])
        assert told["model"] == best
        assert set(told["decision"]["fallbacks"]) <= within
        assert "x-route-latency-unmet" not in headers


def test_where_nobody_is_in_time_the_fastest_is_taken_and_the_answer_says_so(client):
    for limit, of in (("x-route-max-ttft-ms", "ttft"), ("x-route-max-latency-ms", "latency")):
        told, headers = decided(client, headers={limit: "20"}, **QUALITY)
        rows = table(told)
        field = f"upper_{of}_ms"
        assert told["model"] == min(rows, key=lambda each: rows[each][field])
        assert told["decision"]["reason"] == headers["x-route-reason"] == "latency_unmet"
        assert all(row["eligible"] for row in rows.values())
        ranked = [told["model"], *told["decision"]["fallbacks"]]
        assert ranked == sorted(rows, key=lambda each: rows[each][field])
        said = headers["x-route-latency-unmet"]
        assert said.startswith(f"{of}; predicted-ms=")
        assert said.endswith("; limit-ms=20")
        assert "no model is predicted to be in time" in told["why"]


def test_the_dearer_time_is_the_less_of_it_is_predicted(client):
    taken, models = [], []
    for usd_per_s in (0, 1e-5, 1e-4, 1e-3, 1e-2, 1):
        told, _ = decided(client, routing={"cost_quality": 0.9, "latency_weight": usd_per_s})
        row = table(told)[told["model"]]
        assert row["surcharge_usd"] == pytest.approx(
            usd_per_s * row["predicted_latency_ms"] / 1e3, rel=1e-3, abs=1e-8
        )
        taken.append(row["predicted_latency_ms"])
        models.append(told["model"])
    assert taken == sorted(taken, reverse=True)
    assert models[0] != models[-1]
    assert models[0] == decided(client, routing={"cost_quality": 0.9})[0]["model"]


def test_a_policy_has_limits_of_its_own_and_a_request_comes_before_them(client):
    told, _ = decided(client, model="auto:hurried", **QUALITY)
    rows = table(told)
    late = {each for each, row in rows.items() if row["upper_ttft_ms"] > SLOWER * 950}
    assert {each for each, row in rows.items() if row["exclusion"] == "latency"} == late
    assert {LARGE, FRONTIER} <= late < set(TIERS)
    assert all(row["surcharge_usd"] > 0 for row in rows.values())
    routing = {"cost_quality": 1, "max_ttft_ms": 60_000, "latency_weight": 0}
    told, _ = decided(client, model="auto:hurried", routing=routing)
    assert told["model"] == FRONTIER
    assert all(row["surcharge_usd"] == 0 for row in table(told).values())


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("x-route-max-latency-ms", "soon", "milliseconds from 0 to 3600000"),
        ("x-route-max-latency-ms", "-1", "milliseconds"),
        ("x-route-max-ttft-ms", "nan", "milliseconds"),
        ("x-route-max-ttft-ms", "3600001", "milliseconds"),
        ("x-route-latency-weight", "inf", "US dollars"),
        ("x-route-max-latency", "100", "did you mean x-route-max-latency-ms"),
    ],
)
def test_what_cannot_be_understood_is_refused_by_its_name(client, name, value, words):
    answer = route(client, headers={name: value})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["param"] == name
    assert words in error["message"]
    body = route(client, routing={"max_latency_ms": [1]})
    assert body.json()["error"]["param"] == "routing.max_latency_ms"


def test_explain_takes_the_same_limits_and_knows_what_is_written_down(served, capsys):
    options = {"file": served.config.path, "cost_quality": "1", "policy": None}
    options |= {"max_cost_usd": None}
    explain(HARD, as_json=True, max_ttft_ms=f"{SLOWER * 1000}", **options)
    told = json.loads(capsys.readouterr().out)
    rows = table(told)
    assert {each for each, row in rows.items() if row["exclusion"] == "latency"} == {
        LARGE, FRONTIER,
    }  # fmt: skip
    explain(HARD, as_json=False, latency_weight="0.01", **options)
    shown = capsys.readouterr().out
    assert "first token, s" in shown
    assert "surcharge, USD" in shown


def test_of_several_places_the_first_counts_or_the_best_where_there_is_a_limit(served, tmp_path):
    places = [
        {"upstream": "stub", "upstream_model": LARGE, "ttft_s": 5.0},
        {"upstream": "stub", "upstream_model": NANO, "tokens_per_s": 1000.0},
    ]
    changes = {
        "models.both": {
            "deployments": places, "spec": "llama-3.1-8b-instruct", "ttft_s": 0.1,
        },
    }  # fmt: skip
    config = stub_config(tmp_path, served.stub.origin, changes=changes)
    estimate = CandidateEstimate(
        model_id="both",
        quality=0.5,
        quality_std=0.1,
        input_tokens=10,
        output_tokens=100.0,
        output_tokens_upper=100.0,
        cost_usd=0.0,
        cost_usd_upper=0.0,
    )
    latencies = usual_latencies(load_config(config.path, env={}))
    assert latencies([estimate], streams=True)["both"].ttft_s == pytest.approx(5.0)
    best = latencies([estimate], streams=True, left=TimeLeft(0.0, math.inf))["both"]
    assert best.ttft_s == pytest.approx(0.1)
    assert best.total_s == pytest.approx(0.2)


# --- calls ------------------------------------------------------------------------------------


@pytest.fixture
def start(artifacts, tmp_path):
    """Start a gateway of one's own before a stub that is far faster than is written."""
    with StubThread(speed=SPEED) as stub, httpx.Client(trust_env=False, timeout=60) as client:
        running = []

        def start(changes=None):
            changes = {**PACES, **(changes or {})}
            gateway = GatewayThread(
                stub_config(tmp_path, stub.origin, changes=changes), artifacts=artifacts
            )
            running.append(gateway)
            client.base_url = gateway.__enter__().url
            return client

        def stop():
            while running:
                running.pop().__exit__()

        start.stub, start.stop = stub, stop
        yield start
        stop()


def ask(client, model="auto", *, headers=None, stream=True, **fields):
    body = {
        "model": model,
        "messages": [{"role": "user", "content": HARD}],
        "stream": stream,
        "max_tokens": 60,
        **fields,
    }
    answer = client.post("/v1/chat/completions", json=body, headers=headers or {})
    assert answer.status_code == 200, answer.text
    return answer


def test_calls_teach_how_fast_a_model_is_and_a_limit_lets_it_answer_again(start):
    client = start()
    best = {"x-cost-quality": "1", "x-route-max-ttft-ms": f"{SLOWER * 1200}"}
    before = ask(client, headers=best)
    assert before.headers["x-route-model"] not in (LARGE, FRONTIER)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: ask(client, FRONTIER), range(24)))
    learned = float(
        decided(client, headers={"x-cost-quality": "1"})[1]["x-route-predicted-ttft-ms"]
    )
    assert learned < TIERS[FRONTIER].time_to_first_token_s * 1e3 / 2
    after = ask(client, headers=best)
    assert after.headers["x-route-model"] == FRONTIER
    assert "x-route-latency-unmet" not in after.headers


def test_an_answer_tells_what_was_predicted_and_so_do_row_and_metrics(start, tmp_path):
    client = start({"store.data_dir": "data"})
    kept = ask(
        client,
        headers={
            "x-cost-quality": "1",
            "x-route-max-latency-ms": "60000",
            "x-route-latency-weight": "0.000001",
        },
    )
    missed = ask(client, headers={"x-cost-quality": "1", "x-route-max-ttft-ms": "0"})
    plain = ask(client)
    pinned = ask(client, NANO)
    promises = "gateway_latency_promises_total"
    wait_for(lambda: counted(client, promises, of="total") == 3)
    assert counted(client, promises, of="ttft") == 3
    limits = "gateway_latency_limits_total"
    assert counted(client, limits, of="total", promised="met", result="kept") == 1
    assert counted(client, limits, of="ttft", promised="unmet", result="broken") == 1
    assert counted(client, limits) == 2
    start.stop()
    rows = {row.decision_id: row for _, row in read_outcomes(tmp_path / "data")}
    for answer in (kept, missed, plain):
        row = rows[answer.headers["x-route-decision-id"]]
        told = {name: float(answer.headers[f"x-route-predicted-{name}-ms"]) for name in TIMES}
        assert row.predicted_ttft_s == pytest.approx(told["ttft"] / 1e3, abs=1e-3)
        assert row.predicted_latency_s == pytest.approx(told["latency"] / 1e3, abs=1e-3)
        assert row.predicted_ttft_s < row.predicted_ttft_s_upper <= row.predicted_latency_s_upper
    assert "x-route-latency-unmet" not in kept.headers
    assert missed.headers["x-route-latency-unmet"].startswith("ttft; predicted-ms=")
    row = rows[kept.headers["x-route-decision-id"]]
    assert json.loads(row.objective) == {
        "cost_quality": 1.0, "max_latency_ms": 60_000, "latency_weight": 1e-6,
    }  # fmt: skip
    candidates = json.loads(row.candidates)
    assert len(candidates["total_s_upper"]) == len(candidates["surcharge_nusd"]) == len(TIERS)
    assert "total_s" not in json.loads(rows[plain.headers["x-route-decision-id"]].candidates)
    assert rows[pinned.headers["x-route-decision-id"]].predicted_latency_s is None
    assert "x-route-predicted-latency-ms" not in pinned.headers


def counted(client, metric, **labels):
    """Return the sum of a metric over all other labels."""
    return sum(
        float(line.split()[-1])
        for line in client.get("/metrics").text.splitlines()
        if line.startswith(f"{metric}{{")
        and all(f'{name}="{value}"' in line for name, value in labels.items())
    )


def test_of_a_cascade_all_steps_have_to_end_in_time(start):
    judge = {"kind": "judge", "model": "sim-medium", "least_chance": 1.0, "deadline_s": 10}
    client = start(
        {
            "policies.default.workflow": {"kind": "cascade", "by": "cost", "acceptor": judge},
            "policies.default.candidates": [NANO, LARGE],
            "policies.default.default_model": LARGE,
            "models.sim-large.ttft_s": 500.0,
        }
    )
    # Who takes too long alone is no stage of it, whatever a judge says of the others.
    hurried = ask(client, headers={"x-route-max-latency-ms": "60000"}).headers
    assert hurried["x-route-model"] == NANO
    assert "x-route-latency-unmet" not in hurried
    free = ask(client).headers
    assert free["x-route-attempts"] == "sim-nano;sim-medium;sim-large"
    late = ask(client, headers={"x-route-max-latency-ms": "1"}).headers
    assert late["x-route-model"] == NANO
    assert late["x-route-reason"] == "latency_unmet"
    assert late["x-route-workflow"] == "skipped; latency"


def test_after_a_failure_who_is_still_in_time_comes_before_who_was_next(start):
    client = start({"upstreams.stub.retries": 0})
    limit_ms = SLOWER * 2_000
    told, _ = decided(client, headers={"x-cost-quality": "1", "x-route-max-ttft-ms": f"{limit_ms}"})
    assert told["model"] not in (LARGE, FRONTIER)
    start.stub.add_fault("status", model=told["model"], status=503)
    answer = ask(client, headers={"x-cost-quality": "1", "x-route-max-ttft-ms": f"{limit_ms}"})
    assert answer.headers["x-route-model"] in told["decision"]["fallbacks"]
    assert answer.headers["x-route-reason"] == "fallback"
    assert "x-route-latency-unmet" not in answer.headers


def test_a_limit_keeps_calls_from_a_slow_place(start):
    places = [
        {"upstream": "stub", "upstream_model": LARGE, "ttft_s": 9.0},
        {"upstream": "stub", "upstream_model": NANO, "ttft_s": 0.1},
    ]
    client = start(
        {
            "models.both": {
                "deployments": places, "spec": "llama-3.1-8b-instruct", "balance": "round-robin",
            },
        }
    )  # fmt: skip
    limited = {"x-route-max-ttft-ms": "3000"}
    taken = [ask(client, "both", headers=limited).headers for _ in range(6)]
    assert {each["x-route-deployment"] for each in taken} == {"stub/sim-nano"}
    free = [ask(client, "both").headers["x-route-deployment"] for _ in range(4)]
    assert set(free) == {"stub/sim-nano", "stub/sim-large"}
