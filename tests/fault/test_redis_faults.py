"""Redis slow, gone, flushed, read-only, full, or not Redis at all."""

import asyncio
import contextlib
import logging
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager

import pytest
import uvloop
from redis import Redis

from app.stores.base import StoreError, StoreNotAskedError
from app.stores.claims import Claim, Refusal
from app.stores.fallback import FallbackStore
from app.stores.key_cache import KeyTimes
from app.stores.redis import RedisStore
from app.stores.watch import Feature, StoreEvents
from tests.support.redis_server import RedisServer, redis_server_path, until
from tests.support.stores import (
    FakeClock,
    StoreUnderTest,
    budget,
    key_record,
    new_request_id,
    new_scope,
)

pytestmark = pytest.mark.skipif(redis_server_path() is None, reason="no redis-server")

PATIENT_S = 10.0
"""How long is waited for a server that answers or is gone: a busy machine makes nobody late."""
HASTY_S = 1.5
"""How long for one that hangs."""
# Twice the timeout is promised; the rest is for a machine that is busy with other tests. A server
# that hangs does so for longer.
WITHIN_S = 2 * HASTY_S + 10.0


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
async def redis(server: RedisServer) -> AsyncIterator[StoreUnderTest]:
    async with opened(RedisStore(server.url, timeout_s=PATIENT_S)) as under_test:
        yield under_test


@pytest.fixture
async def hasty(server: RedisServer) -> AsyncIterator[StoreUnderTest]:
    async with opened(RedisStore(server.url, timeout_s=HASTY_S)) as under_test:
        yield under_test


@asynccontextmanager
async def opened(lifecycle, pass_time=asyncio.sleep) -> AsyncIterator[StoreUnderTest]:
    await lifecycle.open()
    try:
        yield StoreUnderTest(lifecycle, pass_time)
    finally:
        await lifecycle.aclose()


async def answer_or_store_error(call: Awaitable[object]) -> object:
    """Return the answer, or the StoreError, of a call that has to end in time."""
    began = time.monotonic()
    try:
        return await call
    except StoreError as error:
        return error
    finally:
        assert time.monotonic() - began < WITHIN_S


async def works(under_test: StoreUnderTest) -> bool:
    """Return whether every part answers."""
    claim = Claim(scope=new_scope(), concurrent_requests=1)
    try:
        request_id, _ = await under_test.admit(claim)
        await under_test.settle(request_id, [claim])
        await under_test.store.keys.find("none")
        await under_test.store.blobs.put("name", b"value", lifetime_s=60.0)
        return await under_test.store.blobs.get("name") == b"value"
    except StoreError:
        return False


class Traffic:
    """Requests one after the other on several lines, until stopped."""

    def __init__(self, under_test: StoreUnderTest) -> None:
        self._under_test = under_test
        self.claim = Claim(scope=new_scope(), budgets=(budget(10**12),), reserve_nusd=10)
        self.admitted = 0
        self.errors = 0
        self._stopped = False

    async def run(self, lines: int = 4) -> None:
        await asyncio.gather(*(self._line() for _ in range(lines)))

    def stop(self) -> None:
        self._stopped = True

    async def _line(self) -> None:
        counters = self._under_test.store.counters
        while not self._stopped:
            request_id = new_request_id()
            answer = await answer_or_store_error(
                counters.admit(request_id, [self.claim], lifetime_s=60.0)
            )
            if isinstance(answer, StoreError):
                self.errors += 1
                await asyncio.sleep(0.005)
                continue
            assert not isinstance(answer, Refusal)
            self.admitted += 1
            await answer_or_store_error(
                self._under_test.settle(request_id, [self.claim], cost_nusd=7)
            )


async def test_a_server_that_is_killed_and_restarted_mid_traffic_is_used_again(server, redis):
    traffic = Traffic(redis)
    running = asyncio.create_task(traffic.run())
    for _ in range(2):
        before = traffic.admitted
        await until(lambda before=before: _true(traffic.admitted > before + 20))
        errors = traffic.errors
        server.kill()
        await until(lambda errors=errors: _true(traffic.errors > errors + 20))
        assert not await redis.lifecycle.healthy()
        server.start()
    before = traffic.admitted
    await until(lambda: _true(traffic.admitted > before + 20))
    traffic.stop()
    await running
    assert await redis.lifecycle.healthy()


