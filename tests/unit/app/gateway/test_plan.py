from types import SimpleNamespace

import pytest

from app.gateway.plan import FirstOf, Hedged, plan_for
from routers.types import CandidateEstimate, Decision, Reason

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
    values["repeated"] = False
    return SimpleNamespace(**{**values, **changes})


def test_the_models_of_the_decision_in_its_order_up_to_a_number():
    assert plan_for(request(), DECISION) == FirstOf(("a", "b", "c"))
    assert plan_for(request(max_attempts=2), DECISION) == FirstOf(("a", "b"))
    assert plan_for(request(hedge_after_s=0.5), DECISION) == Hedged(("a", "b", "c"), 0.5)
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
