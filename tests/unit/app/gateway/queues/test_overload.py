import asyncio

import pytest

from app.gateway.queues.overload import LoadWatch, resident_bytes


async def test_full_memory_is_told():
    watch = LoadWatch(max_lag_s=0.5, max_rss_bytes=1_000)
    watch.sample(0.0, 1_000)
    assert watch.overloaded() == "its memory is full"


async def test_a_blocked_loop_is_noticed():
    seen = []
    watch = LoadWatch(max_lag_s=10, on_sample=lambda lag_s, _: seen.append(lag_s))
    times = iter([0.0, 1.25, 1.25, 1.5])
    watch.clock = lambda: next(times)
    task = asyncio.ensure_future(watch.run())
    while not seen:
        await asyncio.sleep(0.01)
    task.cancel()
    assert seen[0] == pytest.approx(1.0)


def test_the_resident_size_is_known_here():
    assert resident_bytes() > 10_000_000
