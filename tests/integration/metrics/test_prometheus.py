"""Every panel and every rule, asked of a real Prometheus that has read a gateway with traffic."""

import asyncio
import json
import math
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import httpx
import pytest
import yaml

from app.assembly.gauges import sample
from tests.support.artifacts import TroubledArtifact
from tests.support.batches import waited_for
from tests.support.gateway import CONFIGS, GatewayThread, stub_config
from tests.support.prometheus_server import PrometheusServer, prometheus_path

DASHBOARDS = sorted((CONFIGS / "dashboards/grafana").glob("*.json"))
RULES = sorted((CONFIGS / "dashboards/rules").glob("*.yml"))
TOKEN = "an-admin-token-of-the-tests"  # noqa: S105  (opens nothing else)
VERIFIER = {"kind": "judge", "model": "sim-large", "auc": 0.8}
LEARNING = {
    "router": "carrot",
    "candidates": ["sim-nano", "sim-medium"],
    "default_model": "sim-medium",
    "router_deadline_s": 10.0,
}
CHANGES = {
    "auth": {"mode": "keys"},
    "store": {"data_dir": "data"},
    "batches": {"enabled": True},
    "breaker.failures": 3,
    "breaker.cooldown_s": 600,
    "policies.default.hedge_after_s": 0.3,
    "policies.economy.max_attempts": 2,
    "policies.several": {
        "router": "carrot",
        "candidates": ["sim-nano", "sim-small", "sim-medium"],
        "default_model": "sim-medium",
        "router_deadline_s": 10.0,
        "workflow": {
            "kind": "agree",
            "models": ["sim-nano", "sim-small"],
            "last": "sim-medium",
            "max_calls": 2,
            "normaliser": "option",
        },
    },
    # Of its own: a router that a busy machine makes late would change what else is seen.
    "policies.impatient": {**LEARNING, "router_deadline_s": 0.5},
    "policies.threshold": {
        **LEARNING,
        "workflow": {
            "kind": "learned_threshold",
            "cheap": "sim-nano",
            "strong": "sim-medium",
            "verifier": VERIFIER,
        },
    },
    "policies.trying": {
        **LEARNING,
        "workflow": {"kind": "contextual-cascade", "verifier": VERIFIER},
    },
    "models.both": {
        "deployments": [
            {"upstream": "stub", "upstream_model": "sim-nano"},
            {"upstream": "stub", "upstream_model": "sim-small"},
        ],
        "spec": "llama-3.1-8b-instruct",
        "balance": "bandit",
    },
    "models.cheapest": {
        "deployments": [
            {"upstream": "stub", "upstream_model": "sim-nano", "usd_per_hour": 1, "max_rps": 50},
            {"upstream": "stub", "upstream_model": "sim-small", "usd_per_hour": 2, "max_rps": 50},
        ],
        "spec": "llama-3.1-8b-instruct",
        "balance": "orchestration",
    },
    "models.sim-nano.variants": {"terse": {"prompt": {"system": "Be terse."}}},
    "models.bounded": {
        "deployments": [
            {
                "upstream": "stub",
                "upstream_model": "sim-medium",
                "requests_per_minute": 600,
                "max_outstanding": 1,
            }
        ],
        "spec": "gpt-4.1-mini",
    },
    "models.local": {
        "upstream": "box",
        "upstream_model": "sim-small",
        "spec": "gpt-4.1-nano",
        "memory_gb": 8,
        "load_s": 0.1,
    },
    "policies.rushed": {
        **LEARNING,
        "best_effort": {"deadline_ms": 1, "tiers": ["sim-medium", "sim-nano"]},
    },
    # One model only: the rate of a counter begins with its second sample, and which of several is
    # the fastest may change between the rounds of traffic.
    "policies.hasty": {**LEARNING, "candidates": ["sim-nano"], "default_model": "sim-nano"},
    "policies.spread": {
        **LEARNING,
        "candidates": ["sim-nano", "bounded"],
        "default_model": "bounded",
        "load": {"target": 0.9},
    },
    "allowances.gateway.budgets": [{"usd": 50, "period": "month"}],
    "allowances.teams": {"red": {"budgets": [{"usd": 40, "period": "week"}]}},
}

