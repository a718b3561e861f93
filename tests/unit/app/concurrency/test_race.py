import asyncio

import pytest

from app.concurrency.race import race


class Runners:
    """Tries that do what a test says, and what became of them."""

    def __init__(self, *scripts):
        self.scripts = scripts
        self.started, self.cancelled, self.won, self.lost = [], [], [], []

    def tries(self):
        return [self._try(i, script) for i, script in enumerate(self.scripts)]

    def _try(self, number, script):
        async def run():
            self.started.append(number)
            try:
                return await script()
            except asyncio.CancelledError:
                self.cancelled.append(number)
                raise

        return run

    async def run(self, hedge_after_s=60.0):
        async def lost(result):
            self.lost.append(result)

        return await race(self.tries(), hedge_after_s=hedge_after_s, won=self.won.append, lost=lost)


def at_once(result):
    async def script():
        return result

    return script


async def forever():
    await asyncio.get_running_loop().create_future()


async def raises():
    raise ValueError("final")


def others():
    return asyncio.all_tasks() - {asyncio.current_task()}


async def test_a_quick_first_one_runs_alone():
    runners = Runners(at_once("a"), at_once("b"))
    assert await runners.run() == "a"
    assert runners.started == [0]
    assert runners.won == ["a"]


async def test_a_failed_one_is_followed_by_the_next_without_waiting():
    runners = Runners(at_once(None), at_once("b"))
    assert await runners.run() == "b"
    assert runners.started == [0, 1]


async def test_a_slow_one_is_overtaken_and_cancelled():
    runners = Runners(forever, at_once("b"), at_once("c"))
    assert await runners.run(hedge_after_s=0.0) == "b"
    assert runners.started == [0, 1]
    assert runners.cancelled == [0]
    assert others() == set()


async def test_only_one_is_ever_started_beside_another():
    runners = Runners(forever, forever, at_once("c"))
    task = asyncio.create_task(runners.run(hedge_after_s=0.0))
    while len(runners.started) < 2:
        await asyncio.sleep(0)
    for _ in range(20):
        await asyncio.sleep(0)
    assert runners.started == [0, 1]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert runners.cancelled == [0, 1]
    assert others() == set()


async def test_a_slow_first_one_may_still_win():
    go = asyncio.Event()

    async def slow():
        await go.wait()
        return "a"

    async def second():
        go.set()
        await forever()

    runners = Runners(slow, second)
    assert await runners.run(hedge_after_s=0.0) == "a"
    assert runners.cancelled == [1]


async def test_when_the_hedge_fails_the_first_one_is_still_waited_for():
    go = asyncio.Event()

    async def slow():
        await go.wait()
        return "a"

    async def fails():
        go.set()

    runners = Runners(slow, fails, at_once("c"))
    assert await runners.run(hedge_after_s=0.0) == "a"
    assert runners.started == [0, 1]


async def test_when_both_fail_the_next_is_tried():
    go = asyncio.Event()

    async def slow():
        await go.wait()

    async def fails():
        go.set()

    runners = Runners(slow, fails, at_once("c"))
    assert await runners.run(hedge_after_s=0.0) == "c"
    assert await Runners(at_once(None), at_once(None)).run() is None


async def test_a_second_result_in_the_same_moment_is_disposed_of():
    go = asyncio.Event()

    async def waits(result):
        await go.wait()
        return result

    async def second():
        asyncio.get_running_loop().call_soon(go.set)
        return await waits("b")

    runners = Runners(lambda: waits("a"), second)
    assert await runners.run(hedge_after_s=0.0) == "a"
    assert runners.lost == ["b"]


async def test_what_is_final_ends_the_race():
    runners = Runners(forever, raises, at_once("c"))
    with pytest.raises(ValueError, match="final"):
        await runners.run(hedge_after_s=0.0)
    assert runners.cancelled == [0]
    assert others() == set()


async def test_a_race_cancelled_after_it_was_won_disposes_of_the_winner_too():
    leaving = asyncio.Event()

    async def leaves_slowly():
        try:
            await forever()
        finally:
            leaving.set()
            await asyncio.sleep(0)
            await asyncio.sleep(0)

    runners = Runners(leaves_slowly, at_once("b"))
    task = asyncio.create_task(runners.run(hedge_after_s=0.0))
    await leaving.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert runners.won == runners.lost == ["b"]
    assert others() == set()
