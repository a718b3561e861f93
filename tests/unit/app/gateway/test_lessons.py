"""What requests teach, kept in a store that several processes add to and that fails when told."""

import asyncio
import threading
from types import SimpleNamespace

import numpy as np
import pytest

from app.gateway.lessons import Pupil, Pupils, beliefs_of, teach
from app.gateway.policy import WorkflowRule
from app.stores.base import StoreError
from app.stores.memory_registers import MemoryRegisters, SqliteRegisters
from routers.models import ModelSpec
from routers.steps import Answer
from routers.workflows.agree import Agree
from routers.workflows.contextual_cascade import ContextualCascade
from routers.workflows.guarded import Guarded, Rule
from routers.workflows.learned_threshold import LearnedThreshold
from tests.support.flaky import Flaky
from tests.support.policies import PRICES, policy
from tests.support.tasks import candidate, task

JUDGED = {"kind": "judge", "model": "judge", "auc": 0.8}
NAME = "what-threshold-learned"


def threshold(**options):
    plain = {"cheap": "nano", "strong": "large", "verifier": JUDGED, "memory": 50}
    return LearnedThreshold(**{**plain, **options})


def request(score=0.55):
    estimates = [
        candidate("nano", quality=score, cost_usd=1e-4),
        candidate("large", quality=0.8, cost_usd=1e-2),
    ]
    return task(estimates, usd_per_quality=0.1)


def lesson(workflow, *, good, score=0.55, model_id="nano"):
    told = request(score)
    answer = Answer(number=0, model_id=model_id, text="A")
    told.judged(answer, accepted=good, by="judge", score=float(good), why="")
    return workflow.lesson(told)


def pupil(workflow=None):
    return Pupil(NAME, "default", workflow or threshold())


def learn(taught, *, good, n=1, **fields):
    for _ in range(n):
        taught.learn(lesson(taught.workflow, good=good, **fields))


def believed(taught):
    return taught.workflow.learned(request())


@pytest.fixture
def registers():
    return Flaky(MemoryRegisters())


async def test_what_two_processes_learn_is_what_one_learns_that_serves_all(registers):
    one, another, alone = pupil(), pupil(), pupil()
    for index in range(6):
        for each in (one, alone):
            learn(each, good=False, n=3, score=0.3 + index / 20)
        await one.keep(registers)
        for each in (another, alone):
            learn(each, good=index > 2, n=2, score=0.9)
        await another.keep(registers)
    await one.keep(registers)
    assert believed(one) == believed(another)
    assert believed(one) == pytest.approx(believed(alone))
    assert believed(one) != believed(pupil())


async def test_writers_that_meet_add_up(registers):
    pupils = [pupil(threshold(memory=None)) for _ in range(4)]
    for each in pupils:
        learn(each, good=True, n=5)
    await asyncio.gather(*[each.keep(registers) for each in pupils])
    await asyncio.gather(*[each.keep(registers) for each in pupils])
    alone = pupil(threshold(memory=None))
    learn(alone, good=True, n=20)
    assert {believed(each) for each in pupils} == {believed(alone)}
    assert not any(each.n_waiting for each in pupils)


async def test_what_was_learned_survives_a_restart(tmp_path):
    for _ in range(2):
        registers = SqliteRegisters(tmp_path)
        await registers.open()
        taught = pupil(threshold(memory=None))
        await taught.keep(registers)
        learn(taught, good=False, n=4)
        await taught.keep(registers)
        await registers.aclose()
    alone = pupil(threshold(memory=None))
    learn(alone, good=False, n=8)
    assert believed(taught) == believed(alone)


async def test_while_the_store_is_gone_each_goes_on_with_its_own_and_nothing_is_lost(registers):
    one, another, alone = [pupil(threshold(memory=None)) for _ in range(3)]
    registers.before = StoreError("gone")
    for each in (one, another):
        learn(each, good=False, n=5)
        before = believed(each)
        with pytest.raises(StoreError):
            await each.keep(registers)
        assert believed(each) == before != believed(alone)
        assert each.n_waiting == 5
    registers.before = None
    for each in (one, another, one):
        await each.keep(registers)
    learn(alone, good=False, n=10)
    assert believed(one) == believed(another) == believed(alone)
    assert one.n_waiting == 0


