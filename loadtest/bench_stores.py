"""Measure what one request costs in the store: admit and settle on three scopes.

    python -m loadtest.bench_stores                      embedded, without and with SQLite
    python -m loadtest.bench_stores --redis URL          writes under the prefix `bench` there

No time is asserted anywhere: the machine decides it. Compare ratios.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import uvloop

from app.stores._base import BudgetLimit, Claim, Lifecycle, Refusal, Scope, ScopeKind, Settlement
from app.stores.memory import MemoryStore
from app.stores.redis import RedisStore

KEYS = 50
MANY = 10**9
MUCH_NUSD = 9 * 10**15


def claims_of(number: int) -> list[Claim]:
    """Return what a request claims of its key, its team and the whole gateway."""
    budgets = (BudgetLimit(period_id="day:bench", limit_nusd=MUCH_NUSD, ends_in_s=3600.0),)
    key = Claim(
        scope=Scope(ScopeKind.KEY, f"key-{number}"),
        requests_per_minute=MANY,
        tokens_per_minute=MANY,
        concurrent_requests=MANY,
        budgets=budgets,
        tokens=500,
        reserve_nusd=1000,
    )
    team = Claim(
        scope=Scope(ScopeKind.TEAM, "team"), budgets=budgets, tokens=500, reserve_nusd=1000
    )
    gateway = Claim(
        scope=Scope(ScopeKind.GATEWAY), concurrent_requests=MANY, budgets=budgets, reserve_nusd=1000
    )
    return [key, team, gateway]


def settlements_of(claims: Sequence[Claim]) -> list[Settlement]:
    return [
        Settlement(
            scope=claim.scope,
            tokens=400,
            cost_nusd=900,
            budgets=claim.budgets,
            tokens_per_minute=claim.tokens_per_minute,
        )
        for claim in claims
    ]


async def measure(name: str, lifecycle: Lifecycle, *, requests: int, concurrent: int) -> None:
    await lifecycle.open()
    counters = lifecycle.store.counters
    claims = [claims_of(number) for number in range(KEYS)]
    settlements = [settlements_of(each) for each in claims]
    admit_s: list[float] = []
    run = f"{time.time_ns():x}"

    async def line(number: int) -> None:
        for i in range(number, requests, concurrent):
            began = time.perf_counter()
            request_id = f"{run}-{i}"
            answer = await counters.admit(request_id, claims[i % KEYS], lifetime_s=600.0)
            if isinstance(answer, Refusal):
                raise TypeError(f"nothing should be refused: {answer}")
            admit_s.append(time.perf_counter() - began)
            await counters.settle(request_id, settlements[i % KEYS])

    wall, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(line(number) for number in range(concurrent)))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    await lifecycle.aclose()
    admit_s.sort()
    p50, p99 = (1e6 * admit_s[int(len(admit_s) * share)] for share in (0.5, 0.99))
    print(
        f"{name:14} {concurrent:4} at once: {1e6 * wall / requests:5.0f} µs per request"
        f" ({1e6 * cpu / requests:4.0f} of our CPU); admit p50 {p50:6.0f}, p99 {p99:6.0f} µs"
    )


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--redis", metavar="URL")
    parser.add_argument("--requests", type=int, default=20_000)
    arguments = parser.parse_args()
    if arguments.redis is None:
        await measure("memory", MemoryStore(None), requests=arguments.requests, concurrent=1)
        with tempfile.TemporaryDirectory() as directory:
            store = MemoryStore(Path(directory))
            await measure("memory+sqlite", store, requests=arguments.requests, concurrent=1)
        return
    for concurrent in (1, 8, 64, 256):
        store = RedisStore(arguments.redis, prefix="bench", timeout_s=5.0)
        await measure("redis", store, requests=arguments.requests // 5, concurrent=concurrent)


if __name__ == "__main__":
    uvloop.run(main())