async def test_a_server_that_hangs_is_not_waited_for_and_then_not_even_asked(server, hasty):
    assert await works(hasty)
    server.pause()
    claim = Claim(scope=new_scope(), requests_per_minute=10)
    answers = [await answer_or_store_error(hasty.admit(claim)) for _ in range(3)]
    assert all(isinstance(answer, StoreError) for answer in answers)
    began = time.monotonic()
    answers = await asyncio.gather(*(answer_or_store_error(hasty.admit(claim)) for _ in range(100)))
    assert sum(isinstance(answer, StoreNotAskedError) for answer in answers) >= 99
    assert time.monotonic() - began < WITHIN_S
    server.resume()
    await until(lambda: works(hasty))


async def test_answers_that_come_late_are_not_taken_for_those_of_other_calls(server, hasty):
    records = [key_record(f"late{i}") for i in range(5)]
    for record in records:
        await hasty.store.keys.save(record)
    server.pause()
    assert isinstance(
        await answer_or_store_error(hasty.store.keys.find(records[0].digest)), StoreError
    )
    server.resume()
    await until(lambda: works(hasty))
    for record in records:
        assert await hasty.store.keys.find(record.digest) == record


async def test_a_caller_that_is_cancelled_disturbs_nobody(server, redis):
    record = key_record("kept")
    await redis.store.keys.save(record)
    claim = Claim(scope=new_scope(), requests_per_minute=1000)
    for _ in range(20):
        tasks = [asyncio.create_task(redis.admit(claim)) for _ in range(10)]
        finds = [asyncio.create_task(redis.store.keys.find(record.digest)) for _ in range(10)]
        await asyncio.sleep(0)
        for task in tasks[::2] + finds[::2]:
            task.cancel()
        answers = await asyncio.gather(*tasks, *finds, return_exceptions=True)
        assert not any(isinstance(answer, StoreError) for answer in answers)
        assert all(found == record for found in await asyncio.gather(*finds[1::2]))


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_a_loop_that_was_busy_does_not_blame_redis(server, run):
    timeout_s = 0.5

    async def busy() -> None:
        async with opened(RedisStore(server.url, timeout_s=timeout_s)) as redis:
            claim = Claim(scope=new_scope(), requests_per_minute=1000)
            for turns in range(1, 9):
                assert await works(redis)
                task = asyncio.create_task(redis.admitted(claim))
                for _ in range(turns):
                    await asyncio.sleep(0)
                time.sleep(1.2 * timeout_s)  # noqa: ASYNC251
                server.command("PING")  # what it was asked before is answered by then
                await task

    run(busy())


async def test_a_flushed_server_begins_to_count_again(server, redis):
    claim = Claim(scope=new_scope(), concurrent_requests=1, budgets=(budget(100),))
    before, _ = await redis.admitted(claim)
    server.command("FLUSHALL")
    after, _ = await redis.admitted(claim)
    await redis.settle(before, [claim], cost_nusd=50)
    standing = await redis.standing(claim)
    assert (standing.in_flight, standing.budgets[0].spent_nusd) == (1, 0)
    await redis.settle(after, [claim], cost_nusd=50)
    assert (await redis.standing(claim)).budgets[0].spent_nusd == 50


async def test_a_server_whose_clock_is_behind_does_not_block_a_full_scope(server, redis):
    claim = Claim(scope=new_scope(), tokens_per_minute=6000, tokens=6000)
    await redis.admitted(claim)
    with Redis(port=server.port, protocol=2) as client:
        (name,) = client.keys("*:s:*")
        state = list(struct.unpack(">6d", client.get(name)))
        assert state[3] == 6000.0
        state[4] += 3600e6  # when the tokens stood there
        client.set(name, struct.pack(">6d", *state), keepttl=True)
    small = Claim(scope=claim.scope, tokens_per_minute=6000, tokens=10)
    assert (await redis.refused(small)).retry_after_s <= 0.1
    await redis.pass_time(0.11)
    await redis.admitted(small)


async def test_forgotten_scripts_are_sent_again(server, redis):
    claim = Claim(scope=new_scope(), concurrent_requests=100)
    for _ in range(3):
        server.command("SCRIPT", "FLUSH")
        request_id, _ = await redis.admitted(claim)
        server.command("SCRIPT", "FLUSH")
        await redis.settle(request_id, [claim])
        server.command("SCRIPT", "FLUSH")
        assert (await redis.standing(claim)).in_flight == 0


