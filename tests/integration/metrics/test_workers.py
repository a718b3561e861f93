"""Two worker processes behind one socket: what they count is counted once, and stays counted."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.gateway import CONFIGS, REPOSITORY, read_yaml, write_yaml
from tests.support.processes import worker_ids
from tests.support.redis_server import free_port

TOKEN = "metrics-token-of-the-test"  # noqa: S105  (opens nothing else)
ASK = {"model": "auto", "messages": [{"role": "user", "content": "What is a steelyard?"}]}


class Gateway:
    def __init__(self, url, metrics_url, process):
        self.url, self.metrics_url, self.process = url, metrics_url, process

    def ask(self):
        """Ask on a connection of its own, so that any of the workers may take it."""
        response = httpx.post(
            f"{self.url}/v1/chat/completions", json=ASK, trust_env=False, timeout=30
        )
        assert response.status_code == 200

    def samples(self):
        """Return every sample of all workers: (name, labels) → value."""
        response = httpx.get(
            self.metrics_url,
            headers={"authorization": f"Bearer {TOKEN}"},
            trust_env=False,
            timeout=30,
        )
        assert response.status_code == 200
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(response.text)
            for sample in family.samples
        }

    def total(self, name):
        return sum(value for (each, _), value in self.samples().items() if each == name)

    def until(self, name, value):
        """Wait until the sum of a metric is a value: a request is recorded after its answer."""
        deadline = time.monotonic() + 60
        while (found := self.total(name)) != value:
            assert time.monotonic() < deadline, f"{name} is {found}, not {value}"


@pytest.fixture(params=["own port", "main port"])
def gateway(request, redis_server, tmp_path, monkeypatch):
    document = read_yaml(CONFIGS / "gateway.yaml")
    stub_port, metrics_port = free_port(), free_port()
    document["catalogue"] = str(CONFIGS / "models.yaml")
    document["stub"] = {"port": stub_port, "speed": 0}
    document["upstreams"]["stub"]["base_url"] = f"http://127.0.0.1:{stub_port}/v1"
    document["store"] = {"kind": "redis", "prefix": f"test-workers-{metrics_port}"}
    document["server"]["metrics_token_env"] = "TEST_METRICS_TOKEN"  # noqa: S105  (a name)
    if request.param == "own port":
        document["server"]["metrics_port"] = metrics_port
    file = tmp_path / "gateway.yaml"
    write_yaml(file, document)
    monkeypatch.setenv("STEELYARD_REDIS_URL", redis_server.url)
    monkeypatch.setenv("TEST_METRICS_TOKEN", TOKEN)
    process = subprocess.Popen(
        (
            *(sys.executable, "-m", "app", "serve"),
            *("--config", str(file), "--port", "0", "--workers", "2"),
        ),
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        url = None
        while url is None:
            line = process.stdout.readline()
            assert line, "it ended at once"
            url = re.search(r"listens on (http://\S+)", line)
        url = url[1]
        metrics_url = (
            f"http://127.0.0.1:{metrics_port}" if request.param == "own port" else url
        ) + "/metrics"
        running = Gateway(url, metrics_url, process)
        running.until("gateway_workers", 2)
        yield running
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait(30)
        process.stdout.close()


def test_what_two_workers_count_is_right_and_survives_one_of_them(gateway):
    n = 40
    for _ in range(n):
        gateway.ask()
    gateway.until("gateway_requests_total", n)
    before = gateway.samples()
    for name in (
        "gateway_decisions_total",
        "gateway_overhead_seconds_count",
        "gateway_predicted_quality_count",
        "gateway_key_requests_total",
        "gateway_calls_total",
    ):
        assert gateway.total(name) == n, name
    assert gateway.total("gateway_build_info") == 1
    gateway.until("gateway_store_up", 1)  # once every worker has looked
    gateway.until("gateway_requests_in_flight", 0)
    assert not any("pid" in dict(labels) for _, labels in before)

    first, second = worker_ids(gateway.process.pid)
    os.kill(first, signal.SIGKILL)
    deadline = time.monotonic() + 60
    lowest = before
    while (
        len(alive := set(worker_ids(gateway.process.pid)) - {first}) < 2
        or gateway.total("gateway_workers") != 2
    ):
        now = gateway.samples()
        assert_no_counter_fell(lowest, now)
        lowest = now
        assert time.monotonic() < deadline, "no worker took the place of the dead one"
    assert second in alive

    for _ in range(n):
        with contextlib.suppress(httpx.TransportError):  # sent to the one that died
            gateway.ask()
    gateway.until("gateway_requests_total", 2 * n)
    after = gateway.samples()
    assert_no_counter_fell(before, after)
    for bound in ("0.0002", "+Inf"):
        assert after["gateway_overhead_seconds_bucket", (("le", bound),)] <= 2 * n


def assert_no_counter_fell(before, after):
    """Prometheus would take a counter that falls for one that began anew."""
    for (name, labels), value in before.items():
        if name.endswith(("_total", "_count", "_sum", "_bucket")):
            assert after[name, labels] >= value, (name, labels)


def test_nobody_reads_the_metrics_without_their_token(gateway):
    for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": TOKEN}):
        response = httpx.get(gateway.metrics_url, headers=headers, trust_env=False)
        assert response.status_code == 401
        assert "gateway_requests" not in response.text
