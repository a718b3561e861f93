import asyncio
import time

import pytest
import uvloop

from app.concurrency.deadline import Deadline, within


class TooLateError(Exception):
    pass


class Source:
    """Gives numbers up to `n`, then hangs if it should; knows whether it was closed."""

    def __init__(self, n, *, hangs=False):
        self.n, self.hangs, self.closed = n, hangs, False

    async def chunks(self):
        try:
            for i in range(self.n):
                yield i
            if self.hangs:
                await asyncio.get_running_loop().create_future()
        finally:
            self.closed = True


async def drain(chunks, seen, *, pause_s=None):
    async for each in chunks:
        seen += [each]
        if pause_s is not None:
            await asyncio.sleep(pause_s)


def limited(source, seconds):
    return within(source.chunks(), seconds=seconds, late=TooLateError)


async def test_what_is_in_time_passes_unchanged():
    source = Source(3)
    assert [each async for each in limited(source, 60)] == [0, 1, 2]
    assert source.closed


async def test_a_stream_is_cut_in_the_middle_of_a_read():
    source, seen = Source(2, hangs=True), []
    with pytest.raises(TooLateError):
        await drain(limited(source, 0.01), seen)
    assert seen == [0, 1]
    assert source.closed
    assert asyncio.current_task().cancelling() == 0


async def test_a_stream_that_never_pauses_is_cut_too():
    source = Source(1_000_000)
    with pytest.raises(TooLateError):
        await drain(limited(source, 0.0), [], pause_s=0)
    assert source.closed


async def test_whoever_consumes_the_chunks_is_never_cancelled_by_it():
    source = Source(2)
    seen = []
    with pytest.raises(TooLateError):
        await drain(limited(source, 0.0), seen, pause_s=0.005)  # it is over in the pause
    assert seen == [0]


async def test_a_cancellation_from_outside_stays_one():
    source = Source(1, hangs=True)
    reached = asyncio.Event()

    async def consume():
        async for _ in limited(source, 60):
            reached.set()

    task = asyncio.create_task(consume())
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert source.closed


async def test_leaving_early_closes_the_source():
    source = Source(5)
    chunks = limited(source, 60)
    assert await anext(chunks) == 0
    await chunks.aclose()
    assert source.closed


async def test_a_block_that_takes_too_long_ends_in_a_timeout():
    with pytest.raises(TimeoutError), Deadline(0.01):
        await asyncio.get_running_loop().create_future()
    assert asyncio.current_task().cancelling() == 0


async def test_a_block_in_time_is_left_alone():
    with Deadline(0.01):
        pass
    await asyncio.sleep(0.05)  # longer than the deadline: it must not strike afterwards
    assert asyncio.current_task().cancelling() == 0


async def test_the_inner_of_two_deadlines_strikes_alone():
    reached = []
    with Deadline(5):
        with pytest.raises(TimeoutError), Deadline(0.01):
            await asyncio.get_running_loop().create_future()
        await asyncio.sleep(0)
        reached.append(1)
    assert reached == [1]


async def test_a_cancellation_by_somebody_else_stays_one():
    async def work():
        with Deadline(5):
            await asyncio.get_running_loop().create_future()

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_error_of_the_block_passes():
    with pytest.raises(TooLateError), Deadline(5):
        raise TooLateError


def test_a_deadline_is_never_early():
    """Uvloop counts in whole milliseconds."""

    async def left_when_over_s(seconds):
        ends = time.monotonic() + seconds
        with pytest.raises(TimeoutError), Deadline(seconds):
            await asyncio.get_running_loop().create_future()
        return ends - time.monotonic()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        for n in range(40):
            assert runner.run(left_when_over_s(0.002 + n * 7e-5)) <= 0
