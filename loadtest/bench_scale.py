"""What grows with what: keys, sessions, models, workers, held streams, requests served, starts.

    python -m loadtest.bench_scale                     everything; about 12 minutes
    python -m loadtest.bench_scale --only keys,models

Sizes of one kind run side by side and take turns, as in `bench_gateway`. Writes
`loadtest/results/scale.json`; the report of `bench_gateway` has its tables.
"""

import argparse
import asyncio
import contextlib
import os
import random
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
from redis import Redis

from app.assembly import DEFAULT_ARTIFACT
from app.stores.memory_blobs import MemoryBlobs
from loadtest import bench_decision, report
from loadtest.gateways import FULL, REDIS, Variant, candidates, direct, redis_path, running
from loadtest.load import Report
from loadtest.measuring import Bench, rounds, summary
from loadtest.peers import Target
from loadtest.processes import Cores, Helper, cpu_s_of, end_on_sigterm, machine
from loadtest.scenarios import IDLE, Conversation, Scenario, find, words
from routers.artifact.load import load_artifact

Rows = dict[str, Any]


class Stage:
    """An upstream, a directory, cores: what every part needs."""

    def __init__(
        self, stack: contextlib.ExitStack, *, seconds: float, together: bool = False
    ) -> None:
        self.stack = stack
        self.cores = Cores.of_this_machine(together=together)
        self.directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        self.upstream_port = stack.enter_context(
            Helper("loadtest.upstream", cores=self.cores.around)
        ).hear()["port"]
        self.bench = Bench(directory=self.directory, cores=self.cores, seconds=seconds)

    def start(self, variant: Variant) -> Target:
        """Run a variant until the stage is struck."""
        running_one = running(variant, self.upstream_port, self.directory, self.cores)
        return self.stack.enter_context(running_one)

    def compare(self, scenario: Scenario, variants: Sequence[Variant], *, n: int) -> Rows:
        """Run a scenario on several variants in turns."""
        targets = [self.start(each) for each in variants]
        idle = {each.name: _memory(each) for each in targets}
        skipped: dict[str, str] = {}
        ran = [direct(self.upstream_port), *targets]
        rows = summary(rounds(self.bench, scenario, ran, n=n, skipped=skipped, keep=-(-n // 2)))
        for target in targets:
            if target.name in rows:
                rows[target.name] |= {
                    "ready_s": round(target.server.ready_s, 2),
                    "idle_mb": idle[target.name],
                    "after_mb": _memory(target),
                }
        return {"scenario": scenario.name, "rows": rows, "skipped": skipped}


def _memory(target: Target) -> dict[str, float]:
    return {} if target.process is None else target.server.memory_mb()


def keys(n: int) -> Rows:
    """Return what a request costs with 1, 1,000 and 100,000 keys, all of them used in turn."""
    with contextlib.ExitStack() as stack:
        sizes = (1, 1_000, 100_000)
        variants = [replace(FULL, name=f"{size:,} keys", n_keys=size) for size in sizes]
        return Stage(stack, seconds=2.0).compare(find("pinned, 64 connections"), variants, n=n)


def models(n: int) -> Rows:
    """Return what a routed request costs with 2 to 200 candidates."""
    with contextlib.ExitStack() as stack:
        sizes = (2, 11, 50, 200)
        variants = [replace(FULL, name=f"{size} models", n_models=size) for size in sizes]
        return Stage(stack, seconds=2.0).compare(find("routed, 1 connection"), variants, n=n)


def workers(n: int) -> Rows:
    """Return what two workers on the same Redis serve beside one; nothing is pinned."""
    with contextlib.ExitStack() as stack:
        variants = [replace(REDIS, name=f"{size} workers", workers=size) for size in (1, 2)]
        stage = Stage(stack, seconds=3.0, together=True)
        return stage.compare(find("routed, 64 connections"), variants, n=n)


def redis(n: int) -> Rows:
    """Return what one request asks of Redis, and what that costs there."""
    rows = {}
    with contextlib.ExitStack() as stack:
        stage = Stage(stack, seconds=2.0)
        target = stage.start(REDIS)
        client = Redis.from_url(os.environ["STEELYARD_REDIS_URL"])
        stack.callback(client.close)
        pid = client.info("server")["process_id"]
        for scenario in (find("pinned, 64 connections"), find("growing conversation, routed")):
            cells: list[Rows] = []
            for _ in range(n):
                quiet = replace(scenario, warm_up=0)
                client.config_resetstat()
                cpu_s = cpu_s_of(pid)
                cell = stage.bench.run(quiet, target)
                cpu_us = (cpu_s_of(pid) - cpu_s) * 1e6 / cell["requests"]
                calls = {
                    name.removeprefix("cmdstat_"): each["calls"] / cell["requests"]
                    for name, each in client.info("commandstats").items()
                }
                cells.append({"redis_cpu_us": cpu_us, "cpu_us": cell["cpu_us"], "calls": calls})
            rows[scenario.name] = {
                "redis_cpu_us": statistics.median(each["redis_cpu_us"] for each in cells),
                "gateway_cpu_us": statistics.median(each["cpu_us"] for each in cells),
                "calls_per_request": {
                    name: round(count, 2) for name, count in cells[-1]["calls"].items()
                },
            }
    return {"rows": rows}


def starts(n: int) -> Rows:
    """Return how long from the start of the process to the first yes of /readyz, and its memory."""
    ready, memory = [], []
    for _ in range(n + 2):
        with contextlib.ExitStack() as stack:
            target = Stage(stack, seconds=1.0).start(FULL)
            ready.append(round(target.server.ready_s, 2))
            memory.append(target.server.memory_mb())
    return {"ready_s": sorted(ready), "idle_mb": memory[0]}


def idle_streams(n: int) -> Rows:
    """Return what 1,000 open streams hold that say nothing."""
    del n
    with contextlib.ExitStack() as stack:
        stage = Stage(stack, seconds=1.0)
        target = stage.start(FULL)
        stage.bench.run(find("stream in a burst, pinned"), target)
        before = _memory(target)
        with Helper("loadtest.load", cores=stage.cores.around) as helper:
            helper.tell(msgspec.json.encode(stage.bench.plan(IDLE, target)).decode())
            helper.hear()
            held = _memory(target)
            cpu_s, began = target.server.cpu_s(), time.perf_counter()
            time.sleep(5.0)
            cpu_s, elapsed = target.server.cpu_s() - cpu_s, time.perf_counter() - began
            helper.tell("enough")
            helper.hear()
        time.sleep(1.0)
        return {
            "streams": IDLE.connections,
            "before_mb": before,
            "held_mb": held,
            "after_mb": _memory(target),
            "cpu_percent_while_held": round(100 * cpu_s / elapsed, 1),
        }


def _new_session(model: str, rng: random.Random) -> Conversation:
    return [
        {
            "model": model,
            "session_id": f"session-{rng.getrandbits(64):x}",
            "messages": [
                {"role": "system", "content": words(10, rng)},
                {"role": "user", "content": words(20, rng)},
                {"role": "assistant", "content": words(20, rng)},
                {"role": "user", "content": words(20, rng)},
            ],
        }
    ]


def endurance(n: int, *, requests: int = 200_000, parts: int = 10) -> Rows:
    """Return memory and cost along many requests, each of a session of its own."""
    del n
    with contextlib.ExitStack() as stack:
        stage = Stage(stack, seconds=1.0)
        target = stage.start(FULL)
        part = requests // parts
        scenario = Scenario(
            name="a session each",
            make=_new_session,
            connections=16,
            routed=True,
            variety=part,
            warm_up=0,
        )
        rows: list[Rows] = [{"requests": 0, "mb": _memory(target)}]
        for number in range(parts):
            plan = stage.bench.plan(scenario, target)
            conversations = stage.directory / f"part-{number}.jsonl"
            rng = random.Random(number)
            with conversations.open("wb") as file:
                for _ in range(part):
                    file.write(msgspec.json.encode(_new_session("auto", rng)) + b"\n")
            whole = replace_plan(plan, requests=str(conversations), warm_up=part)
            cpu_s = target.server.cpu_s()
            with Helper("loadtest.load", cores=stage.cores.around) as helper:
                helper.tell(msgspec.json.encode(whole).decode())
                answered = helper.hear()["warm_up"]
                if set(answered) - {"200"}:
                    raise RuntimeError(f"not all were answered: {answered}")
                cpu_s = target.server.cpu_s() - cpu_s
                helper.tell("enough")
                msgspec.convert(helper.hear(), Report)
            rows.append(
                {
                    "requests": rows[-1]["requests"] + answered["200"],
                    "cpu_us": round(cpu_s * 1e6 / answered["200"]),
                    "mb": _memory(target),
                }
            )
            conversations.unlink()
        return {"rows": rows}


def replace_plan(plan: Any, **changes: Any) -> Any:
    """Return a plan that differs, and sends nothing after its warm-up."""
    return msgspec.structs.replace(plan, seconds=0.0, **changes)


def sessions(n: int) -> Rows:
    """Return what a remembered session costs in memory and time, up to a million of them."""
    del n
    blobs = MemoryBlobs()
    value = os.urandom(120)
    rows = []

    async def more(first: int, last: int) -> float:
        began = time.process_time()
        for number in range(first, last):
            await blobs.put(f"session-{number:032x}", value, lifetime_s=3600.0)
            await blobs.get(f"session-{number:032x}")
        return (time.process_time() - began) * 1e6 / (last - first)

    at = 0
    for size in (1_000, 10_000, 100_000, 1_000_000):
        cost_us = asyncio.run(more(at, size))
        at = size
        rows.append(
            {
                "sessions": size,
                "kept": len(blobs),
                "us_per_turn": round(cost_us, 2),
                "rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000, 1),
            }
        )
    return {"rows": rows}


def decision(n: int) -> Rows:
    """Return what the shipped router's decision costs, on one thread, a prompt new each time."""
    artifact = load_artifact(DEFAULT_ARTIFACT)
    return {
        "rows": [
            {
                "tokens": tokens,
                **bench_decision.measure(
                    artifact, n_tokens=tokens, rounds=100 * n, models=list(candidates(11))
                ),
            }
            for tokens in (64, 2_000)
        ]
    }


PARTS: dict[str, Callable[[int], Rows]] = {
    "starts": starts,
    "keys": keys,
    "models": models,
    "workers": workers,
    "redis": redis,
    "idle streams": idle_streams,
    "sessions": sessions,
    "decision": decision,
    "endurance": endurance,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    end_on_sigterm()
    chosen = PARTS if arguments.only is None else arguments.only.split(",")
    result: Rows = msgspec.json.decode(report.SCALE.read_bytes()) if report.SCALE.exists() else {}
    for name in chosen:
        if name in ("workers", "redis") and redis_path() is None:
            print(f"{name}: skipped, no redis-server")
            continue
        around = machine()
        result[name] = PARTS[name](arguments.rounds)
        around["load_average_after"] = [round(each, 2) for each in os.getloadavg()]
        result[name]["machine"] = around
        print(f"# {name}\n{msgspec.json.format(msgspec.json.encode(result[name])).decode()}")
        report.SCALE.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")
    report.refresh()


if __name__ == "__main__":
    main()