SILENT = {
    # The embedded store cannot fail; what failures look like stands in tests/fault.
    "Store operations that failed",
    # No canary is asked without a budget; tests/integration/test_provider_watch.py counts some.
    "Canaries answered wrong",
}
"""Panels that rightly show nothing."""


@pytest.fixture(scope="module")
def watched(stub_thread, artifacts, tmp_path_factory):
    """Scrape a gateway while everything happens to it that panels tell of, twice."""
    if prometheus_path() is None:
        pytest.skip("no prometheus: apt-get install prometheus")
    directory = tmp_path_factory.mktemp("prometheus")
    artifact = TroubledArtifact(artifacts["carrot"])
    env = {"STEELYARD_ADMIN_TOKEN": TOKEN}
    box = {"kind": "openai", "base_url": f"{stub_thread.origin}/v1", "residency": {"memory_gb": 9}}
    changes = {**CHANGES, "upstreams.box": box}
    config = stub_config(directory, stub_thread.origin, changes=changes, env=env)
    with (
        GatewayThread(config, artifacts={"carrot": artifact}) as gateway,
        PrometheusServer(
            directory, target=gateway.url.removeprefix("http://"), token=TOKEN, rules=RULES
        ) as server,
    ):
        traffic = Traffic(gateway, stub_thread, artifact, server)
        for _ in range(2):
            traffic.happen()
        server.until("steelyard:score:psi6h")
        server.until("steelyard:gap_recovered:ratio_rate1h")
        yield traffic


@pytest.fixture
def prometheus(watched):
    return watched.prometheus


