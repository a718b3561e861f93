from dataclasses import replace
from types import SimpleNamespace

import pytest

from app.gateway.plan import (
    WORKFLOW_ERROR,
    FirstOf,
    Hedged,
    Several,
    begun,
    next_steps,
    plan_for,
)
from app.gateway.policy import WorkflowRule
from routers.decisions import CandidateEstimate, Decision, Reason
from routers.models import Demand
from routers.steps import Delegate, Draft, Refuse
from routers.types import Message, Role
from routers.workflows.base import Workflow
from tests.support.policies import decided, routed

COSTS = {"a": 1.0, "b": 2.0, "c": 4.0}


def estimate(model_id):
    return CandidateEstimate(
        model_id=model_id,
        quality=0.5,
        quality_std=0.1,
        input_tokens=10,
        output_tokens=10.0,
        output_tokens_upper=20.0,
        cost_usd=COSTS[model_id] / 2,
        cost_usd_upper=COSTS[model_id],
    )


DECISION = Decision(
    model_id="a",
    fallbacks=("b", "c"),
    candidates=tuple(map(estimate, COSTS)),
    reason=Reason.KNOB,
    usd_per_quality=1.0,
)


def request(*, max_attempts=3, hedge_after_s=None, **changes):
    policy = SimpleNamespace(max_attempts=max_attempts, hedge_after_s=hedge_after_s)
    values = {"policy": policy, "fallback": True, "locked": False, "max_cost_usd": None}
    values |= {"repeated": False, "chain": None}
    return SimpleNamespace(**{**values, **changes})


def test_the_models_of_the_decision_in_its_order_up_to_a_number():
    assert plan_for(request(), DECISION) == FirstOf(("a", "b", "c"))
    assert plan_for(request(max_attempts=2), DECISION) == FirstOf(("a", "b"))
    assert plan_for(request(hedge_after_s=0.5), DECISION) == Hedged(("a", "b", "c"), 0.5)
    assert plan_for(request(hedge_after_s="auto"), DECISION) == Hedged(("a", "b", "c"), None)
    assert plan_for(request(hedge_after_s=0.5, max_attempts=1), DECISION) == FirstOf(("a",))


@pytest.mark.parametrize("why", [{"locked": True}, {"fallback": False}, {"policy": None}])
def test_a_request_that_must_stay_is_tried_on_one_model_and_never_hedged(why):
    assert plan_for(request(hedge_after_s=0.5, **why), DECISION) == FirstOf(("a",))


@pytest.mark.parametrize(("limit", "hedged"), [(4.0, False), (5.9, False), (6.0, True)])
def test_a_hedge_takes_that_any_two_of_the_models_stay_within_the_limit(limit, hedged):
    models = ("a", "b", "c")
    plan = plan_for(request(hedge_after_s=0.5, max_cost_usd=limit), DECISION)
    assert plan == (Hedged(models, 0.5) if hedged else FirstOf(models))


def test_a_request_that_its_client_repeats_is_not_hedged():
    assert plan_for(request(hedge_after_s=0.5, repeated=True), DECISION) == FirstOf(("a", "b", "c"))


# --- workflows --------------------------------------------------------------------------------


class Scripted(Workflow):
    """A workflow that does what a function of its task says."""

    kind = "scripted"

    def __init__(self, does):
        self.does = does

    def run(self, task):
        return self.does(task)


def yields(*rounds, end=None):
    def run(_task):
        yield from rounds
        return end

    return Scripted(run)


def begin(workflow, *, degraded=False, **changes):
    """Begin a workflow for a request under a policy of `small` and `large`."""
    rule = WorkflowRule(workflow=workflow)
    asked = routed({"messages": b"[]"}, **changes)
    decision, course = begun(
        asked, decided("small"), asked.policy, rule, left_s=60.0, degraded=degraded
    )
    return asked, decision, course


def test_its_first_drafts_are_what_is_decided():
    workflow = yields((Draft(model_id="large"), Draft(model_id="small")))
    asked, decision, course = begin(workflow)
    assert (decision.model_id, decision.fallbacks) == ("large", ("small",))
    assert decision.reason is Reason.WORKFLOW
    assert plan_for(asked, decision, course) == Several(course, ("large", "small"))


@pytest.mark.parametrize(
    "changes",
    [
        {"objective_param": "x-cost-quality"},
        {"fallback": False},
        {"locked": True},
        {"pinned_model_id": "large"},
        {"demand": Demand(input_tokens=1, input_tokens_upper=1, n_answers=2)},
    ],
)
def test_what_it_cannot_carry_goes_to_single_choice_with_a_reason(changes):
    _, decision, course = begin(yields((Draft(model_id="large"),)), **changes)
    assert decision == decided("small")
    assert course.skipped
    assert course.run is None


def test_a_budget_that_runs_low_does_without_it():
    _, decision, course = begin(yields((Draft(model_id="large"),)), degraded=True)
    assert (decision.model_id, course.skipped) == ("small", "budget")


def test_one_that_ends_with_a_model_at_once_is_single_choice():
    end = Delegate(model_id="large", by="rule", propensity=0.25)
    asked, decision, course = begin(yields(end=end))
    assert (decision.model_id, decision.propensity, course.skipped) == ("large", 0.25, "rule")
    assert plan_for(asked, decision, course) == FirstOf(("large", "small"))


@pytest.mark.parametrize(
    "end",
    [
        Refuse(by="guard", why="no"),
        Delegate(model_id="large", by="x", messages=(Message(Role.USER, "Otherwise"),)),
    ],
)
def test_an_end_that_single_choice_cannot_be_is_carried_out(end):
    asked, decision, course = begin(yields(end=end))
    assert isinstance(plan_for(asked, decision, course), Several)
    assert next_steps(course, "default", []) is end


def test_a_conversation_that_stays_with_another_model_is_answered_by_that():
    asked, decision, course = begin(yields((Draft(model_id="large"),)))
    stays = replace(decision, model_id="small", reason=Reason.STICKY)
    assert plan_for(asked, stays, course) == FirstOf(("small", "small"))
    assert (course.skipped, course.run) == ("sticky", None)


def test_a_conversation_that_stays_with_who_drafts_first_goes_on_with_the_workflow():
    asked, decision, course = begin(yields((Draft(model_id="large"),)))
    stays = replace(decision, reason=Reason.STICKY)
    assert isinstance(plan_for(asked, stays, course), Several)


def raises(_task):
    raise RuntimeError("no")


@pytest.mark.parametrize(
    "workflow",
    [
        Scripted(raises),
        Scripted(lambda _: None),
        yields(("small",)),
        yields(None),
        yields(5),
        yields(end="served"),
        yields(end=None),
        yields(end=Delegate(model_id="nobody", by="x")),
    ],
)
def test_one_that_does_what_none_may_is_single_choice(workflow):
    asked, decision, course = begin(workflow)
    assert decision == decided("small")
    assert course.skipped == WORKFLOW_ERROR
    assert isinstance(plan_for(asked, decision, course), FirstOf)


def test_drafts_of_models_that_there_are_not_are_not_decided_for():
    workflow = yields((Draft(model_id="nobody"), Draft(model_id="large")))
    _, decision, _ = begin(workflow)
    assert decision.model_id == "large"
    _, decision, _ = begin(yields((Draft(model_id="nobody"),)))
    assert decision.model_id == "small"
