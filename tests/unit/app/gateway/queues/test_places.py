import asyncio

import pytest

from app.calls import Call, CallRole
from app.errors import OverloadedError
from app.gateway.queues.fair_line import FairLine
from app.gateway.queues.overload import LoadWatch
from app.gateway.queues.places import Places, WaitLimits, used_by
from app.gateway.queues.virtual_counters import Rank
from app.keys import Priority
from app.usage import Usage

KEY = Rank("a")


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def places(*, max_running=2, max_waiting=1, max_wait_s=60.0, batch_max_wait_s=60.0, **changes):
    return Places(
        max_running=max_running,
        line=FairLine(max_waiting=max_waiting),
        limits=WaitLimits(max_wait_s=max_wait_s, batch_max_wait_s=batch_max_wait_s),
        **{"clock": Clock(), **changes},
    )


async def enter(house, rank=KEY):
    return None if house.enter() else await house.wait(rank, n_bytes=400)


async def waiting(house, n, rank=KEY):
    """Return n tasks that wait."""
    before = house.waiting
    tasks = [asyncio.ensure_future(enter(house, rank)) for _ in range(n)]
    while house.waiting < before + n:
        await asyncio.sleep(0)
    return tasks


async def test_a_full_house_turns_away_at_once():
    house = places()
    await enter(house)
    await enter(house)
    (waits,) = await waiting(house, 1)
    with pytest.raises(OverloadedError, match="2 requests and 1 wait") as refused:
        await enter(house)
    assert refused.value.retry_after_s > 0
    with pytest.raises(OverloadedError):
        house.check_room(Rank("a"))
    house.leave()
    await waits
    assert (house.running, house.waiting) == (2, 0)


async def test_of_one_key_who_waited_longest_comes_first():
    house = places(max_running=1, max_waiting=3)
    await enter(house)
    order = []

    async def visit(name):
        ticket = await enter(house)
        order.append(name)
        house.leave(ticket)

    visits = []
    for name in "abc":
        visits.append(asyncio.ensure_future(visit(name)))
        await asyncio.sleep(0)
    house.leave()
    await asyncio.gather(*visits)
    assert order == ["a", "b", "c"]
    assert house.running == 0


async def test_nobody_waits_longer_than_allowed_and_is_told_how_long_it_takes():
    told = []
    house = places(max_running=1, max_wait_s=0.01, on_waited=lambda *wait: told.append(wait))
    await enter(house)
    with pytest.raises(OverloadedError, match=r"no place became free within 0\.01 s") as late:
        await enter(house)
    assert late.value.retry_after_s > 0
    assert (house.running, house.waiting) == (1, 0)
    assert [(each[0], each[2]) for each in told] == [("interactive", "timeout")]


async def test_a_batch_request_has_a_limit_of_its_own():
    house = places(max_running=1, max_wait_s=60.0, batch_max_wait_s=0.01)
    await enter(house)
    with pytest.raises(OverloadedError, match=r"within 0\.01 s"):
        await enter(house, Rank("a", Priority.BATCH))


async def test_a_place_that_is_handed_to_somebody_who_leaves_goes_to_the_next():
    house = places(max_running=1, max_waiting=2)
    await enter(house)
    gone, stays = await waiting(house, 2)
    house.leave()
    gone.cancel()
    await stays
    with pytest.raises(asyncio.CancelledError):
        await gone
    assert (house.running, house.waiting) == (1, 0)


async def test_a_place_is_not_handed_to_somebody_who_is_leaving():
    house = places(max_running=1, max_waiting=2)
    await enter(house)
    gone, stays = await waiting(house, 2)
    gone.cancel()
    house.leave()
    await stays
    with pytest.raises(asyncio.CancelledError):
        await gone
    assert (house.running, house.waiting) == (1, 0)


async def test_waiting_that_is_cancelled_leaves_no_trace():
    house = places(max_running=1)
    await enter(house)
    (waits,) = await waiting(house, 1)
    waits.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waits
    assert house.waiting == 0
    house.leave()
    assert house.running == 0
    assert house.line.n_keys == 0


async def test_a_key_with_more_waiting_makes_room_for_one_with_less():
    told = []
    house = places(max_running=1, max_waiting=3, on_waited=lambda *wait: told.append(wait))
    await enter(house)
    heavy = await waiting(house, 3, Rank("heavy"))
    light = asyncio.ensure_future(enter(house, Rank("light")))
    with pytest.raises(OverloadedError, match="1 requests and"):
        await heavy[-1]  # the one that came last
    assert [each[2] for each in told] == ["displaced"]
    house.leave()
    house.leave(await heavy[0])
    await light
    assert house.waiting == 1
    heavy[1].cancel()


async def test_more_places_are_handed_out_at_once_and_fewer_take_none_away():
    house = places(max_running=1, max_waiting=5)
    await enter(house)
    first, second = await waiting(house, 2)
    limits = WaitLimits(max_wait_s=1.0, batch_max_wait_s=1.0)
    house.resize(max_running=3, max_waiting=0, limits=limits)
    await asyncio.gather(first, second)
    assert house.running == 3
    house.resize(max_running=1, max_waiting=0, limits=limits)
    assert house.running == 3
    house.leave()
    house.leave()
    assert not house.enter()
    house.leave()
    assert house.enter()


async def test_a_lagging_loop_turns_new_requests_away_until_it_recovers():
    watch = LoadWatch(max_lag_s=0.5)
    house = places(overloaded=watch.overloaded)
    watch.sample(0.8, 0)
    with pytest.raises(OverloadedError, match="event loop lags"):
        house.enter()
    with pytest.raises(OverloadedError, match="event loop lags"):
        house.check()
    watch.sample(0.0, 0)
    assert house.enter()


def test_calls_come_to_virtual_tokens():
    def call(usage):
        return Call(
            call_id="1",
            parent_id="0",
            role=CallRole.ANSWER,
            model_id="m",
            upstream="u",
            began_s=0.0,
            duration_s=0.0,
            usage=usage,
        )

    used = call(Usage(input_tokens=100, output_tokens=10))
    assert used_by([used, call(None), used]) == 240
    assert used_by([call(None)]) is None


async def test_it_is_told_beforehand_who_goes_first_and_how_long_that_takes():
    house = places(max_running=1, max_waiting=100)
    clock = house.clock
    assert house.outlook(KEY) == (0.0, 0, 0, None)
    await enter(house)
    assert house.outlook(KEY) == (0.0, 0, 0, None)  # the first that waits gets the next place
    tasks = await waiting(house, 6, Rank("heavy"))
    # Nobody was seen to wait for its turn: how long that takes is not known.
    assert house.outlook(KEY) == (0.0, 6, 1, None)
    for turn in range(3):
        clock.now += 2.0
        house.leave(await tasks[turn - 1] if turn else None)
        await tasks[turn]
    light, heavy = house.outlook(KEY), house.outlook(Rank("heavy"))
    assert (light.n_waiting, light.n_before, light.wait) == (3, 0, None)
    assert (heavy.n_waiting, heavy.n_before) == (3, 3)
    # One of them gets the place of who asks; the others follow, 2 s apart.
    assert heavy.wait.seconds == pytest.approx(3 * 2.0)
    assert heavy.wait.seconds_upper > heavy.wait.seconds
    batch = house.outlook(Rank("light", Priority.BATCH))
    assert batch.n_before == 3
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