class Traffic:
    """Whoever asks the gateway, and whatever befalls it."""

    def __init__(self, gateway, stub, artifact, prometheus):
        self.gateway, self.stub, self.artifact = gateway, stub, artifact
        self.prometheus = prometheus
        with self.http(TOKEN) as admin:
            made = [
                admin.post("/admin/keys", json=body).json()["secret"]
                for body in (
                    {
                        "name": "one",
                        "team": "red",
                        "budgets": [{"usd": 20, "period": "day"}],
                        "cache": True,
                    },
                    {"name": "two", "limits": {"requests_per_minute": 1}},
                )
            ]
        self.key, self.limited = made
        self.rounds = 0

    def http(self, token):
        return httpx.Client(
            base_url=self.gateway.url,
            headers={"authorization": f"Bearer {token}"},
            trust_env=False,
            timeout=30,
        )

    def happen(self):
        self.rounds += 1
        self.stub.reset()
        with self.http(self.key) as client, self.http(self.limited) as limited:
            self.usual(client)
            self.bad(client)
            assert {ask(limited, "hello").status_code for _ in range(3)} >= {429}
            assert ask(limited, "hello").status_code == 429
            assert client.post("/v1/chat/completions", content=b"{").status_code == 400
        state = self.gateway.app.state.steelyard
        for _ in range(2):
            asyncio.run_coroutine_threadsafe(sample(state), self.gateway.loop).result(60)
        # Rates need a sample from after each round.
        self.prometheus.until(f"timestamp(gateway_workers) > {time.time()}")

    def numbers(self, expression):
        """Return the series of an expression, some of which are numbers.

        A rate begins with a second sample: what was seen for the first time in the last round has
        one when it happens again.
        """
        series = self.prometheus.until(expression)
        for _ in range(2):
            if not all(math.isnan(each["value"]) for each in series):
                break
            self.happen()
            series = self.prometheus.until(expression)
        return series

    def usual(self, client):
        for i in range(100):
            answer = ask(
                client,
                f"Question {i} of round {self.rounds}: what is {i} times {i}?",
                policy=("default", "economy", "quality")[i % 3],
                stream=i % 2 == 0,
                headers={"x-cost-quality": str(i % 11 / 10), "x-session-id": f"session-{i % 5}"},
            )
            assert answer.status_code == 200, answer.text
            label = {"decision_id": answer.headers["x-route-decision-id"], "score": i % 2}
            if i % 4 == 0:
                assert client.post("/v1/feedback", json=label).status_code == 200
        assert client.post("/v1/route", json=body("Which one?")).status_code == 200
        self.several(client)
        for number in range(6):
            assert ask(client, f"{number} by a bandit", model="both").status_code == 200
        assert ask(client, "By a variant", model="sim-nano@terse").status_code == 200
        for _ in range(2):
            assert ask(client, f"the same again {self.rounds}").status_code == 200
        self.in_time(client)
        self.batch(client)

    def batch(self, client):
        """Hand in requests under a budget, one of which fails."""
        lines = [
            {
                "custom_id": f"{number} of {self.rounds}",
                "method": "POST",
                "url": "/v1/chat/completions",
                "body": body(f"{number} in a batch, {self.rounds}", model=model),
            }
            for number, model in enumerate(("sim-nano", "sim-nano", "nobody"))
        ]
        file = client.post(
            "/v1/files",
            data={"purpose": "batch"},
            files={"file": ("lines.jsonl", "\n".join(map(json.dumps, lines)))},
        ).json()
        made = client.post(
            "/v1/batches",
            json={
                "input_file_id": file["id"],
                "endpoint": "/v1/chat/completions",
                "completion_window": "24h",
                "budget_usd": 1,
            },
        ).json()

        def ended():
            batch = client.get(f"/v1/batches/{made['id']}").json()
            return batch if batch["status"] == "completed" else None

        assert waited_for(ended)["request_counts"] == {"total": 3, "completed": 2, "failed": 1}

    def in_time(self, client):
        """Ask for what looks at time and load: limits, tiers, queues, machines, costs."""
        late = {"x-route-max-latency-ms": "1"}
        for number in range(3):
            prompt = f"{number} at once, {self.rounds}"
            assert ask(client, prompt, policy="hasty", headers=late).status_code == 200
            for model in ("cheapest", "local", "auto:rushed", "auto:spread"):
                assert (
                    ask(client, f"{number} in time, {self.rounds}", model=model).status_code == 200
                )
        # Byte by byte, so that the others have to wait however busy the machine is.
        self.stub.add_fault("slow_drip", model="sim-medium", interval_s=0.001)
        with ThreadPoolExecutor(4) as several:
            prompts = [f"{number} in line, round {self.rounds}" for number in range(4)]
            answers = several.map(partial(ask, client, model="bounded"), prompts)
            assert {each.status_code for each in answers} == {200}

    def several(self, client):
        """Two models that agree, and two that do not, where no third may be asked."""
        capital = "Which of these is the capital of France?\nA) Paris\nB) Rome\nC) Oslo"
        order = (
            "Prove step by step, with a rigorous theorem and lemma, the asymptotic complexity of a "
            "distributed consensus algorithm with concurrency, integral and eigenvalue "
            "optimization. Which option is correct?\nA) O(n)\nB) O(n log n)\nC) O(n^2)"
        )
        for policy in ("threshold", "trying"):
            assert ask(client, capital, policy=policy).status_code == 200
        for question, accepted in ((capital, "agree"), (order, "nothing_better")):
            answer = ask(client, question, policy="several")
            assert answer.headers["x-route-accepted-by"] == accepted, answer.text

    def bad(self, client):
        # A model that fails again and again: a retry, a fallback, an open circuit.
        self.stub.add_fault("status", status=503, model="sim-large", times=20)
        for _ in range(4):
            ask(client, "hello", model="sim-large")
        self.stub.reset()
        first = client.post("/v1/route", json=body("hedge", policy="economy")).json()["model"]
        self.stub.add_fault("status", status=503, model=first, times=2)
        assert ask(client, "hedge", policy="economy").status_code == 200
        self.stub.reset()
        first = client.post("/v1/route", json=body("hedge")).json()["model"]
        self.stub.add_fault("stall_before_headers", model=first)
        assert ask(client, "hedge").status_code == 200
        self.stub.reset()
        release = threading.Event()
        self.artifact.trouble = release.wait
        late = ask(client, "long " * 5000, policy="impatient")
        assert late.headers["x-route-reason"] == "router_timeout"
        self.artifact.trouble = None
        release.set()


