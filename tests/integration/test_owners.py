"""What a dead process claims in the shared store is given back at once, and only that."""

import threading
from contextlib import AsyncExitStack

import pytest

from app.stores.claims import Claim
from app.stores.fallback import FallbackStore
from app.stores.owners import Releaser, new_run, owner_of
from app.stores.redis import RedisStore
from tests.support.redis_server import RedisServer
from tests.support.stores import StoreUnderTest, budget, new_prefix, new_scope


@pytest.fixture
async def connect(redis_server):
    prefix = new_prefix()
    async with AsyncExitStack() as stack:

        def connect(owner: str) -> StoreUnderTest:
            lifecycle = RedisStore(redis_server.url, prefix=prefix, timeout_s=5.0, owner=owner)
            stack.push_async_callback(lifecycle.aclose)
            return StoreUnderTest(lifecycle)

        yield connect


def a_claim(limit: int = 1000) -> Claim:
    return Claim(
        scope=new_scope(),
        concurrent_requests=limit,
        budgets=(budget(10**9),),
        tokens_per_minute=10**9,
        tokens=7,
        reserve_nusd=100,
    )


async def test_a_dead_process_gives_back_all_it_claims_and_others_keep_theirs(connect):
    run, other_run = new_run(), new_run()
    dead, alive, elsewhere = (
        connect(owner_of(run, 12)),
        connect(owner_of(run, 123)),
        connect(owner_of(other_run, 12)),
    )
    claim = a_claim()
    for _ in range(700):
        await dead.admitted(claim)
    for other in (alive, elsewhere):
        await other.admitted(claim)
    for _ in range(2):
        await alive.store.counters.release_owner(owner_of(run, 12))
        standing = await alive.standing(claim)
        assert standing.in_flight == 2
        assert standing.budgets[0].reserved_nusd == 200


async def test_a_run_gives_back_what_all_its_processes_claim(connect):
    run = new_run()
    claim = a_claim()
    for process in (connect(owner_of(run, 1)), connect(owner_of(run, 2)), connect(run)):
        await process.admitted(claim)
    survivor = connect(owner_of(new_run(), 1))
    await survivor.admitted(claim)
    await survivor.store.counters.release_owner(run)
    assert (await survivor.standing(claim)).in_flight == 1


async def test_who_was_taken_for_dead_and_lives_books_once_and_frees_nothing_twice(connect):
    owner = owner_of(new_run(), 1)
    process, other = connect(owner), connect(owner_of(new_run(), 1))
    claim = a_claim()
    request_id, _ = await process.admitted(claim)
    await other.admitted(claim)
    await other.store.counters.release_owner(owner)
    for _ in range(2):
        await process.settle(request_id, [claim], cost_nusd=70)
    await other.store.counters.release_owner(owner)
    standing = await other.standing(claim)
    assert standing.in_flight == 1
    (of_budget,) = standing.budgets
    assert (of_budget.spent_nusd, of_budget.reserved_nusd) == (70, 100)


async def test_names_that_look_like_patterns_release_nothing(connect):
    process = connect(owner_of(new_run(), 1))
    claim = a_claim()
    await process.admitted(claim)
    for name in ("", "*", "?", "[a-f0-9]*"):
        await process.store.counters.release_owner(name)
    assert (await process.standing(claim)).in_flight == 1


async def test_a_store_that_is_down_is_told_of_the_dead_when_it_is_back(tmp_path):
    owner, claim = owner_of(new_run(), 1), a_claim()
    with RedisServer(tmp_path, "--appendonly", "yes", "--appendfsync", "no") as server:
        store = RedisStore(server.url, timeout_s=5.0, owner=owner)
        await StoreUnderTest(store).admitted(claim)
        await store.aclose()
        server.kill()
        freed = threading.Event()
        releaser = Releaser(
            lambda: FallbackStore(RedisStore(server.url, timeout_s=5.0)),
            on_release=lambda _owner: freed.set(),
        )
        releaser.release(owner)
        server.start()
        assert freed.wait(60)
        releaser.close()
        reader = RedisStore(server.url, timeout_s=5.0)
        assert (await StoreUnderTest(reader).standing(claim)).in_flight == 0
        await reader.aclose()
