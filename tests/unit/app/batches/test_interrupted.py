"""Whatever ends a batch, or the process that works at it: what was paid for is kept, and told."""

import asyncio
import contextlib
import gc

import pytest

from app.access.guard import ANONYMOUS
from app.batches.asking import Asking
from app.batches.desk import BatchTerms
from app.batches.door import Answer
from app.batches.lease import LostLeaseError
from app.errors import UnauthenticatedError
from app.stores.base import StoreError
from app.stores.sqlite_jobs import SqliteJobs
from tests.support.batch_worlds import CHAT, Door, Place, fine, requests

LEASE_S = 1.0
WINDOW_S = 86_400.0
LIFETIME_S = 2 * WINDOW_S


class Jobs(SqliteJobs):
    """A store in memory that may be full, or hang, while files of answers are written."""

    fails = hangs = False
    n_written = 0

    async def put_parts(self, box, parts, *, lifetime_s, fence=None):
        if fence is not None and box.startswith("file-"):
            self.n_written += 1
            if self.hangs:
                await asyncio.get_running_loop().create_future()
            if self.fails:
                await super().put_parts(box, parts, lifetime_s=lifetime_s, fence=fence)
                raise StoreError("disk full")
        return await super().put_parts(box, parts, lifetime_s=lifetime_s, fence=fence)

    def boxes(self):
        query = "SELECT DISTINCT box FROM parts WHERE box LIKE 'file-%'"
        return {box for (box,) in self._connection.execute(query)}


class World:
    """A desk and processes that work at its batches, on a clock of their own."""

    def __init__(self):
        self.now = 1_000_000.0
        self.jobs = Jobs(None, clock=self.clock)
        self.place = Place(self.jobs, clock=self.clock)
        self.files, self.desk, self.lines = self.place.files, self.place.desk, self.place.lines
        self.key_is_gone = False

    def clock(self):
        return self.now

    async def caller_of(self, _):
        if self.key_is_gone:
            raise UnauthenticatedError("revoked")
        return ANONYMOUS

    @contextlib.asynccontextmanager
    async def process(self, door):
        runner = self.place.runner(door, lease_s=LEASE_S, caller_of=self.caller_of)
        task = asyncio.create_task(runner.run())
        try:
            yield runner
        finally:
            task.cancel()
            await asyncio.gather(task, *_killed(runner), return_exceptions=True)
            self.now += 2 * LEASE_S  # its leases end

    async def handed_in(self, content, **terms):
        file = await self.files.add(
            "anonymous", content, filename="in.jsonl", purpose="batch", lifetime_s=LIFETIME_S
        )
        terms = BatchTerms(endpoint=CHAT, input_file_id=file.file_id, **terms)
        return (await self.desk.create(ANONYMOUS, terms)).batch_id

    async def batch(self, batch_id):
        return await self.desk.find(ANONYMOUS, batch_id)

    async def over(self, batch_id, runner):
        async with asyncio.timeout(30):
            while not (batch := await self.batch(batch_id)).is_over:
                runner.wake()
                await asyncio.sleep(0)
        return batch

    async def begun(self, door, **terms):
        """Have three of ten requests answered before the process dies; return their batch."""
        async with self.process(door):
            batch_id = await self.handed_in(requests(10), **terms)
            async with asyncio.timeout(30):
                while len(await self.jobs.numbers(f"{batch_id}:out")) < 3:
                    await asyncio.sleep(0)
        return batch_id


def _killed(runner):
    for task in runner._tasks.values():
        task.cancel()
    return tuple(runner._tasks.values())


@pytest.fixture
async def world():
    world = World()
    await world.jobs.open()
    yield world
    await world.jobs.aclose()


async def cancel(world, batch_id):
    await world.desk.cancel(ANONYMOUS, batch_id)


async def expire(world, _):
    world.now += 0.9 * LEASE_S


