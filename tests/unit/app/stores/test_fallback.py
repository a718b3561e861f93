"""What a process does alone, on a shared store that fails when told to."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from functools import partial

import msgspec
import pytest

from app.stores.base import Lifecycle, Store, StoreError, StoreNotAskedError, UnusableValueError
from app.stores.claims import Claim
from app.stores.fallback import FallbackStore
from app.stores.key_cache import KeyTimes
from app.stores.memory import MemoryStore
from app.stores.watch import StoreEvents
from tests.support.flaky import Flaky
from tests.support.stores import FakeClock, StoreUnderTest, budget, key_record, new_scope


class FlakyStore:
    """A store in memory, every part of which is flaky."""

    def __init__(self, clock: FakeClock) -> None:
        self.memory: Lifecycle = MemoryStore(None, clock=clock)
        store = self.memory.store
        self.counters, self.keys = Flaky(store.counters), Flaky(store.keys)
        self.blobs, self.answers = Flaky(store.blobs), Flaky(store.answers)
        self.registers = Flaky(store.registers)
        self.store: Store = dataclasses.replace(
            store,
            shared=True,
            counters=self.counters,
            keys=self.keys,
            blobs=self.blobs,
            answers=self.answers,
            registers=self.registers,
        )
        self.is_open = False

    async def open(self) -> None:
        """Open."""
        self.is_open = True

    async def healthy(self) -> bool:
        """Return whether it is open."""
        return self.is_open

    async def aclose(self) -> None:
        """Close."""
        self.is_open = False


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def shared(clock: FakeClock) -> FlakyStore:
    return FlakyStore(clock)


@pytest.fixture
async def alone(shared: FlakyStore, clock: FakeClock) -> AsyncIterator[StoreUnderTest]:
    times = KeyTimes(fresh_s=10.0, grace_s=300.0, unknown_s=3.0, max_keys=5)
    lifecycle = FallbackStore(shared, clock=clock, key_times=times)
    await lifecycle.open()
    yield StoreUnderTest(lifecycle, clock.pass_time)
    await lifecycle.aclose()


async def test_a_known_key_is_not_asked_for_again_until_it_is_stale(shared, alone):
    record = key_record("a")
    await shared.memory.store.keys.save(record)
    for _ in range(3):
        assert await alone.store.keys.find(record.digest) == record
    assert shared.keys.calls == ["find"]
    revoked = key_record("a", revoked_at=1.0)
    await shared.memory.store.keys.save(revoked)
    await alone.pass_time(9.9)
    assert await alone.store.keys.find(record.digest) == record
    await alone.pass_time(0.2)
    assert await alone.store.keys.find(record.digest) == revoked


async def test_an_unknown_key_is_not_asked_for_again_for_a_few_seconds(shared, alone):
    record = key_record("a")
    for _ in range(3):
        assert await alone.store.keys.find(record.digest) is None
    assert shared.keys.calls == ["find"]
    await shared.memory.store.keys.save(record)
    await alone.pass_time(3.1)
    assert await alone.store.keys.find(record.digest) == record


async def test_a_key_saved_here_is_known_here_at_once(shared, alone):
    record = key_record("a")
    assert await alone.store.keys.find(record.digest) is None
    await alone.store.keys.save(record)
    assert await alone.store.keys.find(record.digest) == record
    revoked = key_record("a", revoked_at=1.0)
    await alone.store.keys.save(revoked)
    assert await alone.store.keys.find(record.digest) == revoked
    assert await alone.store.keys.all() == (revoked,)


async def test_a_key_whose_saving_failed_is_not_believed_until_it_is_asked_for(shared, alone):
    record, revoked = key_record("a"), key_record("a", revoked_at=1.0)
    await alone.store.keys.save(record)
    shared.keys.after = StoreError("timed out after it was done")
    with pytest.raises(StoreError):
        await alone.store.keys.save(revoked)
    with pytest.raises(StoreError):
        await alone.store.keys.find(record.digest)
    shared.keys.after = None
    assert await alone.store.keys.find(record.digest) == revoked


async def test_keys_that_were_removed_are_forgotten_when_stale(shared, alone):
    record = key_record("a")
    await alone.store.keys.save(record)
    shared.memory.store.keys._records.clear()
    await alone.pass_time(10.1)
    assert await alone.store.keys.find(record.digest) is None
    shared.keys.before = StoreError("down")
    await alone.pass_time(3.1)
    with pytest.raises(StoreError):
        await alone.store.keys.find(record.digest)


async def test_known_and_unknown_keys_are_bounded_in_number(shared, alone):
    for i in range(20):
        await shared.memory.store.keys.save(key_record(f"{i}"))
        await alone.store.keys.find(key_record(f"{i}").digest)
        await alone.store.keys.find(f"unknown-{i}")
    cached = alone.store.keys
    assert (len(cached._known), len(cached._unknown)) == (5, 5)


async def test_listing_keys_needs_the_shared_store(shared, alone):
    shared.keys.before = StoreError("down")
    with pytest.raises(StoreError):
        await alone.store.keys.all()


async def test_a_claim_that_certainly_was_not_taken_is_not_owed(shared, alone):
    claim = Claim(scope=new_scope(), requests_per_minute=5)
    shared.counters.before = StoreNotAskedError("circuit is open")
    request_id, _ = await alone.admitted(claim)
    assert alone.lifecycle.owed == 0
    await alone.settle(request_id, [claim])
    assert alone.lifecycle.owed == 0
    assert "settle" not in shared.counters.calls


async def test_a_claim_taken_on_both_sides_is_settled_on_both(shared, alone):
    claim = Claim(scope=new_scope(), tokens_per_minute=1000, concurrent_requests=5, tokens=100)
    shared.counters.after = StoreError("timed out after it was done")
    request_id, _ = await alone.admitted(claim)
    await alone.settle(request_id, [claim], tokens=700)
    shared.counters.after = None
    await alone.lifecycle._counters.pay()
    assert alone.lifecycle.owed == 0
    (standing,) = await shared.memory.store.counters.standing([claim])
    assert (standing.in_flight, standing.tokens.remaining) == (0, 300)


async def test_a_settlement_that_was_cancelled_is_paid_all_the_same(shared, alone):
    claim = Claim(scope=new_scope(), budgets=(budget(1000),), reserve_nusd=10)
    request_id, _ = await alone.admitted(claim)
    shared.counters.hangs = True
    task = asyncio.create_task(alone.settle(request_id, [claim], cost_nusd=70))
    while "settle" not in shared.counters.calls:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    shared.counters.hangs = False
    await alone.lifecycle._counters.pay()
    (standing,) = (await alone.standing(claim)).budgets
    assert (standing.spent_nusd, standing.reserved_nusd) == (70, 0)


async def test_a_refused_request_that_is_settled_all_the_same_costs_what_it_used(shared, alone):
    claim = Claim(scope=new_scope(), budgets=(budget(1000),), reserve_nusd=10)
    shared.counters.after = StoreError("timed out after it was done")
    with pytest.raises(StoreError):
        await alone.admit(claim, request_id="req-unheard")
    shared.counters.after = None
    await alone.settle("req-unheard", [claim], cost_nusd=70)
    await alone.lifecycle._counters.pay()
    (standing,) = (await alone.standing(claim)).budgets
    assert (standing.spent_nusd, standing.reserved_nusd) == (70, 0)


async def test_settlements_that_are_always_refused_do_not_stand_before_others(shared, alone):
    claim = Claim(scope=new_scope(), budgets=(budget(10**6),), reserve_nusd=1)
    requests = [(await alone.admitted(claim))[0] for _ in range(250)]
    shared.counters.before = StoreError("down")
    for request_id in requests:
        await alone.settle(request_id, [claim], cost_nusd=1)
    shared.counters.before = None
    shared.counters.refused = frozenset(requests[:200])
    for _ in range(3):
        await alone.lifecycle._counters.pay()
    assert (await alone.standing(claim)).budgets[0].spent_nusd == 50
    assert alone.lifecycle.owed == 200
    shared.counters.refused = frozenset()
    await alone.lifecycle._counters.pay()
    assert (await alone.standing(claim)).budgets[0].spent_nusd == 250


async def test_a_settlement_that_breaks_the_store_is_counted_and_raises_nothing(shared, clock):
    lost = []
    events = StoreEvents(lost=lambda what, n: lost.append((what, n)))
    lifecycle = FallbackStore(shared, clock=clock, events=events)
    await lifecycle.open()
    alone = StoreUnderTest(lifecycle, clock.pass_time)
    claim = Claim(scope=new_scope(), budgets=(budget(1000),), reserve_nusd=1)
    for error in (UnusableValueError("no text"), OverflowError("not a StoreError")):
        request_id, _ = await alone.admitted(claim)
        shared.counters.before = error
        await alone.settle(request_id, [claim], cost_nusd=1)
        shared.counters.before = None
    assert lost == [("settlements", 1)] * 2
    assert lifecycle.owed == 0
    await lifecycle.aclose()


async def test_what_is_owed_is_bounded_and_what_is_lost_is_said(shared, clock, caplog):
    lifecycle = FallbackStore(shared, clock=clock, max_owed=3)
    await lifecycle.open()
    alone = StoreUnderTest(lifecycle, clock.pass_time)
    claim = Claim(scope=new_scope(), budgets=(budget(1000),), reserve_nusd=1)
    requests = [(await alone.admitted(claim))[0] for _ in range(5)]
    shared.counters.before = StoreError("down")
    for request_id in requests:
        await alone.settle(request_id, [claim], cost_nusd=1)
    assert lifecycle.owed == 3
    await lifecycle.aclose()
    messages = [record.message for record in caplog.records if record.levelname == "ERROR"]
    assert len([message for message in messages if "too much is owed" in message]) == 2
    assert "store: what 3 requests used is lost" in messages
    assert not await lifecycle.healthy()


async def test_a_request_without_limits_does_not_need_the_shared_store(shared, alone):
    shared.counters.before = StoreError("down")
    await alone.admitted(Claim(scope=new_scope(), tokens=5))
    assert shared.counters.calls == []


async def test_where_limits_stand_is_told_locally_but_budgets_are_not_guessed(shared, alone):
    claim = Claim(scope=new_scope(), requests_per_minute=10)
    shared.counters.before = StoreNotAskedError("down")
    await alone.admitted(claim)
    assert (await alone.standing(claim)).requests.remaining == 9
    with pytest.raises(StoreError):
        await alone.standing(msgspec.structs.replace(claim, budgets=(budget(10),)))


async def test_of_registers_somebody_is_told_what_the_shared_store_does(shared, clock):
    told = []
    events = StoreEvents(failed=lambda *what: told.append(what))
    registers = FallbackStore(shared, clock=clock, events=events).store.registers
    put = partial(registers.replace, "name", b"1", version="a", after=None, lifetime_s=60.0)
    assert await put()
    assert await registers.version("name") == "a"
    shared.registers.before = StoreError("gone")
    for call in (put, partial(registers.version, "name"), partial(registers.read, "name")):
        with pytest.raises(StoreError):
            await call()
    assert told == [("put_lessons", "lessons"), *[("read_lessons", "lessons")] * 2]
    shared.registers.before = None
    assert await registers.read("name") == ("a", b"1")