@pytest.mark.parametrize(
    ("damage", "repair"),
    [
        (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE")),
        (("CONFIG", "SET", "maxmemory", 1), ("CONFIG", "SET", "maxmemory", 0)),
    ],
    ids=["read-only", "out of memory"],
)
async def test_a_server_that_takes_no_writes_refuses_and_still_knows_keys(
    server, redis, damage, repair
):
    record = key_record("known")
    await redis.store.keys.save(record)
    claim = Claim(scope=new_scope(), concurrent_requests=5, budgets=(budget(1000),), reserve_nusd=9)
    await redis.admitted(claim)
    server.command(*damage)
    for _ in range(5):
        for call in (
            redis.admit(claim),
            redis.store.keys.save(record),
            redis.store.blobs.put("name", b"value", lifetime_s=9.0),
        ):
            assert isinstance(await answer_or_store_error(call), StoreError)
        assert await redis.store.keys.find(record.digest) == record
    server.command(*repair)
    await until(lambda: works(redis))
    # What failed took nothing.
    standing = await redis.standing(claim)
    assert (standing.in_flight, standing.budgets[0].reserved_nusd) == (1, 9)


async def test_a_full_server_still_books_what_running_requests_used(server, redis):
    claim = Claim(
        scope=new_scope(),
        tokens_per_minute=1000,
        concurrent_requests=5,
        budgets=(budget(1000),),
        tokens=10,
        reserve_nusd=9,
    )
    request_id, _ = await redis.admitted(claim)
    late, _ = await redis.admitted(claim, lifetime_s=0.01)
    server.command("CONFIG", "SET", "maxmemory", 1)
    await asyncio.sleep(0.02)
    await redis.settle(request_id, [claim], tokens=5, cost_nusd=100)
    await redis.settle(late, [claim], tokens=5, cost_nusd=100)
    server.command("CONFIG", "SET", "maxmemory", 0)
    standing = await redis.standing(claim)
    assert standing.in_flight == 0
    assert (standing.budgets[0].spent_nusd, standing.budgets[0].reserved_nusd) == (200, 0)


@pytest.mark.parametrize(
    "says",
    [
        b"-LOADING Redis is loading the dataset in memory\r\n",
        b"-ERR max number of clients reached\r\n",
        b"-NOAUTH Authentication required.\r\n",
        b"-MASTERDOWN Link with MASTER is down\r\n",
        b"-BUSY Redis is busy running a script\r\n",
        b"-MOVED 1 127.0.0.1:1\r\n",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"*3\r\n:1\r\n",
        b"",
    ],
)
async def test_whatever_answers_on_the_port_becomes_a_store_error(says):
    answering: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answering.add(asyncio.current_task())
        with contextlib.suppress(ConnectionError):
            while says and await reader.read(65_536):
                writer.write(says)
        writer.close()

    listener = await asyncio.start_server(handle, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    async with listener, opened(RedisStore(f"redis://127.0.0.1:{port}", timeout_s=0.05)) as store:
        claim = Claim(scope=new_scope(), requests_per_minute=10)
        for _ in range(5):
            assert isinstance(await answer_or_store_error(store.admit(claim)), StoreError)
        assert not await store.lifecycle.healthy()
    # None of its connections is left open.
    await asyncio.wait_for(asyncio.gather(*answering), WITHIN_S)


async def test_connections_do_not_pile_up(server, hasty):
    for _ in range(3):
        server.pause()
        await answer_or_store_error(hasty.store.keys.find("none"))
        server.resume()
        await until(lambda: works(hasty))
    await asyncio.gather(*(works(hasty) for _ in range(200)))
    # One for each pipeline, one for this very question.
    assert len(server.command("CLIENT", "LIST").splitlines()) <= 3


@pytest.fixture
async def alone(server) -> AsyncIterator[StoreUnderTest]:
    """Open a store with its fallback, whose clock for keys is ours."""
    async with with_fallback(server, PATIENT_S) as under_test:
        yield under_test


@pytest.fixture
async def hasty_alone(server) -> AsyncIterator[StoreUnderTest]:
    """Open one that does not wait for a server that hangs."""
    async with with_fallback(server, HASTY_S) as under_test:
        yield under_test


@asynccontextmanager
async def with_fallback(server, timeout_s) -> AsyncIterator[StoreUnderTest]:
    clock = FakeClock()
    store = FallbackStore(
        RedisStore(server.url, timeout_s=timeout_s),
        clock=clock,
        key_times=KeyTimes(fresh_s=10.0, grace_s=300.0, unknown_s=3.0),
    )
    async with opened(store, clock.pass_time) as under_test:
        yield under_test


async def test_limits_are_counted_locally_while_redis_is_down(server, alone):
    claim = Claim(scope=new_scope(), requests_per_minute=3, concurrent_requests=2)
    server.kill()
    first, _ = await alone.admitted(claim)
    second, _ = await alone.admitted(claim)
    assert (await alone.refused(claim)).limit == 2
    await alone.settle(first, [claim])
    await alone.settle(second, [claim])
    third, _ = await alone.admitted(claim)
    assert (await alone.refused(claim)).limit == 3
    server.start()
    await until(lambda: works(alone))
    await alone.settle(third, [claim])
    assert (await alone.standing(claim)).in_flight == 0


async def test_budgets_are_not_guessed_while_redis_is_down(server, alone):
    claim = Claim(scope=new_scope(), budgets=(budget(10**9),), reserve_nusd=1)
    server.kill()
    with pytest.raises(StoreError):
        await alone.admit(claim)
    with pytest.raises(StoreError):
        await alone.standing(claim)
    server.start()
    await until(lambda: works(alone))
    await alone.admitted(claim)


async def test_what_was_used_while_redis_hung_is_booked_when_it_is_back(server, hasty_alone):
    claim = Claim(scope=new_scope(), budgets=(budget(10**9),), reserve_nusd=1000)
    requests = [(await hasty_alone.admitted(claim))[0] for _ in range(10)]
    server.pause()
    for request_id in requests:
        await hasty_alone.settle(request_id, [claim], cost_nusd=5)
    assert hasty_alone.lifecycle.owed == 10
    server.resume()
    await until(lambda: _true(hasty_alone.lifecycle.owed == 0))
    (standing,) = (await hasty_alone.standing(claim)).budgets
    assert (standing.spent_nusd, standing.reserved_nusd) == (50, 0)


async def test_a_claim_taken_unheard_is_given_back(server, hasty_alone):
    claim = Claim(
        scope=new_scope(), concurrent_requests=5, budgets=(budget(10**9),), reserve_nusd=1000
    )
    await hasty_alone.admitted(claim)
    server.pause()
    # Redis reads and grants it when it goes on; nobody is there to hear it.
    with pytest.raises(StoreError):
        await hasty_alone.admit(claim)
    server.resume()
    await until(lambda: _true(hasty_alone.lifecycle.owed == 0))
    standing = await hasty_alone.standing(claim)
    assert (standing.in_flight, standing.budgets[0].reserved_nusd) == (1, 1000)


async def test_a_claim_whose_caller_was_cancelled_is_given_back(server, hasty_alone):
    claim = Claim(scope=new_scope(), concurrent_requests=5)
    await hasty_alone.admitted(claim)
    server.pause()
    task = asyncio.create_task(hasty_alone.admit(claim))
    await asyncio.sleep(HASTY_S / 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    server.resume()
    await until(lambda: works(hasty_alone))
    await until(lambda: _true(hasty_alone.lifecycle.owed == 0))
    assert (await hasty_alone.standing(claim)).in_flight == 1


async def test_known_keys_live_on_for_their_time_of_grace(server, alone):
    known, unknown = key_record("known"), key_record("unknown")
    await alone.store.keys.save(known)
    server.kill()
    await alone.pass_time(299.0)
    assert await alone.store.keys.find(known.digest) == known
    with pytest.raises(StoreError):
        await alone.store.keys.find(unknown.digest)
    await alone.pass_time(2.0)
    with pytest.raises(StoreError):
        await alone.store.keys.find(known.digest)


async def test_small_values_are_forgotten_while_redis_is_down(server, alone):
    await alone.store.blobs.put("name", b"value", lifetime_s=60.0)
    server.kill()
    assert await alone.store.blobs.get("name") is None
    await alone.store.blobs.put("name", b"value", lifetime_s=60.0)
    server.start()
    await until(lambda: works(alone))


async def test_every_failure_is_counted_and_each_change_is_logged_once(server, caplog):
    errors: list[tuple[str, Feature]] = []
    store = FallbackStore(
        RedisStore(server.url, timeout_s=PATIENT_S),
        events=StoreEvents(failed=lambda operation, feature: errors.append((operation, feature))),
    )
    caplog.set_level(logging.WARNING, logger="app.stores")
    claim = Claim(scope=new_scope(), requests_per_minute=1000)
    async with opened(store) as under_test:
        await under_test.admitted(claim)
        server.kill()
        for _ in range(20):
            await under_test.admitted(claim)
        await under_test.store.blobs.get("name")
        server.start()

        async def counted_again() -> bool:
            await under_test.admitted(claim)
            return any("admit works again" in record.message for record in caplog.records)

        await until(counted_again)
    assert errors.count(("admit", Feature.LIMITS)) >= 20
    assert ("get", Feature.BLOBS) in errors
    messages = [record.message for record in caplog.records if "admit" in record.message]
    assert len([message for message in messages if "admit fails" in message]) == 1
    assert len([message for message in messages if "works again" in message]) == 1


async def _true(value: bool) -> bool:  # noqa: FBT001
    return value
