"""One watch that several processes keep together, over a store that fails when told."""

import asyncio

import msgspec
import numpy as np
import pytest

from app.gateway.watch.provider_watch import MAX_WAITING, ProviderWatch
from app.stores.base import StoreError
from app.stores.memory_registers import MemoryRegisters, SqliteRegisters
from routers.watch.signals import Observation, Placed, Signal
from routers.watch.watched import Level, Rule
from tests.support.flaky import Flaky
from tests.support.providers import ScriptedProvider, deployment

RULE = Rule(demotes=True, learn_from=200)
PLACE = ("large", "scripted", "upstream-large")


class Pool:
    """Notes what is demoted."""

    def __init__(self):
        self.demoted = set()

    def demote(self, places):
        self.demoted = set(places)


class Process:
    """One of several that watch the same models."""

    def __init__(self, registers, rule=RULE):
        self.told, self.pool = [], Pool()
        self.watch = ProviderWatch(
            registers, now=lambda: 0.0, on_change=lambda _, change: self.told.append(change.level)
        )
        self.follow(rule)

    def follow(self, rule):
        serving = {name: (deployment(name, ScriptedProvider()),) for name in ("large", "small")}
        self.watch.follow(rule, serving, self.pool, answers_as={})

    @property
    def known(self):
        return next(each.known for each in self.watch if each.place == PLACE)

    async def answer(self, answers):
        for each in answers:
            self.watch.take(PLACE, each)
        await self.watch.keep()


def answers(n, *, shift=0.0, seed=1):
    rng = np.random.default_rng(seed)
    return [Observation(length=Placed("text 1", rng.normal(shift, 0.6))) for _ in range(n)]


def halves(seen):
    return [seen[at : at + 25] for at in range(0, len(seen), 25)]


@pytest.fixture
def registers():
    return Flaky(MemoryRegisters())


def state_of(process):
    return process.known.n_seen, process.known.evidence(), process.known.profile


async def test_what_two_processes_see_is_tested_as_what_one_sees(registers):
    one, another, alone = Process(registers), Process(registers), Process(MemoryRegisters())
    for number, part in enumerate(halves(answers(400))):
        await (one, another)[number % 2].answer(part)
        await alone.answer(part)
    for number, part in enumerate(halves(answers(200, shift=-0.8))):
        await (one, another)[number % 2].answer(part)
        await alone.answer(part)
    for _ in range(5):  # it looks for what others saw not every time
        await one.watch.keep()
        await another.watch.keep()
    assert state_of(one) == state_of(another) == state_of(alone)
    assert sorted(one.told + another.told) == sorted([Level.WARNING, Level.DEMOTED])
    assert one.pool.demoted == another.pool.demoted == {PLACE}
    assert one.watch.demoted() == another.watch.demoted() == {"large"}


async def test_processes_that_write_at_the_same_time_lose_nothing(registers):
    processes = [Process(registers) for _ in range(4)]
    await asyncio.gather(*[each.answer(answers(20, seed=n)) for n, each in enumerate(processes)])
    for each in processes:
        await each.answer([])
        await each.answer(answers(1))
    assert max(each.known.n_seen for each in processes) == 84


async def test_while_the_store_is_gone_each_goes_on_and_tells_the_others_later(registers):
    one, another = Process(registers), Process(registers)
    await one.answer(answers(100))
    registers.before = StoreError("gone")
    await one.answer(answers(30))
    assert one.known.n_seen == 130
    registers.before = None
    await another.answer(answers(10))
    await one.answer(answers(1))
    assert one.known.n_seen == 141


async def test_a_write_of_which_nobody_knows_whether_it_arrived_counts_once(registers):
    one = Process(registers)
    await one.answer(answers(100))
    registers.after = StoreError("lost on the way back")
    await one.answer(answers(30))
    registers.after = None
    await one.answer(answers(5))
    assert one.known.n_seen == 135
    another = Process(registers)
    await another.watch.keep()
    assert another.known.n_seen == 135


async def test_what_is_known_survives_a_restart(tmp_path):
    for n in (30, 60):
        registers = SqliteRegisters(tmp_path)
        await registers.open()
        process = Process(registers)
        await process.answer(answers(30))
        assert process.known.n_seen == n
        await registers.aclose()


async def test_what_cannot_be_read_is_begun_anew(registers):
    one = Process(registers)
    await one.answer(answers(30))
    name = next(each.register for each in one.watch if each.place == PLACE)
    found = await registers.read(name)
    assert await registers.replace(name, b"?", version="x", after=found[0], lifetime_s=60)
    another = Process(registers)
    await another.answer(answers(7))
    assert another.known.n_seen == 7


async def test_of_very_many_answers_at_once_a_part_is_tested(registers):
    one = Process(registers)
    await one.answer(answers(3 * MAX_WAITING))
    assert one.known.n_seen == MAX_WAITING


async def test_a_configuration_without_a_watch_demotes_nobody(registers):
    one = Process(registers)
    await one.watch.act(PLACE, lambda known, at: [known.pin(Level.DEMOTED, now=at)])
    assert one.watch.demoted() == {"large"}
    one.follow(None)
    assert one.watch.demoted() == frozenset()
    assert one.pool.demoted == set()
    assert (one.watch.mode, list(one.watch)) == ("off", [])
    one.follow(RULE)
    await one.watch.keep()
    assert one.watch.demoted() == {"large"}


async def test_what_operators_do_reaches_every_process(registers):
    one, another = Process(registers), Process(registers)
    await one.watch.act(PLACE, lambda known, at: [known.pin(Level.DEMOTED, now=at)])
    await another.watch.keep()
    assert another.watch.demoted() == {"large"}
    await another.watch.act(PLACE, lambda known, at: [known.clear(now=at)])
    for _ in range(5):
        await one.watch.keep()
    assert one.watch.demoted() == frozenset()


async def test_where_models_are_only_warned_of_none_is_left_alone(registers):
    one = Process(registers, Rule(learn_from=200))
    for part in halves(answers(400) + answers(300, shift=-0.8)):
        await one.answer(part)
    assert one.known.level is Level.WARNING
    assert one.watch.demoted() == frozenset()


async def test_an_answer_of_another_place_is_let_be(registers):
    one = Process(registers)
    one.watch.take(
        ("gone", "scripted", "upstream-gone"), Observation(events=((Signal.EMPTY, True),))
    )
    await one.watch.keep()
    assert msgspec.to_builtins(one.known.profile.rates) == {}
