"""A workflow that was fitted with the router is steered by what was fitted of the knob."""

from types import SimpleNamespace

import pytest

from app.gateway.plan import begun
from app.gateway.policy import KnobCurves, WorkflowRule
from routers.artifact.workflow_knob import WorkflowKnob
from routers.decision.knob import KnobCurve
from routers.objectives import CostQuality, UsdPerQuality
from routers.workflows.agree import Agree
from tests.support.policies import decided, policy, routed

DECIDED = decided("small")
KNOB = WorkflowKnob(KnobCurve((0.0, 0.5, 1.0), (1e-6, 1e-3, 1.0)))


def artifact(knob):
    return SimpleNamespace(
        workflow_knob=knob,
        knob_curve=lambda _candidates: KNOB.multiples,
        dear_usd=lambda candidates: 2.0 * len(candidates),
    )


def rate_of(objective, *, knob=KNOB, is_fitted=True, allowed=None):
    chosen = policy(
        artifact=artifact(knob),
        knobs=KnobCurves(artifact(knob), policy().candidates),
        objective=objective,
    )
    rule = WorkflowRule(workflow=Agree(), is_fitted=is_fitted)
    request = routed({}, policy=chosen, objective=objective, allowed_model_ids=allowed)
    _, course = begun(request, DECIDED, chosen, rule, left_s=60.0)
    return course.task.usd_per_quality


@pytest.mark.parametrize(
    ("objective", "is_fitted", "usd_per_quality"),
    [
        (CostQuality(0.5), True, 4 * 1e-3),
        (CostQuality(1.0), True, 4 * 1.0),
        (CostQuality(0.5), False, DECIDED.usd_per_quality),  # what the decision came down to
        (UsdPerQuality(0.1), True, DECIDED.usd_per_quality),
    ],
)
def test_a_position_becomes_the_rate_at_which_the_workflow_keeps_its_promise(
    objective, is_fitted, usd_per_quality
):
    assert rate_of(objective, is_fitted=is_fitted) == pytest.approx(usd_per_quality)


def test_rates_are_those_of_the_models_that_a_request_allows():
    found = rate_of(CostQuality(0.5), allowed=frozenset({"small"}))
    assert found == pytest.approx(2 * 1e-3)


def test_a_workflow_without_a_knob_goes_by_what_single_choice_does():
    assert rate_of(CostQuality(0.5), knob=None) == DECIDED.usd_per_quality
