"""Where the knob stands while a task does not get on."""

import pytest

from app.gateway.policy import StallRule
from app.gateway.stalls import heed_stalls
from routers.objectives import CostQuality, MinQuality
from routers.text.housekeeping import Housekeeping
from routers.text.stalls import StallReason
from routers.types import Conversation, Message, Role
from tests.support.policies import policy, routed
from tests.support.transcripts import SYSTEM, TASK, body, calling, result, turns_of

HALF = CostQuality(0.5)
RULE = StallRule(cost_quality=(0.9, 1.0), housekeeping_cost_quality=0.0)


def failing(n):
    """Return a task in which so many calls failed."""
    return [
        SYSTEM,
        TASK,
        *(m for i in range(n) for m in (calling(f"{i}"), result(f"{i}", "Error: x"))),
    ]


def heeded(transcript, *, rule=RULE, knob=HALF, **changes):
    fields = body(*transcript)
    request = routed(fields, policy=policy(stalls=rule), objective=knob, **changes)
    return heed_stalls(request, turns_of(fields))


@pytest.mark.parametrize(
    ("n", "level", "t"), [(2, None, 0.5), (3, 1, 0.9), (6, 2, 1.0), (12, 3, 1.0)]
)
def test_the_more_goes_wrong_the_higher_the_knob(n, level, t):
    request = heeded(failing(n))
    assert request.objective == CostQuality(t)
    assert (request.stall and request.stall.level) == level


def test_why_is_told():
    assert heeded(failing(3)).stall.reasons == (StallReason.FAILING_CALLS,)


def test_a_knob_that_stands_higher_stays():
    assert heeded(failing(3), knob=CostQuality(0.95)).objective == CostQuality(0.95)


@pytest.mark.parametrize(
    "changes",
    [
        {"objective_param": "x-cost-quality"},
        {"knob": MinQuality(0.7)},
        {"rule": None},
        {"pinned_model_id": "small"},
    ],
)
def test_what_the_client_or_the_operator_says_otherwise_stands(changes):
    request = heeded(failing(9), **changes)
    assert request.stall is None
    assert request.objective == changes.get("knob", HALF)


def conversation(system):
    return Conversation((Message(Role.SYSTEM, system), Message(Role.USER, "Fix the build.")))


TITLE = conversation("You are a title generator. You output ONLY a thread title.")
SUMMARY = conversation("You are a helpful AI assistant tasked with summarizing conversations.")


def test_titles_are_made_cheaply_and_raise_nothing():
    request = heeded(failing(9), conversation=TITLE)
    assert request.objective == CostQuality(0.0)
    assert (request.housekeeping, request.stall) == (Housekeeping.TITLE, None)


def test_a_summary_is_made_like_any_other_answer():
    request = heeded(failing(9), conversation=SUMMARY)
    assert request.objective == HALF
    assert request.housekeeping is Housekeeping.SUMMARY


def test_titles_may_be_left_where_they_are():
    rule = StallRule(cost_quality=(0.9,), housekeeping_cost_quality=None)
    assert heeded([TASK], rule=rule, conversation=TITLE).objective == HALF
