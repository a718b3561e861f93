"""Mixed traffic through two workers, Redis, and an upstream that fails, for minutes.

    python -m loadtest.soak --seconds 300 --json var/soak.json

Checks what must always hold (see `Judge`) and ends with exit code 1 if anything of it did not.
The load is chosen to leave the machine some air; this is no benchmark of throughput.
"""

import argparse
import asyncio
import contextlib
import dataclasses
import json
import logging
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from loadtest.fault_proxy import FaultProxy, ProxyFault, even_shares
from loadtest.mixed_traffic import Ask, Kind, Mix, send
from loadtest.soak_judge import Judge, Sample
from tests.support.processes import (
    GatewayProcess,
    gateway_process,
    worker_ids,
    write_config,
)
from tests.support.redis_server import RedisServer
from tests.support.stub import stub_process

KINDS = {
    Kind.SHORT: 5.0,
    Kind.STREAM: 5.0,
    Kind.CONVERSATION: 3.0,
    Kind.TOOLS: 1.5,
    Kind.CANCELLED: 1.0,
    Kind.LONG_PROMPT: 0.5,
    Kind.INVALID: 0.3,
    Kind.TOO_LONG: 0.02,
}
MODELS = ("auto", "auto:economy", "auto:quality", "router-carrot-0.5", "sim-nano", "sim-large")
STORM = {ProxyFault.THROTTLED: 0.5, ProxyFault.THROTTLED_WITH_RETRY_AFTER: 0.3}
TIMEOUTS = {"connect_s": 1, "first_token_s": 3, "idle_s": 1, "whole_answer_s": 4, "total_s": 20}
THINK_S = 0.05
SAMPLE_S = 1.0
CYCLE_S = 50.0