@pytest.mark.parametrize("stop", [cancel, expire], ids=["cancelled", "expired"])
async def test_a_batch_that_was_stopped_stays_so_where_its_process_dies_in_the_end(world, stop):
    door = Door(3, fine)
    batch_id = await world.handed_in(requests(10))
    world.now += WINDOW_S - LEASE_S / 2
    async with world.process(door) as runner:
        await door.waiting.wait()
        await stop(world, batch_id)
        while runner._works[batch_id].asking.stopped is None:
            runner.wake()
            await asyncio.sleep(0)
        world.jobs.hangs = True
        door.opened.set()
        while not world.jobs.n_written:
            runner.wake()
            await asyncio.sleep(0)
        # What it is told as meanwhile.
        told = (await world.batch(batch_id)).status
        assert told == ("cancelling" if stop is cancel else "in_progress")
    world.jobs.hangs = False
    n_asked = door.n_asked
    async with world.process(door) as runner:
        batch = await world.over(batch_id, runner)
    assert batch.status == ("cancelled" if stop is cancel else "expired")
    assert door.n_asked == n_asked
    assert batch.counts.completed == n_asked
    assert len(await world.lines(batch.output_file_id)) == n_asked
    errors = await world.lines(batch.error_file_id)
    assert {each["error"]["code"] for each in errors} == {f"batch_{batch.status}"}
    assert len(errors) == 10 - n_asked


async def test_answers_that_cannot_be_written_out_leave_nothing_behind(world):
    world.jobs.fails = True
    door = Door(10, fine)
    async with world.process(door) as runner:
        batch_id = await world.handed_in(requests(10))
        while world.jobs.n_written < 3:
            runner.wake()
            await asyncio.sleep(0)
        world.jobs.fails = False
        batch = await world.over(batch_id, runner)
    assert batch.status == "completed"
    assert door.n_asked == 10
    assert len(await world.lines(batch.output_file_id)) == 10
    assert world.jobs.boxes() == {batch.input_file_id, batch.output_file_id}


async def test_what_was_answered_is_kept_where_the_file_of_requests_is_gone(world):
    door = Door(3, fine)
    batch_id = await world.begun(door)
    world.now += LIFETIME_S + 1.0
    async with world.process(door) as runner:
        batch = await world.over(batch_id, runner)
    assert (batch.status, batch.faults[0].code) == ("failed", "file_not_found")
    answers = await world.lines(batch.output_file_id)
    assert len({each["custom_id"] for each in answers}) == 3
    assert (batch.counts.completed, batch.counts.cost_usd) == (3, 1.5)


async def test_a_key_that_is_gone_takes_no_answers_along(world):
    door = Door(3, fine)
    batch_id = await world.begun(door)
    world.key_is_gone = True
    async with world.process(door) as runner:
        batch = await world.over(batch_id, runner)
    assert (batch.status, batch.counts.completed) == ("completed", 3)
    assert len(await world.lines(batch.output_file_id)) == 3
    errors = await world.lines(batch.error_file_id)
    assert [each["response"]["status_code"] for each in errors] == [401] * 7


async def test_nor_does_it_where_a_plan_would_have_to_be_made_for_it(world):
    door = Door(3, fine)
    batch_id = await world.begun(door, budget_usd=10.0)
    world.key_is_gone = True
    async with world.process(door) as runner:
        batch = await world.over(batch_id, runner)
    assert (batch.status, batch.faults[0].code) == ("failed", "invalid_api_key")
    assert batch.counts.completed == 3
    assert len(await world.lines(batch.output_file_id)) == 3


async def test_calls_that_were_paid_for_before_one_failed_count(world):
    def fails_twice(request_id, n_asked):
        if n_asked < 3:
            return Answer(status=502, body=b"{}", request_id=request_id, cost_usd=0.25)
        return fine(request_id, n_asked)

    door = Door(10, fails_twice)
    async with world.process(door) as runner:
        batch = await world.over(await world.handed_in(requests(1)), runner)
    assert (batch.counts.completed, batch.counts.cost_usd) == (1, 1.0)


@pytest.mark.parametrize("end", [b"\n", b"\r\n"], ids=["lf", "crlf"])
async def test_a_byte_order_mark_begins_a_file_as_well(world, end):
    door = Door(10, fine)
    content = b"\xef\xbb\xbf" + requests(3).replace(b"\n", end) + end
    async with world.process(door) as runner:
        batch = await world.over(await world.handed_in(content), runner)
    assert (batch.status, batch.counts.completed, batch.faults) == ("completed", 3, ())


async def test_requests_that_lose_their_batch_in_one_moment_are_all_heard_out():
    untold = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, told: untold.append(told))

    async def lost():
        raise LostLeaseError

    asking = Asking(progress=None, door=None, caller_of=None, concurrency=2)
    asking._running = {asyncio.create_task(lost()) for _ in range(2)}
    await asyncio.sleep(0)
    with pytest.raises(LostLeaseError):
        await asking._one_less()
    del asking
    gc.collect()
    assert untold == []
