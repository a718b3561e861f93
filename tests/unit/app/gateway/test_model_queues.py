"""Queues before limited deployments, with a clock and deployments of their own."""

import asyncio
import random
from dataclasses import replace
from functools import partial

import pytest

from app.errors import FailedToWaitError, UpstreamThrottledError, UpstreamUnavailableError
from app.gateway.deployments.balance import CallSize
from app.gateway.deployments.pool import DeploymentPool
from app.gateway.deployments.rooms import Rooms
from app.gateway.latency import USUAL_PACE
from app.gateway.model_queues import ModelQueues, QueueRule
from app.gateway.queues.virtual_counters import Rank
from app.keys import Priority
from app.usage import Usage
from tests.support.providers import ScriptedProvider, deployment

pytestmark = pytest.mark.virtual_time
SIZE = CallSize(input_tokens=10.0, output_tokens=5.0)


class World:
    """A pool of deployments by name: ``{"model": {"east": 2, "west": None}}``."""

    def __init__(self, *, rooms=None, rules=None, **models):
        deployments = {}
        for model_id, places in models.items():
            for upstream, limit in places.items():
                place = deployment(model_id, ScriptedProvider(), upstream=upstream)
                place = replace(place, max_outstanding=limit, upstream_model="same")
                deployments.setdefault(model_id, []).append(place)
        self.waits = []
        self.pool = DeploymentPool(
            deployments,
            clock=lambda: asyncio.get_event_loop().time(),
            failures=1,
            cooldown_s=0.05,
            rng=random.Random(1),
            rooms=(rooms or Rooms()).of(deployments),
        )
        self.queues = ModelQueues(self.pool, rules or {}, on_waited=self._on_waited)

    def _on_waited(self, name):
        return lambda *wait: self.waits.append((name, *wait))

    async def lease(self, who="a", model_id="model"):
        queue = self.queues.of(model_id)
        take = partial(self.pool.lease, model_id)
        if queue.has_a_turn(model_id):
            return take()
        return await queue.wait(model_id, Rank(who), size=SIZE, take=take)

    def line(self, model_id="model"):
        return self.queues.of(model_id).line

    async def waiting(self, *names, model_id="model"):
        tasks = []
        for who in names:
            n = self.line(model_id).n_waiting
            tasks.append(asyncio.ensure_future(self.lease(who, model_id)))
            while self.line(model_id).n_waiting == n:
                await asyncio.sleep(0)
        return tasks


async def test_a_model_without_a_limit_has_no_queue():
    world = World(model={"east": None}, other={"west": 1})
    assert world.queues.of("model") is None
    assert world.queues.of("other") is not None


async def test_every_place_is_used_and_no_more():
    world = World(model={"east": 2, "west": 1})
    leases = [await world.lease() for _ in range(3)]
    assert sorted(lease.deployment.upstream for lease in leases) == ["east", "east", "west"]
    assert not world.pool.has_room("model")
    (waits,) = await world.waiting("a")
    leases[0].release()
    assert (await waits).deployment is leases[0].deployment
    assert [each[0] for each in world.waits] == ["model"]


async def test_where_one_deployment_is_not_limited_nobody_waits():
    world = World(model={"east": 1, "west": None})
    leases = [await world.lease() for _ in range(5)]
    assert [lease.deployment.upstream for lease in leases].count("east") <= 1


async def test_models_at_the_same_place_share_its_limit_and_a_queue():
    world = World(model={"east": 1}, other={"east": 1, "west": 1})
    assert world.queues.of("model") is world.queues.of("other")
    lease = await world.lease(model_id="model")
    assert (await world.lease(model_id="other")).deployment.upstream == "west"
    first, second = await world.waiting("a", "b", model_id="other")
    lease.release()
    assert (await first).deployment.upstream == "east"
    assert not second.done()
    second.cancel()


