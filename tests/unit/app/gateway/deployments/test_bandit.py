"""What bandits learn of deployments, forget, share, and say of their draws."""

import asyncio
import random
from collections import Counter

import pytest

from app.errors import (
    UpstreamRejectedError,
    UpstreamThrottledError,
    UpstreamTimeoutError,
    UpstreamUnavailableError,
)
from app.gateway.deployments.balance import CallSize
from app.gateway.deployments.bandit import Bandit, BanditRule
from app.gateway.deployments.pool import DeploymentPool
from app.gateway.lessons import Pupil, Pupils
from app.stores.base import StoreError
from app.stores.memory_registers import MemoryRegisters
from tests.support.flaky import Flaky
from tests.support.providers import ScriptedProvider, deployment

KINDS = ("discounted-thompson", "sw-thompson", "d-ucb", "sw-ucb")
DOWN = UpstreamUnavailableError("down", status=503)


class World:
    """One gateway, with a model in some places that answer as often as a test says."""

    def __init__(
        self, *, kind="discounted-thompson", memory=500, seed=1, names="xy", failures=5, **rule
    ):
        self.now = 0.0
        self.balance = Bandit(random.Random(seed), BanditRule(kind=kind, memory=memory, **rule))
        self.chance = random.Random(seed + 1)
        places = [deployment("m", ScriptedProvider(), upstream=name) for name in names]
        self.pool = DeploymentPool(
            {
                "m": places,
                "m@v": [deployment("m@v", ScriptedProvider(), upstream=n) for n in names],
            },
            clock=lambda: self.now,
            failures=failures,
            rng=random.Random(seed + 2),
            balances={"m": self.balance, "m@v": self.balance},
        )
        self.slots = list(self.pool.slots())[: len(names)]
        self.balance.meet(["m", "m@v"])

    def call(self, rates, *, model="m", error=DOWN):
        lease = self.pool.lease(model)
        lease.first_token()
        if self.chance.random() < rates[lease.deployment.upstream]:
            lease.succeeded()
        else:
            lease.failed(error)
        lease.release()
        return lease

    def shares(self, rates, n):
        return Counter(self.call(rates).deployment.upstream for _ in range(n))

    @property
    def context(self):
        return self.balance.contexts()[0]

    def told(self, outcomes):
        for name, reward in outcomes:
            slot = next(each for each in self.slots if each.deployment.upstream == name)
            self.context.learn(slot, reward)

    def counts(self):
        return [self.context.memory.counts(f"{name}\nupstream-m") for name in "xy"]

    def chances(self):
        self.context._draws.clear()
        return self.context.chances(tuple(self.slots))


@pytest.mark.parametrize("kind", KINDS)
def test_the_place_that_answers_gets_the_calls_and_loses_them_when_it_fails(kind):
    world = World(kind=kind, memory=300)
    assert world.shares({"x": 0.95, "y": 0.6}, 1500)["x"] > 1200
    assert world.shares({"x": 0.6, "y": 0.95}, 1500)["y"] > 1000
    assert world.shares({"x": 0.6, "y": 0.95}, 500)["y"] > 400


