"""Measure a large batch from its upload to its last answer, and count that nothing is lost.

    python -m loadtest.bench_batch                          50,000 lines, each way below
    python -m loadtest.bench_batch --ways run --store redis --workers 2 --lines 5000

Over HTTP, in front of an upstream that answers at once and counts how often it was asked each line.
The ways: `run` to its end; `cancel` it in the middle; `kill` in the middle, with SIGKILL, the
worker that works at it; `plan` it under a budget and a capacity, models chosen among eleven. Each
has a gateway, and a Redis where it needs one, of its own. Of each are told: how long things took;
what memory the largest process of the gateway had at most, and how much that is above an idle one;
what the store takes at most (the folder on the disk, or the memory of Redis); how often lines were
asked and answered; and what was spent, by the batch and by the ledger.
"""

import argparse
import contextlib
import json
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import redis
import yaml

from loadtest.batch_upstream import MARK
from loadtest.gateways import ARTIFACT_MODELS, FULL, REDIS, configuration, make_keys, redis_running
from loadtest.processes import Cores, Helper, Measured, cpu_s_of, end_on_sigterm, free_port, machine

WAYS = ("run", "cancel", "kill", "plan")
_CHAT = "/v1/chat/completions"
_OVER = ("completed", "failed", "expired", "cancelled")
_ADMIN = "bench-admin-token"
_LOOK_EVERY_S, _STILL_S = 0.5, 5.0
_PROMPT = "Say in one word what line this is. " * 8


def requests(n: int, model: str) -> bytes:
    """Return a file of `n` requests of some 500 bytes."""
    lines = (
        {
            "custom_id": f"line-{number}",
            "method": "POST",
            "url": _CHAT,
            "body": {
                "model": model,
                "max_tokens": 200,
                "messages": [{"role": "user", "content": f"{MARK.format(number)} {_PROMPT}"}],
            },
        }
        for number in range(n)
    )
    return b"".join(json.dumps(each).encode() + b"\n" for each in lines)


class Stage:
    """A gateway with batches, its upstream, and a client with a key."""

    def __init__(
        self, stack: contextlib.ExitStack, *, store: str, workers: int, concurrency: int
    ) -> None:
        self.directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        cores = Cores.of_this_machine(together=True)
        self.upstream = stack.enter_context(Helper("loadtest.batch_upstream", cores=cores.around))
        config = configuration(REDIS if store == "redis" else FULL, self.upstream.hear()["port"])
        config["batches"] = {"enabled": True, "concurrency": concurrency}
        config["store"]["data_dir"] = "data"
        config["outcomes"] = {"enabled": True}
        self._redis = None
        env = {"STEELYARD_ADMIN_TOKEN": _ADMIN}
        if store == "redis":
            url = stack.enter_context(redis_running(self.directory, cores))
            env["STEELYARD_REDIS_URL"] = os.environ["STEELYARD_REDIS_URL"] = url
            self._redis = stack.enter_context(contextlib.closing(redis.Redis.from_url(url)))
        file, port = self.directory / "gateway.yaml", free_port()
        file.write_text(yaml.safe_dump(config))
        (secret,) = make_keys(file, 1)
        command = [*_serve(file, port), "--workers", str(workers)]
        self._gateway = lambda: Measured(
            command,
            port=port,
            cores=cores.measured,
            log=self.directory / "gateway.log",
            ready_path="/readyz",
            env=env,
        )
        self._stack = stack
        self._start()
        self.client = stack.enter_context(
            httpx.Client(
                base_url=f"http://127.0.0.1:{port}",
                headers={"authorization": f"Bearer {secret}"},
                timeout=300,
                trust_env=False,
            )
        )
        self.idle_mb = self.memory_mb()
        self.peak_mb = self.store_mb = 0.0

    def _start(self) -> None:
        self.server = self._stack.enter_context(self._gateway())

    def kill(self) -> None:
        """Kill the worker that works at the batch; without workers, the gateway, and start it."""
        before = {pid: cpu_s_of(pid) for pid in self.server.pids}
        time.sleep(1.0)
        busiest = max(before, key=lambda pid: cpu_s_of(pid) - before[pid])
        alone = busiest == self.server.pids[0]
        os.kill(busiest, signal.SIGKILL)
        if alone:
            self.server.stop()
            self._start()

    def memory_mb(self) -> float:
        """Return the most resident memory that any process of the gateway had until now."""
        return max(map(_peak_mb, self.server.pids))

    def look(self) -> None:
        """Take note of what memory and disk there is in use."""
        self.peak_mb = max(self.peak_mb, self.memory_mb())
        self.store_mb = max(self.store_mb, self.stored_mb())

    def stored_mb(self) -> float:
        """Return what the store of batches takes: its files, or the memory of its Redis."""
        if self._redis is not None:
            return float(self._redis.info("memory")["used_memory"]) / 1e6
        found = self.directory.glob("data/batches.sqlite3*")
        return sum(each.stat().st_size for each in found) / 1e6

    def spent(self) -> dict[str, Any]:
        """Return requests and dollars by the ledger, once nothing more comes into it."""
        told: dict[str, Any] = {}
        seen, still_since = -1, time.monotonic()
        while time.monotonic() < still_since + _STILL_S:
            answer = self.client.get("/admin/spend", headers={"authorization": f"Bearer {_ADMIN}"})
            told = _json(answer)["totals"]
            if told["requests"] != seen:
                seen, still_since = told["requests"], time.monotonic()
            time.sleep(_LOOK_EVERY_S)
        return told


