"""Memories of several lengths: the longest one counts that late calls do not contradict."""

import random

import numpy as np
import pytest

from app.gateway.deployments.adaptive_memory import Ladder, RungLessons
from app.gateway.deployments.bandit import ADAPTIVE_MEMORY, BanditRule
from app.gateway.deployments.bandit_memory import Fading, Window
from app.gateway.lessons import Pupil
from app.stores.memory_registers import MemoryRegisters
from tests.unit.app.gateway.deployments.test_bandit import World

SUMS, WINDOWS = "discounted-thompson", "sw-thompson"
KINDS = (SUMS, WINDOWS)


def learned(memory, rates, n, *, seed=0):
    """Teach a memory of so many calls, an arm of which answers as often as its rate says."""
    rng = random.Random(seed)
    for _ in range(n):
        arm = rng.choice(sorted(rates))
        memory.learn([(arm, float(rng.random() < rates[arm]))])
    return memory


def in_force(memory):
    """Return how many calls count, about."""
    found = memory.in_force()
    return round(sum(sum(found.counts(arm)) for arm in found.arms()))


@pytest.mark.parametrize("kind", KINDS)
def test_everything_that_still_holds_counts(kind):
    memory = learned(BanditRule(kind=kind).new_memory(), {"x": 0.95, "y": 0.9}, 60_000)
    assert in_force(memory) == pytest.approx(ADAPTIVE_MEMORY[-1], rel=0.01)


@pytest.mark.parametrize("kind", KINDS)
def test_what_no_longer_holds_is_left_out_and_comes_back_when_it_holds_again(kind):
    memory = learned(BanditRule(kind=kind).new_memory(), {"x": 0.95, "y": 0.9}, 60_000)
    learned(memory, {"x": 0.6, "y": 0.9}, 200, seed=1)
    assert in_force(memory) < 2_500
    good, bad = memory.counts("x")
    assert good / (good + bad) < 0.85
    learned(memory, {"x": 0.6, "y": 0.9}, 60_000, seed=2)
    assert in_force(memory) == pytest.approx(ADAPTIVE_MEMORY[-1], rel=0.01)
    good, bad = memory.counts("x")
    assert good / (good + bad) == pytest.approx(0.6, abs=0.03)


def test_a_change_of_one_arm_shortens_what_counts_of_all_of_them():
    memory = learned(BanditRule().new_memory(), {"x": 0.95, "y": 0.9}, 60_000)
    for _ in range(30):
        memory.learn([("x", 0.0)])
    assert sum(memory.counts("y")) < 300


def test_differences_by_chance_shorten_it_seldom():
    memory, short = BanditRule().new_memory(), 0
    learned(memory, {"x": 0.95, "y": 0.9, "z": 0.9}, 20_000)
    for turn in range(500):
        learned(memory, {"x": 0.95, "y": 0.9, "z": 0.9}, 40, seed=turn)
        short += in_force(memory) < 9_000
    assert short < 100


def test_outcomes_of_which_each_is_a_part_of_one_are_weighed_like_others():
    memory = BanditRule().new_memory()
    for _ in range(20_000):
        memory.learn([("x", 0.5)])
    assert in_force(memory) == pytest.approx(ADAPTIVE_MEMORY[-1], rel=0.2)
    for _ in range(100):
        memory.learn([("x", 0.1)])
    assert in_force(memory) < 1_000


def test_one_length_alone_is_what_it_was():
    assert isinstance(BanditRule(memory=500).new_memory(), Fading)
    assert isinstance(BanditRule(kind="sw-ucb", memory=500).new_memory(), Window)
    assert isinstance(BanditRule().new_memory(), Ladder)


def test_sums_that_grow_are_those_that_fade():
    memory, wanted = Fading(10), {"x": [0.0, 0.0], "y": [0.0, 0.0]}
    rng = random.Random(5)
    for number in range(6_000):  # beyond where they are counted anew
        arm, reward = rng.choice("xy"), rng.random()
        memory.learn([(arm, reward)])
        for each in wanted.values():
            each[:] = [0.9 * count for count in each]
        wanted[arm][0] += reward
        wanted[arm][1] += 1.0 - reward
        if number % 1_000 == 0:
            for each, counts in wanted.items():
                assert memory.counts(each) == pytest.approx(counts)
    lesson, n = memory.gather()
    assert n == 6_000
    assert {arm: sums.tolist() for arm, sums in lesson.sums.items()} == {
        arm: pytest.approx(counts) for arm, counts in wanted.items()
    }


@pytest.mark.parametrize("kind", KINDS)
def test_a_lesson_is_read_as_it_was_written(kind):
    rule = BanditRule(kind=kind)
    memory = learned(rule.new_memory(), {"x": 0.9, "y": 0.5}, 700)
    lesson, n = memory.gather()
    assert n == 700
    assert memory.gather() is None
    again = rule.new_memory()
    again.recall(again.restore(lesson.state()))
    for arm in "xy":
        assert again.counts(arm) == pytest.approx(memory.counts(arm))
    again.recall(None)
    assert again.counts("x") == (0.0, 0.0)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_lesson_of_it_is_refused(kind):
    memory = BanditRule(kind=kind).new_memory()
    fixed = learned(BanditRule(kind=kind, memory=500).new_memory(), {"x": 0.9}, 10).gather()[0]
    mine = learned(BanditRule(kind=kind).new_memory(), {"x": 0.9}, 10).gather()[0]
    with pytest.raises((KeyError, ValueError)):
        memory.restore(fixed.state())
    with pytest.raises((KeyError, ValueError)):
        memory.restore({name: array for name, array in mine.state().items() if name[0] != "2"})
    with pytest.raises((KeyError, ValueError)):
        memory.restore({name: np.full_like(array, -1.0) for name, array in mine.state().items()})
    for refused in (fixed, RungLessons(rungs=(fixed,))):
        with pytest.raises((TypeError, ValueError)):
            memory.absorb(refused)
        with pytest.raises((TypeError, ValueError)):
            mine.then(refused)


@pytest.mark.parametrize("kind", KINDS)
async def test_gateways_that_merge_while_the_world_changes_go_by_what_one_does(kind):
    registers = MemoryRegisters()
    one, another, alone = (World(kind=kind, memory="adaptive", seed=seed) for seed in (1, 2, 3))
    kept = [(each, Pupil("of-a-balance", "m", each.context)) for each in (one, another)]
    lengths = set()
    for turn in range(12):
        rates = {"x": 0.95 if turn < 6 else 0.5, "y": 0.9}
        for number, (world, taught) in enumerate(kept):
            rng = random.Random(10 * turn + number)
            names = [rng.choice("xy") for _ in range(150)]
            seen = [(name, float(rng.random() < rates[name])) for name in names]
            world.told(seen)
            alone.told(seen)
            await taught.keep(registers)
        for _, taught in kept:
            await taught.keep(registers)
        for world, _ in kept:
            assert in_force(world.context.memory) == in_force(alone.context.memory)
            assert world.chances() == pytest.approx(alone.chances())
        lengths.add(in_force(alone.context.memory))
    assert min(lengths) < 600
    assert max(lengths) > 1_000
