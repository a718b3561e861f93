"""A workflow that was fitted with the router is steered by what was fitted of the knob."""

from types import SimpleNamespace

import pytest

from app.gateway.plan import begun
from app.gateway.request import WorkflowRule
from routers.decision.knob import KnobCurve
from routers.types import CostQuality, UsdPerQuality
from routers.workflows.agree import Agree
from tests.support.policies import decided, policy, routed

DECIDED = decided("small")
CURVE = KnobCurve((0.0, 0.5, 1.0), (1e-6, 1e-3, 1.0))
ARTIFACT = SimpleNamespace(workflow_position=lambda t: t / 2)


@pytest.mark.parametrize(
    ("objective", "is_fitted", "usd_per_quality"),
    [
        (CostQuality(1.0), True, 1e-3),
        (CostQuality(1.0), False, DECIDED.usd_per_quality),  # what the decision came down to
        (UsdPerQuality(0.1), True, DECIDED.usd_per_quality),
    ],
)
def test_a_position_is_moved_to_where_the_workflow_keeps_its_promise(
    objective, is_fitted, usd_per_quality
):
    chosen = policy(
        artifact=ARTIFACT, knobs=SimpleNamespace(get=lambda _allowed: CURVE), objective=objective
    )
    rule = WorkflowRule(workflow=Agree(), is_fitted=is_fitted)
    request = routed({}, policy=chosen, objective=objective)
    _, course = begun(request, DECIDED, chosen, rule, left_s=60.0)
    assert course.task.usd_per_quality == pytest.approx(usd_per_quality)
