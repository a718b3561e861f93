"""Several processes share one Redis: together they are as exact as one."""

import asyncio
import sys
from pathlib import Path

from app.stores.claims import Claim, Scope, ScopeKind
from app.stores.redis import RedisStore
from tests.support.redis_server import RedisServer
from tests.support.stores import StoreUnderTest, budget, new_prefix

ROOT = Path(__file__).resolve().parents[2]
LIMIT_NUSD = 3_000_000
RESERVE_NUSD = 1_700
KEY = Claim(
    scope=Scope(ScopeKind.KEY, "key-1"),
    requests_per_minute=10_000,
    concurrent_requests=100,
    budgets=(budget(LIMIT_NUSD),),
    reserve_nusd=RESERVE_NUSD,
)
TEAM = Claim(
    scope=Scope(ScopeKind.TEAM, "blue"), budgets=(budget(10 * LIMIT_NUSD),), reserve_nusd=1_700
)

_GATEWAY = """
import asyncio, itertools, random, sys
from app.stores.claims import Refusal, Resource
from app.stores.redis import RedisStore
from tests.integration.test_shared_budget import KEY, RESERVE_NUSD, TEAM
from tests.support.stores import StoreUnderTest, settlement

async def request(under_test, name, used, rng):
    request_id, answer = await under_test.admit(KEY, TEAM, request_id=name)
    if isinstance(answer, Refusal):
        return answer.resource
    cost_nusd = rng.randrange(RESERVE_NUSD + 1)
    await asyncio.sleep(rng.random() / 100)
    for _ in range(2):  # somebody is not sure whether it arrived
        await under_test.settle(request_id, [KEY, TEAM], cost_nusd=cost_nusd)
    used.append(cost_nusd)

async def main(url, prefix, name):
    under_test = StoreUnderTest(RedisStore(url, prefix=prefix, timeout_s=10.0))
    rng, used = random.Random(name), []
    blobs = under_test.store.blobs
    await blobs.put(f"ready-{name}", b"", lifetime_s=60)
    while None in [await blobs.get(f"ready-{other}") for other in ("one", "two")]:
        await asyncio.sleep(0.001)
    await asyncio.gather(
        *(request(under_test, f"{name}-{i}", used, rng) for i in range(1000))
    )
    turns = itertools.count()
    while True:  # until the budget is spent, a few at a time
        before = len(used)
        turn = next(turns)
        refused = await asyncio.gather(
            *(request(under_test, f"{name}-{turn}-{i}-x", used, rng) for i in range(20))
        )
        if len(used) == before and Resource.CONCURRENCY not in refused:
            break
    await under_test.lifecycle.aclose()
    print(len(used), sum(used))

asyncio.run(main(*sys.argv[1:]))
"""


async def test_two_processes_spend_a_budget_to_its_end_and_never_beyond(redis_server: RedisServer):
    prefix = new_prefix()
    gateways = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", _GATEWAY, redis_server.url, prefix, name),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
        )
        for name in ("one", "two")
    ]
    reports = await asyncio.gather(*(gateway.communicate() for gateway in gateways))
    assert [gateway.returncode for gateway in gateways] == [0, 0]
    counts, sums = zip(*(map(int, out.split()) for out, _ in reports), strict=True)

    under_test = StoreUnderTest(RedisStore(redis_server.url, prefix=prefix, timeout_s=10.0))
    key, team = await under_test.store.counters.standing([KEY, TEAM])
    await under_test.lifecycle.aclose()
    assert min(counts) > 0
    assert key.budgets[0].spent_nusd == team.budgets[0].spent_nusd == sum(sums)
    assert LIMIT_NUSD - RESERVE_NUSD < key.budgets[0].spent_nusd <= LIMIT_NUSD
    assert (key.in_flight, team.in_flight) == (0, 0)
    assert key.budgets[0].reserved_nusd == team.budgets[0].reserved_nusd == 0