def body(prompt, *, model=None, policy="default", **fields):
    model = model or f"auto:{policy}"
    return {"model": model, "messages": [{"role": "user", "content": prompt}], **fields}


def ask(client, prompt, *, headers=None, **fields):
    return client.post("/v1/chat/completions", json=body(prompt, **fields), headers=headers)


def panels():
    for file in DASHBOARDS:
        for panel in json.loads(file.read_text(encoding="utf-8"))["panels"]:
            for target in panel.get("targets", ()):
                yield pytest.param(
                    panel["title"], target, id=f"{file.stem}: {panel['title']} {target['refId']}"
                )


def substituted(expression):
    """Put a range where Grafana puts one, and what it puts for a variable that stands at All."""
    # As long as the traffic may be past when a panel is looked at on a busy machine.
    expression = expression.replace("$__rate_interval", "15m").replace("$__range", "1h")
    return re.sub(r'=~"\$\w+"', '=~".*"', expression)


@pytest.mark.parametrize(("title", "target"), list(panels()))
def test_every_panel_shows_series_with_the_labels_of_its_legend(watched, title, target):
    expression = substituted(target["expr"])
    if title in SILENT:
        assert watched.prometheus.query(expression) == []
        return
    series = watched.numbers(expression)
    assert not all(math.isnan(each["value"]) for each in series), "not a number"
    for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]):
        assert all(label in each["labels"] for each in series), label


def test_spending_of_a_variant_is_shown_as_its_models(prometheus):
    panel = next(each for each in panels() if each.values[0] == "By base model")
    shown = {
        each["labels"]["base_model"]
        for each in prometheus.until(substituted(panel.values[1]["expr"]))
    }
    spent = prometheus.until("sum by (model) (increase(gateway_cost_usd_total[15m])) > 0")
    models = {each["labels"]["model"] for each in spent}
    assert "sim-nano@terse" in models
    assert "sim-nano" in shown
    assert not any("@" in each for each in shown)


def rules(kind):
    return [
        rule
        for file in RULES
        for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]
        for rule in group["rules"]
        if kind in rule
    ]


@pytest.mark.parametrize("rule", rules("record"), ids=lambda rule: rule["record"])
def test_every_recording_rule_records(prometheus, rule):
    prometheus.until(rule["expr"])
    prometheus.until(rule["record"])


@pytest.mark.parametrize("rule", rules("alert"), ids=lambda rule: rule["alert"])
def test_every_alert_can_be_asked_and_looks_at_what_there_is(prometheus, rule):
    prometheus.query(rule["expr"])
    names = set(re.findall(r"\b(?:gateway|process|steelyard)[a-z_0-9:]+", rule["expr"]))
    for name in names | ({"up"} if rule["expr"].startswith("up") else set()):
        prometheus.until(f'count({{__name__="{name}"}})')  # recorded by the next evaluation


def test_the_alerts_that_this_traffic_deserves_are_raised_and_no_other(prometheus):
    for deserved in ("SteelyardBreakerOpen", "SteelyardRouterTimeouts"):
        prometheus.until(f'ALERTS{{alertname="{deserved}"}}')
    undeserved = (
        "SteelyardDown",
        "SteelyardStoreDown",
        "SteelyardReloadFailed",
        "SteelyardBudgetExhausted",
        "SteelyardDecisionsLost",
    )
    # One scrape that a busy machine misses looks as if all were down, until the next.
    waited_for(lambda: not prometheus.query(f'ALERTS{{alertname=~"{"|".join(undeserved)}"}}'))


def test_prometheus_finds_no_fault_in_any_rule(prometheus):
    found = prometheus.rules()
    assert len(found) == len(rules("record")) + len(rules("alert"))
    assert [
        (rule["name"], rule.get("lastError")) for rule in found if rule["health"] == "err"
    ] == []
