"""What every store of jobs promises: records of an owner, parts in order, leases, and fences."""

import asyncio
from pathlib import Path

import pytest

from app.stores.jobs import Fence, JobRecord
from app.stores.memory import MemoryStore
from app.stores.redis import RedisStore
from tests.support.redis_server import until
from tests.support.stores import FakeClock, new_prefix

LEASE_S = 0.3


@pytest.fixture(params=["memory", "sqlite", "redis"])
async def store(request: pytest.FixtureRequest, tmp_path: Path):
    if request.param == "redis":
        server = request.getfixturevalue("redis_server")
        lifecycle = RedisStore(server.url, prefix=new_prefix(), timeout_s=5.0, jobs=True)
    else:
        lifecycle = MemoryStore(tmp_path if request.param == "sqlite" else None, jobs=True)
    await lifecycle.open()
    yield lifecycle.store.jobs
    await lifecycle.aclose()


def record(record_id, *, owner="one", created_at=1.0, is_open=False, value=b"{}"):
    return JobRecord(
        kind="thing",
        record_id=record_id,
        owner=owner,
        created_at=created_at,
        is_open=is_open,
        value=value,
    )


async def put(store, *records, **options):
    return [await store.put(each, lifetime_s=60, **options) for each in records]


async def test_a_record_is_found_replaced_and_forgotten(store):
    first = record("a", value=b"\x00\xff")
    await put(store, first)
    assert await store.get("thing", "a") == first
    assert await store.get("other", "a") is None
    again = record("a", value=b"more", is_open=True)
    await put(store, again)
    assert await store.get("thing", "a") == again
    await store.remove("thing", "a")
    await store.remove("thing", "a")
    assert await store.get("thing", "a") is None
    assert await store.of_owner("thing", "one") == ()
    assert await store.open_ids("thing") == ()


async def test_records_of_an_owner_come_latest_first_and_nobody_elses(store):
    mine = [record(f"r{n}", created_at=1_796_000_000.25 + n) for n in range(5)]
    await put(store, *mine, record("theirs", owner="two", created_at=9.0))
    assert await store.of_owner("thing", "one") == tuple(mine[::-1])
    assert [each.record_id for each in await store.of_owner("thing", "two")] == ["theirs"]
    assert await store.of_owner("thing", "three") == ()


async def test_what_is_open_is_listed_oldest_first_until_it_is_closed(store):
    await put(
        store,
        record("late", created_at=3.0, is_open=True),
        record("early", created_at=2.0, is_open=True),
        record("closed", created_at=1.0),
    )
    assert await store.open_ids("thing") == ("early", "late")
    await put(store, record("early", created_at=2.0))
    assert await store.open_ids("thing") == ("late",)


async def test_parts_are_kept_by_number(store):
    await store.put_parts("box", {2: b"two", 0: b"", 10: b"\xff\x00"}, lifetime_s=60)
    await store.put_parts("box", {2: b"other"}, lifetime_s=60)
    assert await store.numbers("box") == (0, 2, 10)
    assert await store.parts("box", (10, 1, 2, 0)) == [b"\xff\x00", None, b"other", b""]
    assert await store.parts("box", ()) == []
    await store.drop("box")
    assert await store.numbers("box") == ()


async def test_many_parts_are_read_together(store):
    parts = {n: str(n).encode() for n in range(1_200)}
    await store.put_parts("box", parts, lifetime_s=60)
    assert await store.parts("box", range(1_200)) == list(parts.values())


async def test_of_many_who_want_a_lease_one_gets_it(store):
    wanted = await asyncio.gather(*(store.hold("a", f"p{n}", lease_s=60) for n in range(20)))
    assert wanted.count(True) == 1
    holder = f"p{wanted.index(True)}"
    assert await store.hold("a", holder, lease_s=60)
    assert await store.hold("b", "p99", lease_s=60)
    await store.let_go("a", "somebody else")
    assert not await store.hold("a", "somebody else", lease_s=60)
    await store.let_go("a", holder)
    assert await store.hold("a", "somebody else", lease_s=60)


async def test_a_lease_that_is_not_renewed_ends(store):
    assert await store.hold("a", "dead", lease_s=LEASE_S)

    async def is_free():
        return await store.hold("a", "alive", lease_s=60)

    await until(is_free)
    assert not await store.hold("a", "dead", lease_s=LEASE_S)


async def test_who_does_not_hold_the_lease_writes_nothing(store):
    await store.hold("a", "alive", lease_s=60)
    good, bad, none = Fence("a", "alive"), Fence("a", "dead"), Fence("b", "alive")
    assert await put(store, record("r"), fence=good) == [True]
    assert await store.put_parts("box", {0: b"good"}, lifetime_s=60, fence=good)
    for fence in (bad, none):
        assert await put(store, record("r", value=b"bad"), fence=fence) == [False]
        assert not await store.put_parts("box", {0: b"bad", 1: b""}, lifetime_s=60, fence=fence)
    assert (await store.get("thing", "r")).value == b"{}"
    assert await store.parts("box", (0, 1)) == [b"good", None]


async def test_everything_ends_with_its_lifetime(store):
    await store.put(record("short", is_open=True), lifetime_s=LEASE_S)
    await put(store, record("long"))
    assert (await store.of_owner("thing", "one"))[0].record_id

    async def is_gone():
        return await store.get("thing", "short") is None

    await until(is_gone)
    assert [each.record_id for each in await store.of_owner("thing", "one")] == ["long"]


async def test_what_is_on_the_disk_survives_and_the_leases_of_the_dead_do_not(tmp_path):
    for holder in ("first", "second"):
        lifecycle = MemoryStore(tmp_path, exclusive=True, jobs=True)
        await lifecycle.open()
        jobs = lifecycle.store.jobs
        assert await jobs.hold("a", holder, lease_s=3600)
        if holder == "first":
            await put(jobs, record("r", is_open=True))
            await jobs.put_parts("box", {0: b"part"}, lifetime_s=60)
        assert await jobs.open_ids("thing") == ("r",)
        assert await jobs.parts("box", (0,)) == [b"part"]
        await lifecycle.aclose()


async def test_what_is_over_leaves_the_disk(tmp_path):
    clock = FakeClock()
    lifecycle = MemoryStore(tmp_path, clock=clock, jobs=True)
    await lifecycle.open()
    jobs = lifecycle.store.jobs
    await put(jobs, record("r", is_open=True))
    await jobs.put_parts("box", {0: b"part"}, lifetime_s=60)
    await clock.pass_time(3600)
    assert await jobs.open_ids("thing") == ()
    assert await jobs.numbers("box") == ()
    await lifecycle.aclose()
