"""What the shared store leaves on a server: all of it has an end, and nothing is in it twice."""

import asyncio

import pytest
from redis import Redis

from app.stores.bounds import AnswerBounds
from app.stores.claims import KEEP_SPENT_S, LATE_S, BudgetLimit, Claim, ScopeKind
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
        names = {*client.keys(f"{{{prefix}[:}}]*"), *client.keys(f"{prefix}:*")}
        return {name: client.pttl(name) for name in names}


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
    lost, _ = await under_test.admitted(claim, lifetime_s=0.01)
    await under_test.settle(settled, [claim], tokens=20, cost_nusd=5)
    await under_test.pass_time(0.02)
    running, _ = await under_test.admitted(claim, lifetime_s=30.0)
    await under_test.store.blobs.put("name", b"value", lifetime_s=9.0)
    await under_test.store.registers.replace(
        "name", b"value", version="1", after=None, lifetime_s=9.0
    )
    await under_test.store.keys.save(key_record("k"))
    lifetimes = lifetimes_ms(redis_server, prefix)
    assert lifetimes.pop(f"{{{prefix}:keys}}") == -1
    tag = f"{{{prefix}}}"
    scope = f"{tag}:s:{claim.scope}"
    records = {f"{tag}:r:{lost}", f"{tag}:r:{running}"}
    others = {f"{prefix}:blob:name", f"{{{prefix}:registers}}:name"}
    assert set(lifetimes) == {*records, f"{tag}:due", scope, *others}
    assert all(lifetime > 0 for lifetime in lifetimes.values())
    # No later, shorter-lived request shortens what an earlier one needs.
    assert lifetimes[f"{tag}:due"] > 1000 * (600.0 + LATE_S - 5.0)
    # An account of money outlives its period, and is not kept much longer.
    over = 1000 * (100.0 + KEEP_SPENT_S)
    assert over - 5000 < lifetimes[scope] < over + 1000 * LATE_S


async def test_what_is_counted_outlives_every_claim_on_it(redis_server, under_test, prefix):
    claim = Claim(scope=new_scope(), concurrent_requests=9)
    requests = [
        (await under_test.admitted(claim, lifetime_s=lifetime_s))[0]
        for lifetime_s in (5.0, 3000.0, 60.0)
    ]
    lifetimes = lifetimes_ms(redis_server, prefix)
    of_claims = [lifetimes[f"{{{prefix}}}:r:{request_id}"] for request_id in requests]
    assert of_claims[1] > 1000 * (3000.0 + LATE_S - 5.0)
    for name in ("due", f"s:{claim.scope}"):
        assert lifetimes[f"{{{prefix}}}:{name}"] >= max(of_claims)


async def test_what_is_left_of_a_request_has_a_lifetime_too(redis_server, under_test, prefix):
    claims = [Claim(scope=new_scope(), concurrent_requests=5) for _ in range(3)]
    request_id, _ = await under_test.admitted(*claims[:2], lifetime_s=60.0)
    await under_test.settle(request_id, claims[:1])  # all that was due is gone for a moment
    assert lifetimes_ms(redis_server, prefix)[f"{{{prefix}}}:due"] > 1000 * LATE_S
    await under_test.admitted(claims[2], lifetime_s=0.01, request_id=request_id)
    await under_test.pass_time(0.02)
    await under_test.standing(claims[0])
    lifetimes = lifetimes_ms(redis_server, prefix)
    assert len(lifetimes) == 3
    assert min(lifetimes.values()) > 1000 * LATE_S
    await under_test.settle(request_id, claims)
    assert lifetimes_ms(redis_server, prefix) == {}


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
    # Settled within the hour it is still booked; after that Redis itself forgets it.
    record = f"{{{prefix}}}:r:{lost}"
    assert 0 < 1000 * LATE_S - redis_server.command("PTTL", record) < 5000
    assert redis_server.command("ZCARD", f"{{{prefix}}}:due") == 0
    redis_server.command("PEXPIRE", record, 1)
    await under_test.pass_time(0.01)
    await under_test.settle(lost, [claim], tokens=1, cost_nusd=1)
    assert lifetimes_ms(redis_server, prefix) == {}


async def test_accounts_of_periods_long_over_are_forgotten(redis_server, under_test, prefix):
    scope = new_scope()
    for day in range(1, 6):
        over = BudgetLimit(period_id=f"day:{day}", limit_nusd=100, ends_in_s=0.2 - KEEP_SPENT_S)
        if day == 5:
            await under_test.pass_time(0.21)
        claim = Claim(scope=scope, budgets=(over,), reserve_nusd=1)
        request_id, _ = await under_test.admitted(claim)
        await under_test.settle(request_id, [claim], cost_nusd=3)
    with Redis(port=redis_server.port, protocol=2) as client:
        state = client.get(f"{{{prefix}}}:s:{scope}")
    assert [day for day in range(1, 6) if b"day:%d" % day in state] == [5]


