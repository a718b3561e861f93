"""A store that is gone for longer than a lease, or gone for one process alone, costs no answer."""

import asyncio
import contextlib

import pytest

from app.access.guard import ANONYMOUS
from app.batches.desk import BatchTerms
from app.stores.redis import RedisStore
from tests.support.batch_worlds import CHAT, USD, Door, Place, requests
from tests.support.redis_server import RedisServer, until

LEASE_S = 60.0
"""Nothing here waits for its end: tests take leases away."""
PREFIX = "steelyard"
N = 12
ON_WAY = 4
PASSWORD = "only-in-this-test"  # noqa: S105


@pytest.fixture
def server(tmp_path):
    """Run a Redis that forgets nothing when it is killed."""
    lasting = ("--appendonly", "yes", "--appendfsync", "always")
    with RedisServer(tmp_path / "redis", *lasting) as server:
        yield server


@pytest.fixture
async def start():
    """Run processes of batches until the test ends."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(url, door):
            lifecycle = RedisStore(url, prefix=PREFIX, timeout_s=2.0, jobs=True)
            stack.push_async_callback(lifecycle.aclose)
            place = Place(lifecycle.store.jobs)
            runner = place.runner(door, lease_s=LEASE_S, concurrency=ON_WAY)
            task = asyncio.create_task(runner.run())

            async def end():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                await runner.aclose()

            stack.push_async_callback(end)
            return place, runner

        yield start


async def handed_in(place, **terms):
    file = await place.files.add(
        ANONYMOUS.key_id, requests(N), filename="in.jsonl", purpose="batch"
    )
    terms = BatchTerms(endpoint=CHAT, input_file_id=file.file_id, **terms)
    return (await place.desk.create(ANONYMOUS, terms)).batch_id


async def over(place, batch_id, *runners):
    found = None

    async def is_over():
        nonlocal found
        for runner in runners:
            runner.wake()
        found = await place.desk.find(ANONYMOUS, batch_id)
        return found.is_over

    await until(is_over)
    return found


def lease_of(batch_id):
    return f"{{{PREFIX}:batches}}:lease:{batch_id}"


async def all_once(place, batch, *doors):
    """Check that every line has one answer, which was paid for once."""
    assert batch.status == "completed"
    assert (batch.counts.completed, batch.counts.retried) == (N, 0)
    assert batch.counts.cost_usd == N * USD
    answers = await place.lines(batch.output_file_id)
    assert [each["custom_id"] for each in answers] == [str(n) for n in range(N)]
    assert sum(door.n_asked for door in doors) == N


@pytest.mark.parametrize("budget_usd", [None, 100.0], ids=["plain", "planned"])
async def test_a_store_that_comes_back_gets_the_answers_that_came_meanwhile(
    server, start, budget_usd
):
    first, second = Door(3), Door(N)
    place, runner = await start(server.url, first)
    batch_id = await handed_in(place, budget_usd=budget_usd)
    runner.wake()
    await asyncio.wait_for(first.waiting.wait(), 60)
    _, other = await start(server.url, second)

    async def all_are_on_their_way():
        return first.n_asked == 3 + ON_WAY

    await until(all_are_on_their_way)
    server.kill()

    async def both_miss_it():
        other.wake()
        return other._others_first_until > 0

    await until(both_miss_it)
    first.opened.set()  # their answers come, and cannot be kept
    server.start()
    server.command("DEL", lease_of(batch_id))  # as if it had been gone for longer
    await all_once(place, await over(place, batch_id, runner, other), first, second)
    assert second.n_asked == 0


@pytest.mark.parametrize("budget_usd", [None, 100.0], ids=["plain", "planned"])
async def test_who_was_cut_off_alone_hands_its_answers_over(server, start, budget_usd):
    server.command("ACL", "SETUSER", "cut", "on", f">{PASSWORD}", "allkeys", "allcommands")
    first, second = Door(3), Door(0)
    cut_off = f"redis://cut:{PASSWORD}@127.0.0.1:{server.port}/0"
    place, runner = await start(cut_off, first)
    batch_id = await handed_in(place, budget_usd=budget_usd)
    runner.wake()

    async def all_are_on_their_way():
        return first.n_asked == 3 + ON_WAY

    await until(all_are_on_their_way)
    server.command("ACL", "SETUSER", "cut", "off")
    server.command("CLIENT", "KILL", "USER", "cut")
    server.command("DEL", lease_of(batch_id))
    alive, other = await start(server.url, second)

    async def others_took_over():
        other.wake()
        return second.n_asked == ON_WAY

    await until(others_took_over)
    first.opened.set()
    server.command("ACL", "SETUSER", "cut", "on")

    async def handed_over():
        return len(await alive.jobs.numbers(f"{batch_id}:late")) == ON_WAY

    await until(handed_over)
    second.opened.set()
    await all_once(alive, await over(alive, batch_id, other), first, second)
    assert first.n_asked == 3 + ON_WAY
