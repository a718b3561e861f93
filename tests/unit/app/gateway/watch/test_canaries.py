"""Canaries: their questions, their money, and who is asked."""

import ast

import msgspec
import pytest

from app.calls import CallRole
from app.errors import UpstreamUnavailableError
from app.gateway.watch.canaries import CALLER, Canaries, CanaryRule
from app.gateway.watch.canary_prompts import CANARY_PROMPTS
from app.gateway.watch.provider_watch import ProviderWatch
from app.providers.base import Chunk
from app.stores.base import StoreError
from app.stores.memory_registers import MemoryRegisters
from app.usage import ToldUsage
from routers.watch.watched import Level, Rule
from tests.support.flaky import Flaky
from tests.support.providers import ScriptedProvider, deployment

USAGE = ToldUsage(input_tokens=50, output_tokens=2)
DAY_S = 86_400.0


def reply(text):
    message = {"role": "assistant", "content": text}
    return Chunk(data=msgspec.json.encode({"choices": [{"message": message}]}), usage=USAGE)


class Knowing(ScriptedProvider):
    """Answers every question right, or says something else."""

    def __init__(self):
        super().__init__()
        self.says = None

    async def send(self, call):
        self.calls.append(call)
        asked = msgspec.json.decode(call.fields["messages"])[0]["content"]
        prompt = next(each for each in CANARY_PROMPTS if each.prompt == asked)
        if isinstance(self.says, Exception):
            raise self.says
        yield reply(self.says or prompt.answer)


class Asking:
    """A gateway that asks canaries."""

    def __init__(self, *, usd_per_day=1.0, every_s=600.0, price=1.0, registers=None):
        self.now, self.recorded, self.results = 1_000.0, [], []
        self.provider = Knowing()
        serving = {
            name: (deployment(name, self.provider, input_usd_per_mtok=price),)
            for name in ("large", "small")
        }
        watch = ProviderWatch(registers or MemoryRegisters(), now=lambda: self.now)

        class Pool:
            def demote(self, places):
                pass

        watch.follow(Rule(demotes=True), serving, Pool(), answers_as={})
        self.stops = False
        self.canaries = Canaries(
            watch=watch,
            record=self.recorded.append,
            clock=lambda: self.now,
            on_answer=lambda place, result: self.results.append((place[0], result)),
            is_stopping=lambda: self.stops,
            rule=CanaryRule(usd_per_day=usd_per_day, every_s=every_s, max_tokens=100),
        )

    @property
    def spent_usd(self):
        return sum(outcome.cost_usd for outcome in self.recorded)


@pytest.mark.parametrize("prompt", CANARY_PROMPTS, ids=lambda each: each.name)
def test_a_question_takes_its_answer_and_no_other(prompt):
    assert prompt.is_right(prompt.answer)
    assert prompt.is_right(f"Let me see.\n\n**{prompt.answer}**")
    assert not prompt.is_right("")
    assert not prompt.is_right(f"{prompt.answer} or 7")
    assert not prompt.is_right(prompt.answer + "1")


def test_calculations_come_to_what_is_said_of_them():
    checked = 0
    for each in CANARY_PROMPTS:
        expression = each.question.removeprefix("What is ").removesuffix("?")
        if expression != each.question and set(expression) <= set("0123456789 *+"):
            tree = ast.parse(expression, mode="eval")
            assert str(eval(compile(tree, "", "eval"))) == each.answer  # noqa: S307
            checked += 1
    assert checked == 9


def test_questions_have_names_of_their_own():
    assert len({each.name for each in CANARY_PROMPTS}) == len(CANARY_PROMPTS) == 30
    assert len({each.prompt for each in CANARY_PROMPTS}) == 30


async def test_each_place_is_asked_in_its_turn_and_pays_for_itself():
    asking = Asking()
    assert await asking.canaries.ask_one()
    assert await asking.canaries.ask_one()
    assert not await asking.canaries.ask_one()
    assert sorted(asking.results) == [("large", "right"), ("small", "right")]
    asking.now += 60.0  # a tenth of the time, as neither is known yet
    assert await asking.canaries.ask_one()
    outcome = asking.recorded[0]
    assert outcome.is_canary
    assert outcome.key_id == CALLER
    assert [call.role for call in outcome.calls] == [CallRole.CANARY]
    assert outcome.cost_usd == pytest.approx(asking.spent_usd / 3)
    await asking.canaries.watch.keep()
    assert sum(each.known.n_canaries for each in asking.canaries.watch) == 3


async def test_a_wrong_answer_is_wrong_and_a_failure_is_neither():
    asking = Asking()
    asking.provider.says = "42x"
    await asking.canaries.ask_one()
    asking.provider.says = UpstreamUnavailableError("down", status=503)
    await asking.canaries.ask_one()
    assert [result for _, result in asking.results] == ["wrong", "failed"]
    assert asking.recorded[1].cost_usd == 0
    await asking.canaries.watch.keep()
    assert sum(each.known.n_canaries for each in asking.canaries.watch) == 1


async def test_no_more_is_spent_in_a_day_than_may_be_and_the_next_day_as_much():
    asking = Asking(usd_per_day=0.003, every_s=10.0)

    async def until_it_stops():
        n = 0
        for _ in range(200):
            asking.now += 10.0
            n += await asking.canaries.ask_one()
        return n

    n = await until_it_stops()
    assert 0 < n < 200
    assert asking.spent_usd <= 0.003
    asking.now += DAY_S
    assert await asking.canaries.ask_one()


async def test_gateways_of_one_store_keep_to_one_budget():
    registers = MemoryRegisters()
    two = [Asking(usd_per_day=0.003, every_s=10.0, registers=registers) for _ in range(2)]
    for _ in range(100):
        for each in two:
            each.now += 10.0
            await each.canaries.ask_one()
    assert 0 < sum(each.spent_usd for each in two) <= 0.003


async def test_nothing_is_sent_unasked_unpriced_or_by_a_gateway_that_stops():
    for asking in (Asking(usd_per_day=0.0), Asking(price=None)):
        assert not await asking.canaries.ask_one()
    asking = Asking()
    asking.stops = True
    assert not await asking.canaries.ask_one()
    registers = Flaky(MemoryRegisters())
    registers.before = StoreError("gone")
    assert not await Asking(registers=registers).canaries.ask_one()


async def test_a_suspected_model_is_asked_ten_times_as_often():
    asking = Asking(every_s=1_000.0)
    large = next(each for each in asking.canaries.watch if each.place[0] == "large")
    for each in asking.canaries.watch:
        each.known.profile.canaries.n = 10_000  # both are known
    for _ in range(2):
        await asking.canaries.ask_one()
    large.known.pinned = Level.DEMOTED
    asking.results.clear()
    asking.now += 100.0
    assert await asking.canaries.ask_one()
    assert not await asking.canaries.ask_one()
    assert [name for name, _ in asking.results] == ["large"]
