"""Measure what one request costs in the store: admit and settle on three scopes.

    python -m loadtest.bench_stores                 embedded, with SQLite, a Redis of its own
    python -m loadtest.bench_stores --redis URL     that Redis instead, under the prefix `bench`

What our client for Redis buys is measured too: `redis-py` sends a pipeline of redis-py's for every
call, without our batches, bounds and circuit; `its connection` has our pipeline send its batches
over a connection of redis-py's, in place of our own.

No time is asserted anywhere: the machine decides it. Compare ratios. Rounds alternate; of each
store the round with the least processor time is told, since others use the machine, too.
"""

import argparse
import asyncio
import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import redis
import uvloop

from app.stores._redis_scripts import RedisScripts
from app.stores.base import Lifecycle
from app.stores.claims import BudgetLimit, Claim, Refusal, Scope, ScopeKind, Settlement
from app.stores.memory import MemoryStore
from app.stores.redis import RedisStore
from loadtest.gateways import redis_path, redis_running
from loadtest.processes import Cores
from loadtest.redis_py import HalfLibraryStore, LibraryStore

KEYS = 50
MANY = 10**9
MUCH_NUSD = 9 * 10**15


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Of one request; times are microseconds, `redis_us` and `calls` those at Redis."""

    cpu_us: float
    wall_us: float
    admit_p50_us: float
    admit_p99_us: float
    settle_p50_us: float
    redis_us: float = 0.0
    calls: float = 0.0


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


async def measure(lifecycle: Lifecycle, *, requests: int, concurrent: int) -> Cost:
    await lifecycle.open()
    counters = lifecycle.store.counters
    claims = [claims_of(number) for number in range(KEYS)]
    settlements = [settlements_of(each) for each in claims]
    admit_s: list[float] = []
    settle_s: list[float] = []
    run = f"{time.time_ns():x}"

    async def line(first: int, last: int) -> None:
        for i in range(first, last, concurrent):
            request_id = f"{run}-{i}"
            began = time.perf_counter()
            answer = await counters.admit(request_id, claims[i % KEYS], lifetime_s=600.0)
            admitted = time.perf_counter()
            if isinstance(answer, Refusal):
                raise TypeError(f"nothing should be refused: {answer}")
            await counters.settle(request_id, settlements[i % KEYS])
            settle_s.append(time.perf_counter() - admitted)
            admit_s.append(admitted - began)

    await asyncio.gather(*(line(-100 - each, 0) for each in range(concurrent)))  # warm up
    admit_s.clear()
    settle_s.clear()
    # The thread, not the process: SQLite writes behind, in another one.
    wall, cpu = time.perf_counter(), time.thread_time()
    await asyncio.gather(*(line(each, requests) for each in range(concurrent)))
    wall, cpu = time.perf_counter() - wall, time.thread_time() - cpu
    await lifecycle.aclose()
    admit_s.sort()
    return Cost(
        cpu_us=1e6 * cpu / requests,
        wall_us=1e6 * wall / requests,
        admit_p50_us=1e6 * median(admit_s),
        admit_p99_us=1e6 * admit_s[int(0.99 * len(admit_s))],
        settle_p50_us=1e6 * median(settle_s),
    )


def measure_redis(
    url: str, *, requests: int, concurrent: int, kind: type[RedisStore] = RedisStore
) -> Cost:
    store = kind(url, prefix="bench", timeout_s=5.0)
    with redis.Redis.from_url(url) as client:
        for source in RedisScripts().sources.values():
            client.script_load(source)
        client.config_resetstat()
        before = client.info("cpu")
        cost = uvloop.run(measure(store, requests=requests, concurrent=concurrent))
        after, stats = client.info("cpu"), client.info("commandstats")
    parts = ("used_cpu_user_main_thread", "used_cpu_sys_main_thread")
    ours = {name: each["calls"] for name, each in stats.items() if "info" not in name}
    sent = requests + 100
    return Cost(
        cpu_us=cost.cpu_us,
        wall_us=cost.wall_us,
        admit_p50_us=cost.admit_p50_us,
        admit_p99_us=cost.admit_p99_us,
        settle_p50_us=cost.settle_p50_us,
        redis_us=1e6 * sum(after[part] - before[part] for part in parts) / sent,
        calls=sum(ours.values()) / sent,
    )


@contextlib.contextmanager
def redis_at(url: str | None) -> Iterator[str | None]:
    """Give the address that was asked for, or that of a server of our own, or None."""
    if url is not None or redis_path() is None:
        yield url
        return
    with tempfile.TemporaryDirectory() as directory:
        cores = Cores.of_this_machine()
        os.sched_setaffinity(0, cores.measured)
        with redis_running(Path(directory), cores) as own:
            yield own


def cases(url: str | None, directory: Path, requests: int) -> dict[str, Callable[[], Cost]]:
    """Return what is measured, by name."""

    def embedded(data_dir: Path | None) -> Cost:
        return uvloop.run(measure(MemoryStore(data_dir), requests=requests, concurrent=1))

    found: dict[str, Callable[[], Cost]] = {
        "memory": lambda: embedded(None),
        "memory+sqlite": lambda: embedded(directory),
    }
    if url is not None:
        for n in (1, 8, 64, 256):
            for suffix, kind in (
                ("", RedisStore),
                (", its connection", HalfLibraryStore),
                (", redis-py", LibraryStore),
            ):
                found[f"redis, {n} at once{suffix}"] = lambda n=n, kind=kind: measure_redis(
                    url, requests=requests, concurrent=n, kind=kind
                )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--redis", metavar="URL")
    parser.add_argument("--requests", type=int, default=4_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, redis_at(arguments.redis) as url:
        if url is None:
            print("redis: skipped, no redis-server")
        todo = cases(url, Path(directory), arguments.requests)
        rounds = [
            {name: measured() for name, measured in todo.items()} for _ in range(arguments.rounds)
        ]
    print(f"{'µs per request':32}  our CPU   wall  admit p50/p99 settle p50 Redis' CPU commands")
    for name in todo:
        best = min((each[name] for each in rounds), key=lambda cost: cost.cpu_us)
        print(
            f"{name:35} {best.cpu_us:8.0f} {best.wall_us:6.0f}"
            f" {best.admit_p50_us:7.0f} {best.admit_p99_us:6.0f} {best.settle_p50_us:11.0f}"
            f" {best.redis_us:12.0f} {best.calls:9.1f}"
        )


if __name__ == "__main__":
    main()