async def test_a_request_is_one_script_before_and_one_after_however_many_scopes(
    redis_server, under_test
):
    claims = [
        Claim(
            scope=new_scope(kind),
            requests_per_minute=100,
            tokens_per_minute=1000,
            concurrent_requests=5,
            budgets=(budget(1000),),
            tokens=10,
            reserve_nusd=10,
        )
        for kind in ScopeKind
    ]
    request_id, _ = await under_test.admitted(*claims)  # Redis may not know the scripts yet
    await under_test.settle(request_id, claims, tokens=9, cost_nusd=9)
    redis_server.command("CONFIG", "RESETSTAT")
    request_id, _ = await under_test.admitted(*claims)
    await under_test.settle(request_id, claims, tokens=9, cost_nusd=9)
    with redis_server.client() as client:
        calls = {
            name.removeprefix("cmdstat_"): each["calls"]
            for name, each in client.info("commandstats").items()
        }
    assert calls.pop("evalsha") == 2
    # Two reads; of each scope, one write before and after; of the request, eight commands more.
    assert (calls.pop("mget"), calls.pop("set")) == (2, 2 * len(claims) + 1)
    ours = ("time", "zrange", "zadd", "pexpire", "pttl", "del", "zrem")
    assert sum(calls.pop(name, 0) for name in ours) == 7
    assert {name.partition("|")[0] for name in calls} <= {"config", "client", "info", "select"}


async def test_small_values_travel_with_the_counters_and_answers_beside_them(redis_server, prefix):
    url = f"{redis_server.url}?client_name={prefix}-traveller"
    under_test = StoreUnderTest(RedisStore(url, prefix=prefix, timeout_s=5.0))

    def n_connections() -> int:
        return str(redis_server.command("CLIENT", "LIST")).count(f"name={prefix}-traveller ")

    claim = Claim(scope=new_scope(), concurrent_requests=1)
    request_id, _ = await under_test.admitted(claim)
    await asyncio.gather(
        under_test.store.blobs.put("small", b"x" * 100, lifetime_s=9.0),
        under_test.settle(request_id, [claim]),
    )
    assert n_connections() == 1
    await under_test.store.answers.put("large", b"x" * 10_000, lifetime_s=9.0, owner="key-1")
    assert n_connections() == 2
    assert await under_test.store.blobs.get("small") == b"x" * 100
    assert await under_test.store.answers.get("large") == b"x" * 10_000
    await under_test.lifecycle.aclose()


async def test_answers_are_counted_exactly_and_leave_nothing_behind(redis_server, prefix):
    bounds = AnswerBounds(bytes=200_000, bytes_per_key=100_000)
    under_test = StoreUnderTest(
        RedisStore(redis_server.url, prefix=prefix, timeout_s=5.0, answer_bounds=bounds)
    )
    answers = under_test.store.answers
    tag = f"{{{prefix}:answers}}"

    def sums() -> dict[str, int]:
        with redis_server.client() as client:
            return {name: int(n) for name, n in client.hgetall(f"{tag}:sums").items()}

    await asyncio.gather(
        *(
            answers.put(f"{owner}-{i % 9}", bytes(1000 * i), lifetime_s=30.0, owner=owner)
            for i in range(40)
            for owner in ("key-1", "key-2", "")
        )
    )
    with redis_server.client() as client:
        values = {name: client.strlen(name) for name in client.keys(f"{tag}:v:*")}
        assert client.zcard(f"{tag}:due") == client.hlen(f"{tag}:sizes") == len(values)
    counted = sums()
    assert counted.pop("all") == sum(counted.values()) <= bounds.bytes
    assert counted["of:key-1"] <= bounds.bytes_per_key
    extra = (sum(counted.values()) - sum(values.values())) / len(values)
    assert extra == 600
    assert all(lifetime > 0 for lifetime in lifetimes_ms(redis_server, prefix).values())
    # What is over is counted no more once another one comes.
    for owner in ("key-1", "key-2", ""):
        for i in range(9):
            await answers.put(f"{owner}-{i}", b"", lifetime_s=0.01, owner=owner)
    await under_test.pass_time(0.02)
    await answers.put("last", b"1234", lifetime_s=30.0, owner="key-1")
    assert sums() == {"all": 604, "of:key-1": 604}
    await under_test.lifecycle.aclose()


async def test_all_keys_are_listed_however_many_there_are(under_test):
    for i in range(1200):
        await under_test.store.keys.save(key_record(f"n{i}", created_at=float(i)))
    assert [key.name for key in await under_test.store.keys.all()] == [f"n{i}" for i in range(1200)]