async def test_who_is_first_and_cannot_use_the_free_place_keeps_no_other_from_it():
    world = World(model={"east": 1}, other={"east": 1, "west": 1})
    busy = await world.lease(model_id="model")
    west = await world.lease(model_id="other")
    (of_model,) = await world.waiting("a")
    (of_other,) = await world.waiting("b", model_id="other")
    west.release()
    assert (await of_other).deployment.upstream == "west"
    assert not of_model.done()
    busy.release()
    assert (await of_model).deployment.upstream == "east"


async def test_what_calls_used_decides_who_is_next():
    world = World(model={"east": 1})
    lease = await world.lease()
    a1, b1, a2, b2 = await world.waiting("a", "b", "a", "b")
    lease.release()
    first = await a1
    first.settle(Usage(input_tokens=10_000, output_tokens=0))
    first.release()
    second = await b1
    second.settle(Usage(input_tokens=1, output_tokens=0))
    second.release()
    await b2
    assert not a2.done()
    a2.cancel()


async def test_a_turn_given_to_somebody_who_leaves_goes_to_the_next():
    world = World(model={"east": 1})
    lease = await world.lease()
    gone, stays = await world.waiting("a", "b")
    lease.release()
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    (await stays).release()
    assert all(slot.outstanding == 0 for slot in world.pool.slots())
    assert world.pool.has_room("model")


async def test_a_deployment_that_may_be_called_again_is_used_without_anything_else_happening():
    world = World(model={"east": 1, "west": 1})
    await world.lease()
    other = await world.lease()
    # One fails, and is left alone until a moment later; the other one stays busy.
    other.failed(UpstreamUnavailableError("down", status=500))
    other.release()
    (waits,) = await world.waiting("a")
    assert world.line().n_waiting == 1
    assert (await waits).deployment is other.deployment
    throttled = await waits
    throttled.failed(UpstreamThrottledError("slow", status=429, retry_after_s=0.05))
    throttled.release()
    (waits,) = await world.waiting("a")
    assert (await waits).deployment is other.deployment


async def test_where_no_deployment_is_available_they_are_called_all_the_same():
    world = World(model={"east": 1})
    lease = await world.lease()
    lease.failed(UpstreamUnavailableError("down", status=500))
    (waits,) = await world.waiting("a")
    lease.release()
    assert (await waits).deployment is lease.deployment


async def test_too_many_are_told_how_long_it_takes():
    world = World(model={"east": 1}, rules={"model": QueueRule(max_waiting=1)})
    await world.lease()
    (waits,) = await world.waiting("a")
    with pytest.raises(FailedToWaitError, match="model takes no more calls at once") as refused:
        await world.lease()
    assert refused.value.retry_after_s > 0
    waits.cancel()


async def test_a_new_configuration_counts_the_calls_of_the_one_before():
    rooms = Rooms()
    before = World(rooms=rooms, model={"east": 2})
    first = await before.lease()
    await before.lease()
    after = World(rooms=rooms, model={"east": 1})
    assert not after.pool.has_room("model")
    (waits,) = await after.waiting("a")
    first.release()
    await asyncio.sleep(0)
    assert not waits.done()  # one still runs, and there is one place now
    before.queues.close()
    World(rooms=rooms, model={"east": 2})
    await waits


async def test_a_call_is_predicted_to_wait_for_those_that_go_before_it():
    world = World(model={"east": 1})
    await world.lease()
    waits = await world.waiting(*["heavy"] * 5)

    def ttft_s(who, priority=Priority.INTERACTIVE):
        return world.pool.times.latency("model", SIZE, rank=Rank(who, priority)).ttft_s

    # Until turns were seen, each is taken to come after a whole answer of the one place.
    pace = USUAL_PACE.ttft_s + SIZE.output_tokens / USUAL_PACE.tokens_per_s
    before_s = USUAL_PACE.ttft_s + 2 * pace  # one of the heavy key's, and its own turn
    assert ttft_s("light") == pytest.approx(before_s)
    assert ttft_s("heavy") == pytest.approx(before_s + 4 * pace)
    assert ttft_s("light", Priority.BATCH) == pytest.approx(before_s + 4 * pace)
    for task in waits:
        task.cancel()
