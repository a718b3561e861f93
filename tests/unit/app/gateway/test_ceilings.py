"""What a workflow may use for one request, held whatever it asks for."""

import random

import pytest

from app.calls import CallRole
from app.gateway.ceilings import Ceilings, Paces, asked_in
from app.gateway.course import Course
from app.gateway.ledger import LedgerEntry
from app.gateway.money.paid import Paid
from routers.models import Demand
from routers.steps import Draft, Purpose, Question
from routers.task import Room, Task
from routers.types import Message, Role
from tests.support.policies import decided, policy, routed
from tests.support.stores import FakeClock
from tests.support.transcripts import TASK, body

REQUEST = routed(
    body(TASK), demand=Demand(input_tokens=10, input_tokens_upper=15, max_output_tokens=20)
)
MOST_USD = (15 * 10 + 20 * 30) / 1e6
"""What an answer of either model costs at most."""
SMALL, LARGE = Draft(model_id="small"), Draft(model_id="large")
QUESTION = Question(
    model_id="large", messages=(Message(Role.USER, "?"),), max_tokens=4, purpose=Purpose.JUDGE
)


class World:
    """A workflow that has some room."""

    def __init__(self, *, calls=10, cost_usd=None, time_s=None):
        self.clock = FakeClock(1_000.0)
        decision = decided("small")
        self.course, self.paces = Course(kind="cascade"), Paces()
        self.room = Room(calls=calls, cost_usd=cost_usd, time_s=time_s)
        self.entry = LedgerEntry(
            clock=self.clock, request=REQUEST, policy_version="v", started=self.clock()
        )
        task = Task(
            conversation=REQUEST.conversation,
            candidates=decision.candidates,
            usd_per_quality=None,
            model_id="large",
            room=self.room,
            rng=random.Random(0),
        )
        self.ceilings = Ceilings(
            task,
            self.entry,
            decision,
            self.course,
            specs={spec.model_id: spec for spec in policy().candidates},
            paces=self.paces,
        )

    def take(self, step, **committed):
        return self.ceilings.take(step, asked_in(REQUEST, step), **committed)

    def paid(self, cost_usd):
        paid = Paid(None, cost_usd)
        self.entry.called(CallRole.DRAFT, "small", "stub", duration_s=0.1, paid=paid)


def test_without_limits_every_candidate_may_be_asked_and_calls_are_counted():
    world = World(calls=3)
    assert world.take(SMALL) == world.take(LARGE) == world.take(QUESTION) == 0
    assert world.room.calls == 0
    assert world.take(SMALL) is None
    assert world.course.ceiling == "calls"


@pytest.mark.parametrize("model_id", ["nobody", ""])
def test_a_model_that_there_is_not_takes_no_room_and_meets_no_ceiling(model_id):
    world = World(calls=1)
    assert world.take(Draft(model_id=model_id)) is None
    assert (world.room.calls, world.course.ceiling) == (1, None)


def test_what_others_that_run_may_cost_is_not_there_any_more():
    world = World(cost_usd=2.5 * MOST_USD)
    most = world.take(SMALL)
    assert most == pytest.approx(MOST_USD * 1e9)
    assert world.take(LARGE, committed_nusd=most) == most
    assert world.entry.max_output_tokens == {}
    # What is left of it pays for a shorter answer, or for none.
    assert world.take(SMALL, committed_nusd=2 * most) in {None, most // 2}


def test_what_was_paid_is_not_there_any_more():
    world = World(cost_usd=MOST_USD)
    world.paid(0.99 * MOST_USD)
    assert world.take(SMALL) is None
    assert world.course.ceiling == "cost"
    assert world.room.cost_usd == pytest.approx(0.01 * MOST_USD, rel=0.01)
    assert not world.ceilings.leaves("large", REQUEST)


def test_who_stands_in_has_to_fit_into_what_is_left_and_takes_no_room():
    world = World(calls=1, cost_usd=MOST_USD)
    assert world.ceilings.leaves("large", REQUEST)
    assert world.room.calls == 1
    assert World().ceilings.leaves("large", REQUEST)


def test_a_step_that_would_be_late_is_not_begun():
    world = World(time_s=5.0)
    world.paces.took("large", 3.0)
    world.clock.now += 1.0
    assert world.take(LARGE) == 0
    assert world.room.time_s == pytest.approx(4.0)
    world.clock.now += 1.5
    assert world.take(LARGE) is None
    assert world.course.ceiling == "time"
    assert world.take(SMALL) == 0  # of which nothing is known
    world.clock.now += 3.0
    assert world.take(SMALL) is None


def test_paces_follow_the_newest_answers():
    paces = Paces()
    paces.took("small", 1.0)
    assert paces.seconds == {"small": 1.0}
    paces.took("small", 2.0)
    assert paces.seconds["small"] == pytest.approx(1.2)