def measure(way: str, *, n: int, store: str, workers: int, concurrency: int) -> dict[str, Any]:
    """Run one batch one way, and return what came of it."""
    with contextlib.ExitStack() as stack:
        stage = Stage(stack, store=store, workers=workers, concurrency=concurrency)
        content = requests(n, "auto" if way == "plan" else ARTIFACT_MODELS[4])
        timer = _Timer()
        file = _json(
            stage.client.post(
                "/v1/files", data={"purpose": "batch"}, files={"file": ("in.jsonl", content)}
            )
        )
        timer.lap("upload_s")
        terms: dict[str, Any] = {}
        if way == "plan":
            terms = {"budget_usd": n * 5e-3, "capacity": {ARTIFACT_MODELS[4]: n // 10}}
        asked = {"input_file_id": file["id"], "endpoint": _CHAT, "completion_window": "24h"}
        batch = _json(stage.client.post("/v1/batches", json=asked | terms))
        disturbed = way not in ("cancel", "kill")
        while batch["status"] not in _OVER:
            time.sleep(_LOOK_EVERY_S)
            stage.look()
            with contextlib.suppress(httpx.TransportError):
                batch = _json(stage.client.get(f"/v1/batches/{batch['id']}"))
            if not disturbed and batch["request_counts"]["completed"] >= n // 2:
                disturbed = True
                if way == "kill":
                    stage.kill()
                else:
                    _json(stage.client.post(f"/v1/batches/{batch['id']}/cancel"))
        timer.lap("run_s")
        lines = {
            kind: list(_lines(stage.client, batch[f"{kind}_file_id"]))
            for kind in ("output", "error")
        }
        timer.lap("download_s")
        stage.look()
        return {
            "way": way,
            "store": store,
            "workers": workers,
            "status": batch["status"],
            **timer.laps,
            "lines_per_s": round(batch["request_counts"]["completed"] / timer.laps["run_s"]),
            "peak_mb": round(stage.peak_mb),
            "above_idle_mb": round(stage.peak_mb - stage.idle_mb),
            "store_mb": round(stage.store_mb),
            "store_after_mb": round(stage.stored_mb()),
            "upload_mb": round(len(content) / 1e6, 1),
            "counts": batch["request_counts"],
            "steelyard": {k: batch["steelyard"][k] for k in ("cost_usd", "retried", "left_out")},
            **_agreement(stage, lines, n),
        }


def _agreement(stage: Stage, lines: dict[str, list[dict[str, Any]]], n: int) -> dict[str, Any]:
    """Return how lines of files, what the upstream was asked, and what was spent compare."""
    ids = Counter(each["custom_id"] for kind in lines.values() for each in kind)
    stage.upstream.tell("counts")
    times_asked = stage.upstream.hear()
    spent = stage.spent()
    return {
        "lines": {kind: len(found) for kind, found in lines.items()},
        "once_each": len(ids) == n and set(ids.values()) == {1},
        "times_asked": times_asked,
        "spent_rows": spent["requests"],
        "spent_usd": spent["cost_usd"],
    }


class _Timer:
    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._at = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name], self._at = round(now - self._at, 2), now


def _serve(file: Path, port: int) -> list[str]:
    python = sys.executable
    return [python, "-m", "app", "serve", "--config", str(file), "--port", str(port)]


def _peak_mb(pid: int) -> float:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return float(line.split()[1]) * 1024 / 1e6
    return 0.0


def _json(answer: httpx.Response) -> dict[str, Any]:
    if answer.status_code != httpx.codes.OK:
        raise RuntimeError(f"{answer.request.url}: {answer.status_code} {answer.text[:300]}")
    told: dict[str, Any] = answer.json()
    return told


def _lines(client: httpx.Client, file_id: str | None) -> Iterator[dict[str, Any]]:
    if file_id is None:
        return
    with client.stream("GET", f"/v1/files/{file_id}/content") as answer:
        for line in answer.iter_lines():
            yield json.loads(line)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lines", type=int, default=50_000)
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--store", choices=("sqlite", "redis"), default="redis")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--concurrency", type=int, default=16)
    arguments = parser.parse_args()
    end_on_sigterm()
    print(json.dumps(machine()), flush=True)
    for way in arguments.ways.split(","):
        found = measure(
            way,
            n=arguments.lines,
            store=arguments.store,
            workers=arguments.workers,
            concurrency=arguments.concurrency,
        )
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