@pytest.mark.parametrize("others", [0, 1, 3])
async def test_a_write_of_which_nobody_knows_whether_it_arrived_counts_once(registers, others):
    one, another, alone = [pupil(threshold(memory=None)) for _ in range(3)]
    learn(one, good=False, n=5)
    registers.after = StoreError("no answer in time")
    with pytest.raises(StoreError):
        await one.keep(registers)
    registers.after = None
    learn(one, good=True, n=2)
    for _ in range(others):
        learn(another, good=True)
        await another.keep(registers)
    await one.keep(registers)
    await another.keep(registers)
    learn(alone, good=False, n=5)
    learn(alone, good=True, n=2 + others)
    assert believed(one) == believed(another) == believed(alone)


async def test_what_a_store_lost_is_put_there_anew_by_whoever_knows_it(registers):
    one, another, alone = [pupil(threshold(memory=None)) for _ in range(3)]
    learn(one, good=False, n=5)
    for each in (one, another):
        await each.keep(registers)
    emptied = MemoryRegisters()
    for each in (one, another, one):
        await each.keep(emptied)
    fresh = pupil(threshold(memory=None))
    await fresh.keep(emptied)
    learn(alone, good=False, n=5)
    assert believed(one) == believed(another) == believed(fresh) == believed(alone)


async def test_what_a_store_lost_of_the_latest_is_added_again_by_whoever_added_it(registers):
    one, another, alone = [pupil(threshold(memory=None)) for _ in range(3)]
    learn(one, good=False, n=5)
    for each in (one, another):
        await each.keep(registers)
    learn(one, good=False, n=3)
    await one.keep(registers)  # the other one has not heard of it yet
    emptied = MemoryRegisters()
    learn(another, good=True, n=2)
    learn(one, good=True)
    for each in (another, one, another):
        await each.keep(emptied)
    learn(alone, good=False, n=8)
    learn(alone, good=True, n=3)
    assert believed(one) == believed(another) == believed(alone)


async def test_many_writes_of_others_make_nobody_add_anything_twice(registers):
    one, another, alone = [pupil(threshold(memory=None)) for _ in range(3)]
    learn(one, good=False, n=5)
    await one.keep(registers)
    for _ in range(150):
        learn(another, good=True)
        await another.keep(registers)
    await one.keep(registers)
    learn(alone, good=False, n=5)
    learn(alone, good=True, n=150)
    assert believed(one) == believed(another) == believed(alone)


@pytest.mark.parametrize(
    "value", [b"", b"\xc1", b"\x93\x01\x90\x81\xa1k\x92\x91\x02\xc4\x01x", b"not even close"]
)
async def test_a_value_that_cannot_be_read_is_replaced(registers, value):
    await registers.replace(NAME, value, version="x", after=None, lifetime_s=60.0)
    taught, other = pupil(), pupil()
    learn(taught, good=False, n=3)
    before = believed(taught)
    await taught.keep(registers)
    await registers.replace(
        NAME, value, version="y", after=await registers.version(NAME), lifetime_s=60.0
    )
    for each in (taught, other):
        await each.keep(registers)
    assert believed(taught) == believed(other) == before


async def test_a_value_of_other_shapes_is_not_believed(registers):
    other = pupil(threshold(bins=4))
    learn(other, good=True, n=9)
    await other.keep(registers)
    taught = pupil()
    learn(taught, good=False, n=3)
    before = believed(taught)
    await taught.keep(registers)
    assert believed(taught) == before


class Slow(LearnedThreshold):
    """Thinks over what it knows until it is told to go on."""

    began, goes_on = threading.Event(), threading.Event()

    def recall(self, lesson):
        believe = super().recall(lesson)
        self.began.set()
        assert self.goes_on.wait(60)
        return believe


@pytest.mark.parametrize("reloads", [False, True])
async def test_lessons_that_come_while_it_thinks_are_learned_too(registers, reloads):
    other, alone = pupil(threshold(memory=None)), pupil(threshold(memory=None))
    learn(other, good=False, n=4)
    await other.keep(registers)
    slow = Slow(cheap="nano", strong="large", verifier=JUDGED, memory=None)
    Slow.began.clear()
    Slow.goes_on.clear()
    taught = pupil(slow)
    keeping = asyncio.create_task(taught.keep(registers))
    await asyncio.to_thread(Slow.began.wait, 60)
    learn(taught, good=True, n=3)
    if reloads:
        taught.follow(threshold(memory=None))
        learn(taught, good=True, n=2)
    Slow.goes_on.set()
    await keeping
    learn(alone, good=False, n=4)
    learn(alone, good=True, n=5 if reloads else 3)
    assert believed(taught) == believed(alone)


async def test_a_workflow_of_a_new_configuration_knows_what_the_one_before_knew(registers):
    taught = pupil()
    learn(taught, good=False, n=4)
    await taught.keep(registers)
    learn(taught, good=False, n=4)
    before = believed(taught)
    taught.follow(threshold(checked=0.5))
    assert taught.workflow.checked == 0.5
    assert believed(taught) == before