@pytest.mark.parametrize("memory", [100, "adaptive"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_propensity_of_a_draw_is_how_often_it_is_drawn(kind, memory):
    world = World(kind=kind, explore=0.1, memory=memory)
    world.told([("x", 1.0)] * 20 + [("y", 1.0)] * 18 + [("y", 0.0)] * 2)
    leases = [world.pool.lease("m") for _ in range(4000)]  # nothing is learned in between
    taken = Counter(lease.deployment.upstream for lease in leases)
    told = {lease.deployment.upstream: lease.propensity for lease in leases}
    assert sum(told.values()) == pytest.approx(1.0)
    for name, propensity in told.items():
        assert taken[name] / 4000 == pytest.approx(propensity, abs=0.03)
    assert min(told.values()) >= 0.05


def test_inverse_propensities_tell_what_each_place_is_worth():
    world = World(explore=0.05, memory=200, failures=10**9)
    rates, worth, n = {"x": 0.9, "y": 0.5}, Counter(), 6000
    for _ in range(n):
        lease = world.call(rates)
        name = lease.deployment.upstream
        worth[name] += rates[name] / lease.propensity / n
    assert worth["x"] == pytest.approx(0.9, abs=0.05)
    assert worth["y"] == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize(
    ("error", "counts"),
    [
        (DOWN, (0.0, 1.0)),
        (UpstreamTimeoutError("slow"), (0.0, 1.0)),
        (UpstreamThrottledError("429", status=429), (0.0, 0.0)),
        (UpstreamRejectedError("400", status=400), (0.0, 0.0)),
        (None, (1.0, 0.0)),
    ],
)
def test_faults_of_the_provider_count_and_those_of_clients_do_not(error, counts):
    world = World()
    lease = world.pool.lease("m")
    if error is None:
        lease.succeeded()
    else:
        lease.failed(error)
    lease.release()
    assert world.counts()[lease.deployment.upstream == "y"] == counts


def test_a_call_whose_client_leaves_teaches_nothing():
    world = World()
    world.pool.lease("m").release()
    assert world.counts() == [(0.0, 0.0)] * 2


def test_an_answer_that_begins_late_is_a_part_of_one_where_that_is_asked_for():
    world = World(latency_s=0.5)
    for took_s, good in ((0.2, 1.0), (0.5, 1.0), (5.0, 0.1)):
        world.context.memory.recall(None)
        lease = world.pool.lease("m")
        world.now += took_s
        lease.first_token()
        world.now += 100.0  # what it takes to write it does not count
        lease.succeeded()
        lease.release()
        assert world.counts()[lease.deployment.upstream == "y"][0] == pytest.approx(good)


def test_what_was_long_ago_counts_less_or_not_at_all():
    world = World(memory=50)
    world.told([("x", 0.0)] * 500 + [("y", 1.0)] * 50)
    x, y = world.counts()
    assert x[1] == pytest.approx(50 * 0.98**50, rel=0.01)
    assert y[0] == pytest.approx(50 * (1 - 0.98**50), rel=0.01)
    window = World(kind="sw-ucb", memory=50)
    window.told([("x", 0.0)] * 500 + [("y", 1.0)] * 49)
    assert window.counts() == [(0.0, 1.0), (49.0, 0.0)]


def test_a_broken_place_is_never_drawn_whatever_is_believed_of_it():
    world = World(explore=0.5)
    world.told([("x", 1.0)] * 100)
    for _ in range(5):
        lease = world.pool.lease("m", avoid=[world.slots[1]])
        lease.failed(DOWN)
        lease.release()
    world.context.memory.recall(None)
    leases = [world.pool.lease("m") for _ in range(50)]
    assert {lease.deployment.upstream for lease in leases} == {"y"}
    assert {lease.propensity for lease in leases} == {1.0}


def test_weights_share_what_is_explored():
    world = World(explore=1.0)
    world.slots[0].deployment = deployment("m", ScriptedProvider(), upstream="x", weight=3.0)
    assert world.chances() == pytest.approx([0.75, 0.25])


def test_variants_and_sizes_are_learned_apart_where_that_is_asked_for():
    apart = World(context=("model", "size"))
    assert len(apart.balance.contexts()) == 6
    assert apart.pool.predicts("m")
    lease = apart.pool.lease("m@v", size=CallSize(input_tokens=5000.0, output_tokens=10.0))
    lease.succeeded()
    lease.release()
    names = [c.name for c in apart.balance.contexts() if c.memory.gather() is not None]
    assert names == ["m@v\n\nmiddle"]
    together = World(context=())
    assert [c.name for c in together.balance.contexts()] == ["m\n\n"]
    assert not together.pool.predicts("m")
    subjects = {World(region=region).context.subject for region in ("eu", "us")}
    assert len(subjects) == 2


# Shared by gateways.


def pupil(world):
    return Pupil("of-a-balance", "m", world.context)


def outcomes(seed, n):
    rng = random.Random(seed)
    return [(rng.choice("xy"), float(rng.random() < 0.9)) for _ in range(n)]


@pytest.mark.parametrize("memory", [60, "adaptive"])
@pytest.mark.parametrize("kind", KINDS)
def test_outcomes_told_together_are_remembered_as_one_after_the_other(kind, memory):
    together, singly = (World(kind=kind, memory=memory) for _ in range(2))
    for each in (told := outcomes(1, 700)):
        singly.told([each])
        singly.counts()
    together.told(told)
    for mine, theirs in zip(together.counts(), singly.counts(), strict=True):
        assert mine == pytest.approx(theirs)
    assert together.chances() == pytest.approx(singly.chances())


def test_a_place_that_begins_to_fail_is_noticed_within_a_few_calls():
    world = World(explore=0.0)
    world.told([("x", 1.0)] * 1_000 + [("y", 1.0)] * 990 + [("y", 0.0)] * 10)
    before = [*world.context.chances(tuple(world.slots))]
    world.told([("x", 0.0)] * 9)
    assert world.context.chances(tuple(world.slots))[0] < before[0] - 0.1


@pytest.mark.parametrize("memory", [60, "adaptive"])
@pytest.mark.parametrize("kind", KINDS)
async def test_two_gateways_that_merge_believe_what_one_does_that_takes_all_calls(kind, memory):
    registers = MemoryRegisters()
    one, another, alone = (World(kind=kind, memory=memory, seed=seed) for seed in (1, 2, 3))
    kept = [(one, pupil(one)), (another, pupil(another))]
    for turn in range(5):
        for number, (world, taught) in enumerate(kept):
            seen = outcomes(10 * turn + number, 17 + number)
            world.told(seen)
            alone.told(seen)
            await taught.keep(registers)
    for _, taught in kept:
        await taught.keep(registers)
    for world, _ in kept:
        assert [n for each in world.counts() for n in each] == pytest.approx(
            [n for each in alone.counts() for n in each]
        )
        assert world.chances() == pytest.approx(alone.chances())
    assert alone.chances() != World(kind=kind).chances()


@pytest.mark.parametrize("kind", KINDS)
async def test_gateways_that_write_at_the_same_time_lose_nothing(kind):
    registers = MemoryRegisters()
    worlds = [World(kind=kind, memory=10_000, seed=seed) for seed in range(4)]
    kept = [pupil(world) for world in worlds]
    for number, world in enumerate(worlds):
        world.told(outcomes(number, 25))
    await asyncio.gather(*[each.keep(registers) for each in kept])
    await asyncio.gather(*[each.keep(registers) for each in kept])
    sums = [sum(n for each in world.counts() for n in each) for world in worlds]
    assert sums == pytest.approx([100.0] * 4, rel=0.02)


async def test_without_the_store_each_goes_on_with_what_it_sees_and_adds_it_later():
    registers = Flaky(MemoryRegisters())
    one, another = World(memory=1000, seed=1), World(memory=1000, seed=2)
    kept = [pupil(one), pupil(another)]
    registers.before = StoreError("gone")
    for world, taught in zip((one, another), kept, strict=True):
        world.told([("x", 0.0)] * 20 + [("y", 1.0)] * 20)
        with pytest.raises(StoreError):
            await taught.keep(registers)
        assert taught.n_waiting == 40
        assert world.chances()[1] > 0.95
    registers.before = None
    for taught in (*kept, kept[0]):
        await taught.keep(registers)
    assert one.counts() == [pytest.approx(each) for each in another.counts()]
    assert one.counts()[0][1] > 35


async def test_a_reload_keeps_what_was_learned_and_restarts_read_it():
    registers = MemoryRegisters()
    pupils, before = Pupils(registers), World(memory=200)
    pupils.of({}, bandits=before.pool.bandits())
    before.told([("x", 0.0)] * 30 + [("y", 1.0)] * 30)
    after = World(memory=200)
    pupils.of({}, bandits=after.pool.bandits())
    assert after.counts() == [pytest.approx(each) for each in before.counts()]
    await pupils.keep()
    again = World(memory=200)
    restarted = Pupils(registers)
    restarted.of({}, bandits=again.pool.bandits())
    await restarted.keep()
    assert again.counts() == [pytest.approx(each) for each in before.counts()]
    other = World(memory=300)  # another memory is another bandit
    restarted.of({}, bandits=other.pool.bandits())
    await restarted.keep()
    assert other.counts() == [(0.0, 0.0)] * 2


async def test_what_is_learned_while_others_lessons_are_read_is_kept():
    registers = MemoryRegisters()
    one, another = World(memory=1000, seed=1), World(memory=1000, seed=2)
    first, second = pupil(one), pupil(another)
    one.told([("x", 1.0)] * 10)
    await first.keep(registers)
    reading = asyncio.create_task(second.keep(registers))
    for _ in range(3):
        await asyncio.sleep(0)
        another.told([("y", 1.0)])
    await reading
    await second.keep(registers)
    await first.keep(registers)
    assert one.counts() == [pytest.approx(each) for each in another.counts()]
    assert one.counts()[1][0] == pytest.approx(3.0, rel=0.02)
