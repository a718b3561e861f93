"""A real Prometheus beside the tests, on a free loopback port, ended by its process id."""

import contextlib
import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import httpx
import yaml

from tests.support.redis_server import free_port

_START_S = 60.0


def prometheus_path() -> str | None:
    """Return the system's Prometheus (`apt-get install prometheus`), or None."""
    return shutil.which("prometheus")


class PrometheusServer:
    """One server that scrapes one gateway every second.

    Parameters
    ----------
    directory
        Its working directory.
    target
        Host and port that are scraped.
    token
        What it shows.
    rules
        Files of recording and alerting rules.
    """

    def __init__(self, directory: Path, *, target: str, token: str, rules: list[Path]) -> None:
        path = prometheus_path()
        assert path is not None, "no prometheus: apt-get install prometheus"
        port = free_port()
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "500ms"},
            "rule_files": [str(rule) for rule in rules],
            "scrape_configs": [
                {
                    "job_name": "steelyard",
                    "authorization": {"type": "Bearer", "credentials": token},
                    "static_configs": [{"targets": [target]}],
                }
            ],
        }
        file = directory / "prometheus.yml"
        file.write_text(yaml.safe_dump(config), encoding="utf-8")
        self._command = (
            path,
            f"--config.file={file}",
            f"--storage.tsdb.path={directory / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--log.level=warn",
        )
        self._log = directory / "prometheus.log"
        self._http = httpx.Client(
            base_url=f"http://127.0.0.1:{port}/api/v1", trust_env=False, timeout=30
        )

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        deadline = time.monotonic() + _START_S
        while True:
            with contextlib.suppress(httpx.HTTPError):
                if self._http.get("/query", params={"query": "1"}).status_code == 200:
                    return self
            assert self._process.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline, "prometheus does not answer"
            time.sleep(0.05)

    def __exit__(self, *_: object) -> None:
        self._http.close()
        self._process.terminate()
        self._process.wait(30)

    def query(self, expression: str) -> list[Mapping[str, Any]]:
        """Return the series of an instant query; an expression that cannot be read fails."""
        answer = self._http.get("/query", params={"query": expression}).json()
        assert answer["status"] == "success", f"{expression}: {answer.get('error')}"
        return [
            {"labels": each["metric"], "value": float(each["value"][1])}
            for each in answer["data"]["result"]
        ]

    def query_range(
        self, expression: str, *, start: float, end: float, step_s: float
    ) -> list[Mapping[str, Any]]:
        """Return the series of a range query, each with its points in time and value."""
        params: Mapping[str, Any] = {
            "query": expression,
            "start": start,
            "end": end,
            "step": step_s,
        }
        answer = self._http.get("/query_range", params=params).json()
        assert answer["status"] == "success", f"{expression}: {answer.get('error')}"
        return [
            {"labels": each["metric"], "points": [(at, float(v)) for at, v in each["values"]]}
            for each in answer["data"]["result"]
        ]

    def rules(self) -> list[Mapping[str, Any]]:
        """Return every rule as Prometheus sees it."""
        groups = self._http.get("/rules").json()["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def until(self, expression: str, *, timeout_s: float = 60.0) -> list[Mapping[str, Any]]:
        """Return the series of a query once it gives any.

        On a busy machine a scrape may miss its second, and every gauge is gone then.
        """
        deadline = time.monotonic() + timeout_s
        while not (series := self.query(expression)):
            assert time.monotonic() < deadline, f"{expression} never came true"
            time.sleep(0.05)
        return series
