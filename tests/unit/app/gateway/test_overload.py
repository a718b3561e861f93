import asyncio

import pytest

from app.errors import OverloadedError
from app.gateway.overload import LoadWatch, Places, resident_bytes


def places(**changes):
    return Places(**{"max_running": 2, "max_waiting": 1, "max_wait_s": 60.0, **changes})


async def until(condition):
    while not condition():
        await asyncio.sleep(0)


async def test_a_full_house_turns_away_at_once():
    house = places()
    await house.enter()
    await house.enter()
    waiting = asyncio.ensure_future(house.enter())
    await until(lambda: house.waiting == 1)
    with pytest.raises(OverloadedError, match="2 requests and 1 wait") as refused:
        await house.enter()
    assert refused.value.retry_after_s > 0
    house.leave()
    await waiting
    assert (house.running, house.waiting) == (2, 0)


async def test_who_waited_longest_comes_first():
    house = places(max_running=1, max_waiting=3)
    await house.enter()
    order = []

    async def visit(name):
        await house.enter()
        order.append(name)
        house.leave()

    visits = [asyncio.ensure_future(visit(name)) for name in "abc"]
    await until(lambda: house.waiting == 3)
    house.leave()
    await asyncio.gather(*visits)
    assert order == ["a", "b", "c"]
    assert house.running == 0


async def test_nobody_waits_longer_than_allowed():
    house = places(max_running=1, max_wait_s=0.01)
    await house.enter()
    with pytest.raises(OverloadedError, match="no place became free"):
        await house.enter()
    assert (house.running, house.waiting) == (1, 0)


async def test_a_place_that_is_handed_to_somebody_who_leaves_goes_to_the_next():
    house = places(max_running=1, max_waiting=2)
    await house.enter()
    gone, stays = asyncio.ensure_future(house.enter()), asyncio.ensure_future(house.enter())
    await until(lambda: house.waiting == 2)
    house.leave()
    gone.cancel()
    await stays
    with pytest.raises(asyncio.CancelledError):
        await gone
    assert (house.running, house.waiting) == (1, 0)


async def test_waiting_that_is_cancelled_leaves_no_trace():
    house = places(max_running=1)
    await house.enter()
    waiting = asyncio.ensure_future(house.enter())
    await until(lambda: house.waiting == 1)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert house.waiting == 0
    house.leave()
    assert house.running == 0


async def test_a_lagging_loop_turns_new_requests_away_until_it_recovers():
    watch = LoadWatch(max_lag_s=0.5)
    house = places(overloaded=watch.overloaded)
    watch.sample(0.8, 0)
    with pytest.raises(OverloadedError, match="event loop lags"):
        await house.enter()
    watch.sample(0.0, 0)
    await house.enter()


async def test_full_memory_turns_new_requests_away():
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
