import asyncio

import pytest

from app.concurrency.eager import Eager, all_of, on_its_way


async def test_it_runs_up_to_its_first_wait_and_the_rest_when_it_is_awaited():
    done, future = [], asyncio.get_running_loop().create_future()

    async def work():
        done.append("asked")
        answer = await future
        await asyncio.sleep(0)
        done.append(answer)
        return 7

    begun = Eager(work())
    assert (done, begun.ended) == (["asked"], False)
    await asyncio.sleep(0)  # anything else may be awaited in between
    future.set_result("answered")
    await asyncio.sleep(0)
    assert done == ["asked"]
    assert await begun == 7
    assert done == ["asked", "answered"]


async def test_what_has_nothing_to_wait_for_ends_at_once():
    async def work():
        return 7

    begun = Eager(work())
    assert begun.ended
    await on_its_way(begun)
    assert await begun == 7


async def test_an_error_is_raised_where_it_is_awaited():
    async def fails(after):
        if after is not None:
            await after
        raise ValueError("no")

    for begun in (Eager(fails(None)), Eager(fails(asyncio.sleep(0)))):
        with pytest.raises(ValueError, match="no"):
            await begun


async def test_a_cancellation_reaches_what_it_waits_for():
    seen = []

    async def work():
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    async def waits():
        await Eager(work())

    task = asyncio.create_task(waits())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == ["cancelled"]


async def test_one_that_is_closed_cleans_up():
    seen = []

    async def work():
        try:
            await asyncio.sleep(5)
        finally:
            seen.append("closed")

    begun = Eager(work())
    begun.close()
    assert seen == ["closed"]


async def test_two_that_are_begun_together_wait_together():
    gate, order = asyncio.Event(), []

    async def work(name):
        order.append(f"{name} asks")
        await gate.wait()
        order.append(f"{name} ends")

    first = Eager(work("first"))
    second = asyncio.create_task(work("second"))
    await on_its_way(first)
    assert order == ["first asks", "second asks"]
    gate.set()
    await first
    await second
    assert order[2:] == ["first ends", "second ends"] or order[2:] == ["second ends", "first ends"]


async def test_all_of_them_end_also_where_one_fails():
    gate, ended = asyncio.Event(), []

    async def work(name, error=None):
        await gate.wait()
        ended.append(name)
        if error is not None:
            raise error

    begun = [Eager(work("a", ValueError("first"))), Eager(work("b", KeyError())), Eager(work("c"))]
    gate.set()
    with pytest.raises(ValueError, match="first"):
        await all_of(begun)
    assert ended == ["a", "b", "c"]


async def test_whoever_is_cancelled_gives_the_rest_up():
    closed = []

    async def work(name):
        try:
            await asyncio.Event().wait()
        finally:
            closed.append(name)

    async def waits():
        await all_of([Eager(work("a")), Eager(work("b"))])

    task = asyncio.create_task(waits())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert closed == ["a", "b"]