# --- which policies share what they learn -------------------------------------------------------


def served(workflow, *, version="a", **fields):
    rule, artifact = WorkflowRule(workflow=workflow), SimpleNamespace(version=version)
    return {"default": policy(workflow=rule, artifact=artifact, **fields)}


async def test_another_configuration_of_the_same_goes_on_and_of_others_begins_anew(registers):
    pupils = Pupils(registers)
    first = pupils.of(served(threshold()))["default"]
    learn(first, good=False, n=8)
    assert pupils.of(served(threshold(checked=0.5)))["default"] is first
    await pupils.keep()
    for options in ({"bins": 4}, {"verifier": {**JUDGED, "model": "other"}}):
        found = pupils.of(served(threshold(**options)))["default"]
        await pupils.keep()
        assert believed(found) == threshold(**options).learned(request())
    back = pupils.of(served(threshold()))["default"]
    assert back is not first  # nobody asked for it any more
    await pupils.keep()
    assert believed(back) == believed(first)


async def test_what_is_about_another_artifact_or_policy_is_not_read(registers):
    taught = Pupils(registers).of(served(threshold()))["default"]
    learn(taught, good=False, n=8)
    await taught.keep(registers)
    fitted = threshold().restore({"edges": np.linspace(0, 1, 17) ** 2}, ())
    others = [
        served(threshold(), version="b"),
        served(fitted),
        served(threshold(), name="other"),
    ]
    for policies in others:
        (other,) = Pupils(registers).of(policies).values()
        before = believed(other)
        await other.keep(registers)
        assert believed(other) == before


async def test_models_that_nobody_named_are_the_same_in_every_process(registers):
    specs = [
        ModelSpec(model_id=each, predicted_as=each, prices=PRICES, context_window_tokens=1_000)
        for each in "abc"
    ]

    def cascade(*models):
        estimates = [candidate(each, cost_usd=1e-3) for each in models]
        workflow = ContextualCascade(verifier=JUDGED, value_usd=1.0, optimism=0.0)
        found = Pupils(registers).of(served(workflow, candidates=specs))
        workflow.order(task(estimates))  # what comes first differs
        return found["default"], task(estimates)

    (one, asked), (another, _) = cascade("c", "a"), cascade("b", "c")
    assert one.name == another.name
    asked.judged(
        Answer(number=0, model_id="c", text="A"), accepted=False, by="judge", score=0.0, why=""
    )
    one.learn(one.workflow.lesson(asked))
    await one.keep(registers)
    await another.keep(registers)
    assert [
        each.workflow.order(task([candidate(m) for m in "abc"])) for each in (one, another)
    ] == [("a", "b", "c")] * 2


def test_what_does_not_learn_is_nobodys_pupil(registers):
    assert Pupils(registers).of(served(Agree())) == {}
    assert Pupils(registers).of(served(threshold(threshold=0.5))) == {}
    assert Pupils(registers).of({"default": policy()}) == {}


def test_a_request_without_a_workflow_teaches_nobody(registers):
    taught = Pupils(registers).of(served(threshold()))
    teach(None, None, taught)
    assert taught["default"].n_waiting == 0


async def test_what_is_believed_is_told_in_figures(registers):
    pupils = Pupils(registers)
    taught = pupils.of(served(threshold()))["default"]
    assert beliefs_of(pupils)[0][1].threshold is None  # nobody knows what requests cost
    learn(taught, good=False, n=30, score=0.5)
    ((name, beliefs, n_waiting),) = beliefs_of(pupils)
    assert (name, n_waiting) == ("default", 30)
    assert beliefs.threshold == taught.workflow.learned(request(0.5))
    assert beliefs.threshold.low <= beliefs.threshold.value <= beliefs.threshold.high


def test_what_comes_after_a_guard_is_taught_too(registers):
    then = {"kind": "learned-threshold", "cheap": "nano", "strong": "large", "verifier": JUDGED}
    guarded = Guarded(rules=(Rule(name="never", pattern="never"),), then=then)
    policies = served(guarded)
    pupils = Pupils(registers).of(policies)
    told = request()
    told.judged(
        Answer(number=0, model_id="nano", text="A"), accepted=True, by="judge", score=1.0, why=""
    )
    policy = policies["default"]
    asked = SimpleNamespace(policy=policy, workflow=policy.workflow)
    teach(asked, SimpleNamespace(task=told), pupils)
    assert pupils["default"].workflow is guarded.follower
    assert pupils["default"].n_waiting == 1
