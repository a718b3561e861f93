"""What the shared store leaves on a server: all of it has an end, and nothing is in it twice."""

import pytest

from app.stores._base import KEEP_SPENT_S, LATE_S, Claim
from app.stores.redis import RedisStore
from tests.support.redis_server import RedisServer
from tests.support.stores import StoreUnderTest, budget, key_record, new_prefix, new_scope


@pytest.fixture
def prefix() -> str:
    return new_prefix()


@pytest.fixture
async def under_test(redis_server: RedisServer, prefix: str):
    lifecycle = RedisStore(redis_server.url, prefix=prefix, timeout_s=5.0)
    yield StoreUnderTest(lifecycle)
    await lifecycle.aclose()


def lifetimes_ms(server: RedisServer, prefix: str) -> dict[str, int]:
    with server.client() as client:
        return {name: client.pttl(name) for name in client.keys(f"*{prefix}:*")}


async def test_everything_but_the_keys_has_a_lifetime(redis_server, under_test, prefix):
    claim = Claim(
        scope=new_scope(),
        requests_per_minute=100,
        tokens_per_minute=1000,
        concurrent_requests=5,
        budgets=(budget(1000, ends_in_s=100.0),),
        tokens=10,
        reserve_nusd=10,
    )
    settled, _ = await under_test.admitted(claim, lifetime_s=600.0)
    await under_test.admitted(claim, lifetime_s=0.01)
    await under_test.settle(settled, [claim], tokens=20, cost_nusd=5)
    await under_test.pass_time(0.02)
    await under_test.admitted(claim, lifetime_s=30.0)
    await under_test.store.blobs.put("name", b"value", lifetime_s=9.0)
    await under_test.store.keys.save(key_record("k"))
    lifetimes = lifetimes_ms(redis_server, prefix)
    assert lifetimes.pop(f"{{{prefix}:keys}}") == -1
    tag = f"{{{prefix}:{claim.scope}}}"
    names = {f"{tag}:{part}" for part in ("state", "flight", "claims", "late")}
    spend = f"{tag}:spend:{claim.budgets[0].period_id}"
    assert set(lifetimes) == {*names, spend, f"{prefix}:blob:name"}
    assert all(lifetime > 0 for lifetime in lifetimes.values())
    # No later, shorter-lived request shortens what an earlier one needs.
    assert lifetimes[f"{tag}:claims"] > 1000 * (600.0 + LATE_S - 5.0)
    assert lifetimes[f"{tag}:state"] > 1000 * (600.0 + LATE_S - 5.0)
    assert 0 < 1000 * (100.0 + KEEP_SPENT_S) - lifetimes[spend] < 5000


async def test_settled_requests_leave_nothing_behind(redis_server, under_test, prefix):
    claim = Claim(scope=new_scope(), concurrent_requests=5, budgets=(budget(100),), reserve_nusd=1)
    for _ in range(50):
        request_id, _ = await under_test.admitted(claim)
        await under_test.settle(request_id, [claim])
    assert lifetimes_ms(redis_server, prefix) == {}


async def test_claims_nobody_settled_are_forgotten_in_the_end(redis_server, under_test, prefix):
    claim = Claim(scope=new_scope(), concurrent_requests=5)
    lost, _ = await under_test.admitted(claim, lifetime_s=0.01)
    await under_test.pass_time(0.02)
    assert (await under_test.standing(claim)).in_flight == 0
    tag = f"{{{prefix}:{claim.scope}}}"
    assert redis_server.command("HKEYS", f"{tag}:claims") == [lost]
    redis_server.command("ZADD", f"{tag}:late", "XX", 1, lost)  # as if the hour were over
    await under_test.standing(claim)
    assert redis_server.command("HKEYS", f"{tag}:claims") == []
    assert redis_server.command("EXISTS", f"{tag}:late") == 0


async def test_all_keys_are_listed_however_many_there_are(under_test):
    for i in range(1200):
        await under_test.store.keys.save(key_record(f"n{i}", created_at=float(i)))
    assert [key.name for key in await under_test.store.keys.all()] == [f"n{i}" for i in range(1200)]