async def soak(*, seconds: float, at_once: int, faults: float, seed: int) -> Judge:
    """Run all of it and return what is known."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        with RedisServer(directory / "redis") as redis:
            async with stub_process() as stub, FaultProxy(upstream=stub.origin, seed=seed) as proxy:
                changes = {
                    "store": {"kind": "redis", "timeout_s": 0.2},
                    "auth": {"mode": "keys", "fresh_s": 2.0},
                    "breaker.cooldown_s": 1.0,
                    "upstreams.stub.timeouts": TIMEOUTS,
                    "policies.quality.hedge_after_s": 0.2,
                    "server.drain_s": 0,
                    "server.sse_ping_s": 0.3,
                }
                config = write_config(directory / "gateway.yaml", proxy.origin, changes)
                env = {"STEELYARD_REDIS_URL": redis.url}
                async with gateway_process(config, "--workers", "2", env=env) as gateway:
                    judge = Judge(at_once=at_once)
                    keys = await _make_keys(gateway)
                    async with _beside(
                        _weather(proxy, redis, faults=faults, seconds=seconds),
                        _watch(gateway, proxy, judge),
                    ):
                        mix = Mix(seed=seed, models=MODELS, weights=KINDS)
                        await asyncio.gather(
                            *(
                                _client(gateway, mix, keys, judge, number=i, seconds=seconds)
                                for i in range(at_once)
                            )
                        )
                    await _come_to_rest(gateway, proxy, judge, keys)
                    return judge


async def _client(
    gateway: GatewayProcess,
    mix: Mix,
    keys: Mapping[str, str],
    judge: Judge,
    *,
    number: int,
    seconds: float,
) -> None:
    """Be one client: ask, read, think, ask again."""
    rng = random.Random(number)
    ends_at = time.monotonic() + seconds
    secrets = list(keys.values())
    async with gateway.client(token=secrets[number % len(secrets)]) as client:
        for i in range(sys.maxsize):
            if time.monotonic() >= ends_at:
                return
            ask = mix.draw(f"c{number}-{i}")
            headers = {"x-request-id": ask.tag}
            if ask.kind is Kind.CONVERSATION and i % 2:
                headers["x-session-id"] = f"session-{number}"
            judge.saw(await send(client, _with_headers(ask, headers)))
            await asyncio.sleep(rng.random() * 2 * THINK_S)


def _with_headers(ask: Ask, headers: Mapping[str, str]) -> Ask:
    return dataclasses.replace(ask, headers=headers)


async def _weather(proxy: FaultProxy, redis: RedisServer, *, faults: float, seconds: float) -> None:
    """Change what fails, again and again: nothing, a mix, 429 only, nobody there, no Redis."""
    calm_s, mixed_s = 0.2 * CYCLE_S, 0.6 * CYCLE_S
    ends_at = time.monotonic() + seconds
    while time.monotonic() < ends_at:
        proxy.shares = {}
        await asyncio.sleep(calm_s)
        proxy.shares = even_shares(faults)
        await asyncio.sleep(mixed_s)
        proxy.shares = STORM
        await asyncio.sleep(0.1 * CYCLE_S)
        proxy.shares = even_shares(faults)
        await proxy.refuse()
        await asyncio.sleep(0.02 * CYCLE_S)
        await proxy.accept()
        redis.pause()
        try:
            await asyncio.sleep(0.04 * CYCLE_S)
        finally:
            redis.resume()
        await asyncio.sleep(0.04 * CYCLE_S)


async def _watch(gateway: GatewayProcess, proxy: FaultProxy, judge: Judge) -> None:
    """Sample memory and open files of every worker."""
    began = time.monotonic()
    while True:
        await asyncio.sleep(SAMPLE_S)
        for pid in worker_ids(gateway.process.pid):
            judge.sampled(
                Sample(
                    worker=pid,
                    at_s=time.monotonic() - began,
                    rss_bytes=_rss_bytes(pid),
                    open_files=len(os.listdir(f"/proc/{pid}/fd")),  # noqa: PTH208
                )
            )
        judge.upstream_connections = max(judge.upstream_connections, proxy.open_connections)
        if len(judge.samples) % 60 == 0:
            print(judge.line(time.monotonic() - began), flush=True)


async def _come_to_rest(
    gateway: GatewayProcess, proxy: FaultProxy, judge: Judge, keys: Mapping[str, str]
) -> None:
    """Wait, not for long, until everything is settled; then hand the accounts to the judge."""
    deadline = time.monotonic() + 60
    async with gateway.client() as admin:
        while True:
            standings = {}
            for key_id in keys:
                answer = await admin.get(f"/admin/keys/{key_id}/standing")
                if answer.status_code == httpx.codes.OK:
                    standings[key_id] = answer.json()["scopes"][0]
            if time.monotonic() > deadline or judge.is_at_rest(gateway.ledger, standings):
                break
            await asyncio.sleep(0.1)
    judge.close(
        ledger=gateway.ledger,
        calls=list(proxy.calls),
        standings=standings,
        keys=list(keys),
        alive=gateway.process.returncode is None,
        workers=worker_ids(gateway.process.pid),
    )


async def _make_keys(gateway: GatewayProcess) -> dict[str, str]:
    keys = {}
    async with gateway.client() as admin:
        for name in ("one", "two", "three"):
            terms = {"name": name, "budgets": [{"usd": 10_000, "period": "month"}]}
            made = (await admin.post("/admin/keys", json=terms)).json()
            keys[made["key_id"]] = made["secret"]
    return keys


@contextlib.asynccontextmanager
async def _beside(*work: Any) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(each) for each in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for ended in await asyncio.gather(*tasks, return_exceptions=True):
            if ended is not None and not isinstance(ended, asyncio.CancelledError):
                raise ended


def _rss_bytes(pid: int) -> int:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _commit() -> str:
    found = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or "unknown"


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--at-once", type=int, default=16, help="Clients at the same time.")
    parser.add_argument("--faults", type=float, default=0.3, help="Share of upstream calls.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="Write the result here too.")
    options = parser.parse_args(arguments)
    # The proxy writes to connections that were reset on purpose; it need not be told.
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    load_before = os.getloadavg()[0]
    judge = asyncio.run(
        soak(
            seconds=options.seconds,
            at_once=options.at_once,
            faults=options.faults,
            seed=options.seed,
        )
    )
    result = {
        "command": f"python -m loadtest.soak --seconds {options.seconds:g} "
        f"--at-once {options.at_once} --faults {options.faults:g} --seed {options.seed}",
        "commit": _commit(),
        "machine": f"{_processor()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "load_average": [round(load_before, 2), round(os.getloadavg()[0], 2)],
        "seconds": options.seconds,
        **judge.report(options.seconds),
    }
    print(judge.text(options.seconds))
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0 if judge.holds else 1


if __name__ == "__main__":
    sys.exit(main())
