"""Cached answers never keep what counts from being counted, however little memory Redis has."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from app.stores.bounds import AnswerBounds
from app.stores.claims import Claim
from app.stores.fallback import FallbackStore
from app.stores.redis import RedisStore
from app.stores.watch import Feature, StoreEvents
from tests.support.redis_server import RedisServer
from tests.support.stores import StoreUnderTest, budget, key_record, new_scope

MEGABYTE = 2**20
ANSWER = bytes(250_000)


@pytest.fixture
def server(tmp_path):
    """Run a server that is full after some twenty answers."""
    options = ("--maxmemory", "8mb", "--maxmemory-policy", "noeviction")
    with RedisServer(tmp_path / "counting", *options) as server:
        yield server


@pytest.fixture
async def connect():
    async with AsyncExitStack() as stack:

        async def connect(url, **options):
            shared = RedisStore(url, timeout_s=5.0, **options)
            events = options.get("events", StoreEvents())
            lifecycle = FallbackStore(shared, events=events)
            await lifecycle.open()
            stack.push_async_callback(lifecycle.aclose)
            return StoreUnderTest(lifecycle)

        yield connect


def a_claim() -> Claim:
    return Claim(
        scope=new_scope(),
        requests_per_minute=1000,
        tokens_per_minute=10**6,
        concurrent_requests=10,
        budgets=(budget(10**9),),
        tokens=10,
        reserve_nusd=10,
    )


async def fill(under_test: StoreUnderTest, *, owners: int) -> None:
    for i in range(60):
        await under_test.store.answers.put(
            f"answer-{i}", ANSWER, lifetime_s=3600.0, owner=f"key-{i % owners}"
        )


@pytest.mark.parametrize("owners", [1, 20])
async def test_a_server_full_of_answers_gives_them_up_for_budgets_and_keys(server, connect, owners):
    failed, lost = [], []
    events = StoreEvents(
        failed=lambda operation, feature: failed.append((operation, feature)),
        lost=lambda *what_and_n: lost.append(what_and_n[0]),
    )
    bounds = AnswerBounds(bytes=64 * MEGABYTE, bytes_per_key=16 * MEGABYTE)
    under_test = await connect(server.url, answer_bounds=bounds, events=events)
    await under_test.admitted(a_claim())  # so that the server knows the scripts
    await fill(under_test, owners=owners)
    # What did not fit was skipped and counted, and is a miss.
    assert set(failed) == {("put_answer", Feature.BLOBS)}
    assert await under_test.store.answers.get("answer-0") == ANSWER
    assert await under_test.store.answers.get("answer-59") is None
    failed.clear()
    with server.client() as client:  # no crumb is left between the last answer and the end
        used = client.info("memory")["used_memory"]
        client.config_set("maxmemory", used - 4 * len(ANSWER))
    claims = [a_claim() for _ in range(300)]
    admitted = await asyncio.gather(*(under_test.admitted(claim) for claim in claims))
    for (request_id, _), claim in zip(admitted, claims, strict=True):
        await under_test.settle(request_id, [claim], tokens=5, cost_nusd=7)
    for i in range(50):
        await under_test.store.keys.save(key_record(f"k{i}"))
        await under_test.store.blobs.put(f"session-{i}", b"x" * 200, lifetime_s=60.0)
    assert (failed, set(lost)) == ([], {"answers"})
    for claim in claims:
        assert (await under_test.standing(claim)).budgets[0].spent_nusd == 7


async def test_within_its_bounds_one_key_does_not_fill_the_server(server, connect):
    failed = []
    events = StoreEvents(failed=lambda operation, _: failed.append(operation))
    bounds = AnswerBounds(bytes=4 * MEGABYTE, bytes_per_key=MEGABYTE)
    under_test = await connect(server.url, answer_bounds=bounds, events=events)
    await fill(under_test, owners=1)
    for _ in range(20):
        await under_test.admitted(a_claim())
    assert failed == []
    kept = [await under_test.store.answers.get(f"answer-{i}") for i in range(60)]
    assert kept == [None] * 56 + [ANSWER] * 4


async def test_answers_on_a_server_of_their_own_touch_no_other(server, connect, tmp_path):
    options = ("--maxmemory", "8mb", "--maxmemory-policy", "allkeys-lru")
    with RedisServer(tmp_path / "keeping", *options) as keeping:
        under_test = await connect(server.url, cache_url=keeping.url)
        await fill(under_test, owners=20)
        assert await under_test.store.answers.get("answer-59") == ANSWER
        await under_test.admitted(a_claim())
        with server.client() as counting:
            assert not counting.keys("*answers*")
        keeping.kill()
        # Without it answers are missed, and that is all.
        assert await under_test.store.answers.get("answer-59") is None
        await under_test.admitted(a_claim())
        assert await under_test.lifecycle.healthy()
