"""The embedded store forgets what is over and stays small."""

import pytest

from app.stores.claims import LATE_S, Claim, Resource, Scope, ScopeKind
from app.stores.memory import MemoryCounters, MemoryStore
from app.stores.memory_blobs import MemoryBlobs
from tests.support.stores import FakeClock, StoreUnderTest, budget, new_scope


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def under_test(clock: FakeClock) -> StoreUnderTest:
    return StoreUnderTest(MemoryStore(None, clock=clock), clock.pass_time)


async def touch(under_test: StoreUnderTest, times: int) -> None:
    """Let the sweep come by."""
    claim = Claim(scope=Scope(ScopeKind.GATEWAY), requests_per_minute=10**9)
    for _ in range(times):
        request_id, _ = await under_test.admitted(claim)
        await under_test.settle(request_id, [claim])


async def test_scopes_that_are_idle_are_forgotten(clock, under_test):
    counters: MemoryCounters = under_test.store.counters
    for _ in range(500):
        claim = Claim(scope=new_scope(), requests_per_minute=1, concurrent_requests=1)
        request_id, _ = await under_test.admitted(claim)
        await under_test.settle(request_id, [claim])
    assert len(counters) == 500
    clock.now += 61.0
    await touch(under_test, 600)
    assert len(counters) == 1


async def test_scopes_that_still_matter_are_kept(clock, under_test):
    counters: MemoryCounters = under_test.store.counters
    limited = Claim(scope=new_scope(), requests_per_minute=1)
    request_id, _ = await under_test.admitted(limited, lifetime_s=10**6)
    await under_test.settle(request_id, [limited])
    running = Claim(scope=new_scope(), concurrent_requests=1)
    await under_test.admitted(running, lifetime_s=10**6)
    paying = Claim(scope=new_scope(), budgets=(budget(100, ends_in_s=1000.0),))
    request_id, _ = await under_test.admitted(paying)
    await under_test.settle(request_id, [paying], cost_nusd=100)
    clock.now += 30.0
    await touch(under_test, 20)
    for claim in (limited, running, paying):
        await under_test.refused(claim)
    clock.now += 1000.0 + 86_400.0
    await touch(under_test, 20)
    assert len(counters) == 2


async def test_a_claim_nobody_settles_is_forgotten_in_the_end(clock, under_test):
    claim = Claim(scope=new_scope(), concurrent_requests=1, budgets=(budget(100),))
    lost, _ = await under_test.admitted(claim, lifetime_s=10.0)
    clock.now += 10.0 + LATE_S - 1.0
    assert (await under_test.standing(claim)).in_flight == 0
    clock.now += 2.0
    await under_test.settle(lost, [claim], cost_nusd=5)
    assert (await under_test.standing(claim)).budgets[0].spent_nusd == 0


async def test_deadlines_of_settled_requests_do_not_pile_up(under_test):
    claim = Claim(scope=new_scope(), concurrent_requests=10)
    for _ in range(5000):
        request_id, _ = await under_test.admitted(claim, lifetime_s=3600.0)
        await under_test.settle(request_id, [claim])
    (account,) = under_test.store.counters._accounts.values()
    assert len(account._deadlines) < 100


async def test_a_clock_that_is_set_back_neither_gives_nor_blocks(clock, under_test):
    claim = Claim(scope=new_scope(), requests_per_minute=60)
    for _ in range(60):
        await under_test.admitted(claim)
    clock.now -= 3600.0
    await under_test.refused(claim)
    clock.now += 1.001
    await under_test.admitted(claim)
    await under_test.refused(claim)


async def test_blobs_are_bounded_in_number_the_least_used_goes_first(clock):
    blobs = MemoryBlobs(clock=clock, max_entries=3)
    for name in "abc":
        await blobs.put(name, b"x", lifetime_s=60.0)
    await blobs.get("a")
    await blobs.put("d", b"x", lifetime_s=60.0)
    assert [await blobs.get(name) for name in "abcd"] == [b"x", None, b"x", b"x"]
    assert len(blobs) == 3


async def test_blobs_are_bounded_in_bytes(clock):
    blobs = MemoryBlobs(clock=clock, max_bytes=100)
    for i in range(50):
        await blobs.put(str(i), bytes(30), lifetime_s=60.0)
    assert len(blobs) == 3
    await blobs.put("49", bytes(101), lifetime_s=60.0)
    assert await blobs.get("49") is None
    await blobs.put("new", bytes(100), lifetime_s=60.0)
    assert len(blobs) == 1


@pytest.mark.parametrize("jump_s", [7200.0, -7200.0, 86_400.0, -86_400.0, 1e9])
async def test_a_clock_that_is_set_while_a_request_runs_costs_no_booking(tmp_path, jump_s):
    wall, steady = FakeClock(), FakeClock(5.0)
    store = MemoryStore(tmp_path, clock=wall, steady=steady)
    await store.open()
    under_test = StoreUnderTest(store, steady.pass_time)
    claim = Claim(
        scope=new_scope(), concurrent_requests=1, budgets=(budget(1000),), reserve_nusd=500
    )
    request_id, _ = await under_test.admitted(claim)
    wall.now += jump_s
    # It neither expires nor is forgotten, and its place is taken until it is settled.
    assert (await under_test.refused(claim)).resource is Resource.CONCURRENCY
    for _ in range(2):
        await under_test.settle(request_id, [claim], cost_nusd=300)
    standing = await under_test.standing(claim)
    assert standing.in_flight == 0
    assert (standing.budgets[0].spent_nusd, standing.budgets[0].reserved_nusd) == (300, 0)
    await store.aclose()
    again = MemoryStore(tmp_path, clock=wall, steady=FakeClock(1.0))
    await again.open()
    (spent,) = (await StoreUnderTest(again).standing(claim)).budgets
    assert spent.spent_nusd == 300
    await again.aclose()


async def test_a_clock_that_is_set_leaves_rates_and_values_alone():
    wall, steady = FakeClock(), FakeClock(5.0)
    under_test = StoreUnderTest(MemoryStore(None, clock=wall, steady=steady), steady.pass_time)
    claim = Claim(scope=new_scope(), requests_per_minute=1)
    await under_test.admitted(claim)
    await under_test.store.blobs.put("name", b"value", lifetime_s=60.0)
    for jump_s in (7200.0, -14_400.0):
        wall.now += jump_s
        await under_test.refused(claim)
        assert await under_test.store.blobs.get("name") == b"value"
    await under_test.pass_time(61.0)
    await under_test.admitted(claim)
    assert await under_test.store.blobs.get("name") is None
