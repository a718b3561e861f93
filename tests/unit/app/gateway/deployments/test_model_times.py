"""What is found of all candidates at once is what is found of each by itself."""

import math
import random
from dataclasses import replace

import pytest

from app.gateway.deployments.balance import CallSize
from app.gateway.deployments.pool import DeploymentPool
from app.gateway.deployments.rooms import Rooms
from app.gateway.latency import Pace
from app.gateway.latency_terms import NO_LIMIT, TimeLeft
from app.gateway.queues.expected_wait import ExpectedWait
from routers.decisions import CandidateEstimate
from tests.support.providers import ScriptedProvider, deployment

MODELS = [f"m{number}" for number in range(8)]


class Crowd:
    """Some wait, or nobody does."""

    def __init__(self, pool):
        self.pool, self.n_waiting, self.waits = pool, 0, {}

    def expected_wait(self, model_id, held_s, _rank):
        waited_for = self.waits.get(model_id, 0)
        if not waited_for and self.pool.has_room(model_id):
            return None
        return ExpectedWait(0.1 * held_s * (waited_for + 1), 0.2 * held_s * (waited_for + 1))


class World:
    """Models at one to three places, some of which take two calls at once."""

    def __init__(self, rng):
        self.rng, self.now = rng, 100.0
        places = {
            model_id: [
                replace(
                    deployment(
                        model_id,
                        ScriptedProvider(),
                        upstream=f"u{number}",
                        pace=Pace(ttft_s=rng.uniform(0.1, 2.0), tokens_per_s=rng.uniform(10, 99)),
                    ),
                    max_outstanding=rng.choice([None, 2]),
                    upstream_model=model_id,
                )
                for number in range(rng.randint(1, 3))
            ]
            for model_id in MODELS
        }
        rooms = Rooms()
        self.before, self.pool = (
            DeploymentPool(
                places,
                clock=lambda: self.now,
                failures=1,
                cooldown_s=20.0,
                rng=rng,
                rooms=rooms.of(places),
            )
            for _ in range(2)  # the configuration of before has calls of its own there
        )
        self.crowd = Crowd(self.pool)
        self.pool.times.expects_waits(self.crowd)
        self.leases = []

    def size(self):
        expected = self.rng.choice([None, self.rng.uniform(1, 900)])
        longest = expected and self.rng.choice([None, expected * self.rng.uniform(0.5, 3.0)])
        return CallSize(
            input_tokens=float(self.rng.choice([50, 900, 5_000])),
            output_tokens=expected,
            output_tokens_upper=longest,
            streams=self.rng.random() < 0.5,
        )

    def live(self):
        """Have something happen: a call that begins, ends or fails, and time that passes."""
        self.now += self.rng.choice([0.01, 0.5, 3.0, 200.0])
        if self.rng.random() < 0.6:
            pool = self.rng.choice([self.before, self.pool, self.pool])
            self.leases.append(pool.lease(self.rng.choice(MODELS), size=self.size()))
        elif self.leases:
            lease = self.leases.pop(self.rng.randrange(len(self.leases)))
            lease.first_token()
            self.now += self.rng.uniform(0.0, 9.0)
            if self.rng.random() < 0.8:
                lease.succeeded(output_tokens=self.rng.uniform(1, 900))
            else:
                lease.pool.throttled(lease.slot, self.now + self.rng.uniform(0.0, 30.0))
            lease.release()
        if self.rng.random() < 0.1:
            self.crowd.waits = {self.rng.choice(MODELS): self.rng.randint(0, 2)}
            self.crowd.n_waiting = sum(self.crowd.waits.values())


def estimate(model_id, size):
    return CandidateEstimate(
        model_id=model_id,
        quality=0.5,
        quality_std=0.1,
        input_tokens=int(size.input_tokens),
        output_tokens=size.output_tokens,
        output_tokens_upper=size.output_tokens_upper,
        cost_usd=0.01,
        cost_usd_upper=0.02,
    )


@pytest.mark.parametrize("seed", range(6))
def test_all_at_once_are_as_each_by_itself(seed):
    world = World(random.Random(seed))
    times, rng = world.pool.times, world.rng
    n_late = 0
    for _ in range(150):
        world.live()
        sizes = {model_id: world.size() for model_id in MODELS}
        streams = rng.random() < 0.5
        left = rng.choice([None, NO_LIMIT, TimeLeft(rng.uniform(1, 20), rng.uniform(0.2, 20))])
        found = times.latencies(
            [estimate(model_id, size) for model_id, size in sizes.items()],
            streams=streams,
            left=left,
        )
        assert list(found) == MODELS
        for model_id, size in sizes.items():
            call = CallSize(
                input_tokens=size.input_tokens,
                output_tokens=size.output_tokens,
                output_tokens_upper=size.output_tokens_upper,
                streams=streams,
            )
            assert found[model_id] == times.latency(model_id, call, left=left)
        n_late += sum(left is not None and not left.suffices(each) for each in found.values())
    assert n_late


def test_where_somebody_waits_it_counts_though_the_place_is_idle():
    world = World(random.Random(1))
    limited = next(
        model_id
        for model_id, slots in world.pool.by_model()
        if all(slot.load.room is not None for slot in slots)
    )
    size = CallSize(input_tokens=50.0, output_tokens=100.0, output_tokens_upper=200.0)
    asked = [estimate(limited, size)]
    alone = world.pool.times.latencies(asked, streams=True)[limited]
    world.crowd.waits, world.crowd.n_waiting = {limited: 3}, 3
    behind = world.pool.times.latencies(asked, streams=True)[limited]
    assert behind.total_s == pytest.approx(alone.total_s * 1.4)
    assert behind.total_s_upper == pytest.approx(alone.total_s_upper + 0.8 * alone.total_s)
    assert not math.isclose(behind.ttft_s, alone.ttft_s)
