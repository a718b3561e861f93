"""Work that runs at the same time is all over when the call is."""

import asyncio

import pytest

from app.concurrency.together import together


class Work:
    """Pieces of work that wait for each other, and note how they end."""

    def __init__(self):
        self.ended = {}
        self.running = asyncio.Event()

    async def waits(self, name):
        try:
            self.running.set()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)  # it may take a moment to let go
            self.ended[name] = "cancelled"
            raise

    async def brings(self, name, after=None):
        if after is not None:
            await after.wait()
        self.ended[name] = "brought"
        return name

    async def fails(self, error):
        await self.running.wait()
        raise error


async def test_results_come_in_the_order_of_the_work_and_not_of_its_ends():
    work, gate = Work(), asyncio.Event()

    async def opens():
        gate.set()
        return "b"

    assert await together([work.brings("a", after=gate), opens()]) == ["a", "b"]


async def test_one_alone_runs_in_the_task_of_the_caller():
    async def task():
        return asyncio.current_task()

    assert await together([task()]) == [asyncio.current_task()]


async def test_where_one_fails_the_others_are_over_before_it_is_raised():
    work = Work()
    with pytest.raises(LookupError):
        await together([work.waits("a"), work.fails(LookupError("no")), work.waits("b")])
    assert work.ended == {"a": "cancelled", "b": "cancelled"}
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_of_several_failures_that_of_the_first_piece_is_raised():
    work = Work()
    work.running.set()
    with pytest.raises(KeyError):
        await together([work.fails(KeyError("a")), work.fails(LookupError("b"))])


async def test_a_cancelled_caller_leaves_nothing_running():
    work = Work()
    caller = asyncio.create_task(together([work.waits("a"), work.waits("b")]))
    await work.running.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert work.ended == {"a": "cancelled", "b": "cancelled"}


async def test_a_caller_that_is_cancelled_twice_waits_all_the_same():
    work = Work()
    caller = asyncio.create_task(together([work.waits("a"), work.waits("b")]))
    await work.running.wait()
    caller.cancel()
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert asyncio.all_tasks() == {asyncio.current_task()}
