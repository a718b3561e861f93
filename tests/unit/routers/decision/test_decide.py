import math
from dataclasses import replace

import numpy as np
import pytest

from routers.decision.decide import choose, decide, knob_steps
from routers.decision.knob import KnobCurve
from routers.decisions import Exclusion, Reason
from routers.errors import NoEligibleModelError
from routers.models import Capability, Demand, ModelSpec, Prices
from routers.objectives import (
    Constraints,
    CostQuality,
    MaxQualityLoss,
    MinQuality,
    OutputLimit,
    StrongThreshold,
    UsdPerQuality,
)
from routers.types import Predictions

KNOB = KnobCurve((0.0, 0.5, 1.0), (1e-4, 1e-2, 1.0))
QUALITY = {"a": 0.60, "b": 0.80, "c": 0.85}
OUTPUT_USD_PER_MTOK = {"a": 2.0, "b": 20.0, "c": 100.0}  # 100 tokens: $0.0002, $0.002, $0.01


def spec(model_id, **changes):
    defaults = {
        "model_id": model_id,
        "predicted_as": model_id,
        "prices": Prices(
            input_usd_per_mtok=0.0, output_usd_per_mtok=OUTPUT_USD_PER_MTOK.get(model_id, 1.0)
        ),
        "context_window_tokens": 8000,
    }
    return ModelSpec(**(defaults | changes))


def predictions(*quality, tokens=100.0, upper=200.0):
    row = np.asarray([quality], np.float32)
    return Predictions(
        quality=row,
        quality_std=np.full_like(row, 0.1),
        output_tokens=np.full_like(row, tokens),
        output_tokens_upper=np.full_like(row, upper),
    )


def route(objective, *, candidates=None, predicted=None, constraints=None, **demand):
    return decide(
        candidates=candidates or [spec(name) for name in "abc"],
        predictions=predicted or predictions(*QUALITY.values()),
        demand=Demand(**({"input_tokens": 50, "input_tokens_upper": 60} | demand)),
        constraints=constraints or Constraints(),
        objective=objective,
        knob=KNOB,
    )


def excluded(decision):
    return {each.model_id: each.exclusion for each in decision.candidates if not each.eligible}


UNKNOWN = Prices(input_usd_per_mtok=None, output_usd_per_mtok=None)


# --- the rule -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("mu", "winner"), [(0.05, "c"), (0.3, "b"), (0.6, "a")])
def test_golden_values_of_the_plug_in_rule(mu, winner):
    # (1 - mu) q - mu kappa c with kappa = 100 is q - c / rate with rate = (1 - mu) / (100 mu).
    rate = (1 - mu) / (100 * mu)
    at = choose(np.array([[0.6, 0.8, 0.85]]), np.array([[0.0002, 0.002, 0.01]]), rate)
    assert "abc"[at[0]] == winner
    assert route(UsdPerQuality(rate)).model_id == winner


def test_a_rate_of_zero_takes_the_cheapest_and_of_equal_costs_the_better():
    quality = np.array([[0.2, 0.5, 0.9]])
    assert choose(quality, np.array([[1.0, 1.0, 2.0]]), 0.0) == [1]


def test_an_infinite_rate_takes_the_best_whatever_it_costs():
    assert choose(np.array([[0.2, 0.9]]), np.array([[1.0, np.nan]]), math.inf) == [1]


def test_ties_go_to_the_cheaper_then_to_the_first_id():
    quality = np.array([[0.5, 0.5 + 5e-10, 0.5]])
    assert choose(quality, np.array([[2.0, 3.0, 1.0]]), math.inf) == [2]
    same = np.array([[1.0, 1.0, 1.0]])
    assert choose(quality, same, math.inf, model_ids=["z", "y", "x"]) == [2]
    assert choose(quality, same, 0.0, model_ids=["z", "a", "x"]) == [1]
    assert choose(np.full((1, 3), 0.5), same, 1e-3, model_ids=["b", "c", "a"]) == [2]


def test_ties_are_found_at_tiny_and_huge_rates():
    quality, cost = np.array([[0.5, 0.5]]), np.array([[2e-3, 1e-3]])
    for rate in (1e-12, 1e-3, 1e12):
        assert choose(quality, cost, rate) == [1]


def test_golden_costs():
    cheap = Prices(input_usd_per_mtok=0.15, output_usd_per_mtok=0.60)
    dear = Prices(input_usd_per_mtok=2.50, output_usd_per_mtok=10)
    decision = route(
        CostQuality(0.0),
        candidates=[spec("cheap", prices=cheap), spec("dear", prices=dear)],
        predicted=predictions(0.5, 0.5, tokens=350, upper=350),
        input_tokens=1200,
        input_tokens_upper=1200,
    )
    assert decision.estimate("cheap").cost_usd == pytest.approx(0.00039)
    assert decision.estimate("dear").cost_usd == pytest.approx(0.0065)


# --- objectives ---------------------------------------------------------------------------------


def test_the_knob_goes_from_cheapest_to_best():
    assert route(CostQuality(0.0)).model_id == "a"
    assert route(CostQuality(1.0)).model_id == "c"
    assert route(CostQuality(0.5)).usd_per_quality == pytest.approx(1e-2)
    assert route(CostQuality(0.5)).reason is Reason.KNOB


def test_fallbacks_follow_the_same_objective():
    assert route(CostQuality(0.0)).fallbacks == ("b", "c")
    assert route(CostQuality(1.0)).fallbacks == ("b", "a")
    assert route(UsdPerQuality(0.02)).model_id == "b"
    assert route(UsdPerQuality(0.02)).fallbacks == ("a", "c")


def test_max_quality_loss_takes_the_cheapest_within_reach_of_the_best():
    assert route(MaxQualityLoss(0.0)).model_id == "c"
    decision = route(MaxQualityLoss(0.06))
    assert (decision.model_id, decision.fallbacks) == ("b", ("c", "a"))
    assert decision.usd_per_quality is None
    assert route(MaxQualityLoss(1.0)).model_id == "a"


def test_min_quality_takes_the_cheapest_that_reaches_it():
    assert route(MinQuality(0.7)).model_id == "b"
    assert route(MinQuality(0.7)).reason is Reason.KNOB


def test_min_quality_out_of_reach_takes_the_best_and_says_so():
    decision = route(MinQuality(0.9))
    assert (decision.model_id, decision.fallbacks) == ("c", ("b", "a"))
    assert decision.reason is Reason.MIN_QUALITY_UNMET


def test_the_threshold_decides_between_its_two_models_only():
    # The chance that c beats b is 0.85 * (1 - 0.8) = 0.17.
    low = route(StrongThreshold(strong="c", weak="b", threshold=0.16))
    high = route(StrongThreshold(strong="c", weak="b", threshold=0.18))
    assert (low.model_id, low.fallbacks) == ("c", ("b",))
    assert (high.model_id, high.fallbacks) == ("b", ("c",))
    assert low.reason is Reason.THRESHOLD
    assert excluded(low) == {"a": Exclusion.NOT_ALLOWED}


def test_the_threshold_needs_no_prices():
    candidates = [spec("b", prices=UNKNOWN), spec("c", prices=UNKNOWN)]
    objective = StrongThreshold(strong="c", weak="b", threshold=0.1)
    assert route(objective, candidates=candidates, predicted=predictions(0.8, 0.85)).model_id == "c"


def test_when_one_of_the_two_is_out_the_other_serves():
    decision = route(
        StrongThreshold(strong="c", weak="b", threshold=0.1),
        constraints=Constraints(allowed_model_ids=frozenset("b")),
    )
    assert (decision.model_id, decision.reason) == ("b", Reason.ONLY_ELIGIBLE)


# --- hard constraints ---------------------------------------------------------------------------


def test_the_allow_list_comes_first():
    decision = route(
        CostQuality(1.0),
        candidates=[spec("a"), spec("b"), spec("c", context_window_tokens=1)],
        constraints=Constraints(allowed_model_ids=frozenset("ab")),
    )
    assert decision.model_id == "b"
    assert excluded(decision) == {"c": Exclusion.NOT_ALLOWED}


@pytest.mark.parametrize("capability", list(Capability))
def test_every_capability_is_required(capability):
    able = spec("a", capabilities=frozenset({capability}))
    decision = route(
        CostQuality(1.0),
        candidates=[able, spec("b"), spec("c")],
        capabilities=frozenset({capability}),
    )
    assert decision.model_id == "a"
    assert set(excluded(decision)) == {"b", "c"}
    assert capability.value in decision.estimate("b").exclusion_detail


def test_whose_window_holds_all_that_was_requested_goes_first():
    windows = [spec("a", context_window_tokens=1000), spec("b", context_window_tokens=1001)]
    decision = route(
        CostQuality(0.0),
        candidates=windows,
        predicted=predictions(0.5, 0.5),
        input_tokens_upper=800,
        max_output_tokens=201,
    )
    assert excluded(decision) == {"a": Exclusion.CONTEXT_WINDOW}
    assert "1001 tokens (800 of prompt, 201 requested" in decision.estimate("a").exclusion_detail


def test_the_context_window_holds_the_predicted_output_where_none_is_requested():
    candidates = [spec("a", context_window_tokens=899), spec("b", context_window_tokens=900)]
    decision = route(
        CostQuality(0.0),
        candidates=candidates,
        predicted=predictions(0.5, 0.5),
        input_tokens_upper=800,
    )
    assert excluded(decision) == {"a": Exclusion.CONTEXT_WINDOW}


def test_a_model_must_be_able_to_write_what_was_requested():
    candidates = [spec("a", max_output_tokens=256), spec("b"), spec("c")]
    decision = route(CostQuality(0.0), candidates=candidates, max_output_tokens=257)
    assert excluded(decision) == {"a": Exclusion.MAX_OUTPUT_TOKENS}
    assert route(CostQuality(0.0), candidates=candidates).model_id == "a"


def test_a_request_for_more_than_anybody_gives_is_taken_by_all_who_may_serve():
    candidates = [
        spec("a", max_output_tokens=256),
        spec("b", max_output_tokens=4096),
        spec("c", context_window_tokens=8192),
    ]
    decision = route(CostQuality(0.0), candidates=candidates, max_output_tokens=32_000)
    assert not excluded(decision)
    assert decision.model_id == "a"
    # Who may not serve for another reason does not count as somebody who could give it all.
    tools = frozenset({Capability.TOOLS})
    decision = route(
        CostQuality(0.0),
        candidates=[spec("a", max_output_tokens=256, capabilities=tools), spec("b"), spec("c")],
        capabilities=tools,
        max_output_tokens=257,
    )
    assert decision.model_id == "a"
    assert excluded(decision) == {"b": Exclusion.TOOLS, "c": Exclusion.TOOLS}


@pytest.mark.parametrize(
    ("rule", "chosen", "kept_out"),
    [
        (OutputLimit.PREFER, "b", {"a": Exclusion.MAX_OUTPUT_TOKENS}),
        (OutputLimit.CUT, "a", {}),
        (OutputLimit.REFUSE, "b", {"a": Exclusion.MAX_OUTPUT_TOKENS}),
    ],
)
def test_a_policy_says_what_a_limit_above_that_of_a_candidate_does(rule, chosen, kept_out):
    candidates = [spec("a", max_output_tokens=256), spec("b"), spec("c")]
    limits = Constraints(output_limit=rule)
    decision = route(
        CostQuality(0.0), candidates=candidates, constraints=limits, max_output_tokens=257
    )
    assert (decision.model_id, excluded(decision)) == (chosen, kept_out)
    few = [spec(name, max_output_tokens=256) for name in "abc"]
    asked = {"candidates": few, "constraints": limits, "max_output_tokens": 257}
    if rule is OutputLimit.REFUSE:
        with pytest.raises(NoEligibleModelError, match="257 output tokens requested"):
            route(CostQuality(0.0), **asked)
    else:
        decision = route(CostQuality(0.0), **asked)
        assert decision.estimate("a").output_tokens_upper <= 256


def test_what_a_budget_cannot_pay_for_takes_no_part():
    why = "its price is unknown, and a budget has to pay for it"
    decision = route(CostQuality(1.0), constraints=Constraints(unpayable={"c": why}))
    assert decision.model_id == "b"
    assert excluded(decision) == {"c": Exclusion.UNKNOWN_PRICE}
    assert decision.estimate("c").exclusion_detail == why


def test_what_as_many_went_to_as_may_takes_no_part_whatever_else_it_cannot_do():
    why = "its share of all requests, 0% with a burst of 1, is used"
    decision = route(CostQuality(1.0), constraints=Constraints(over_share={"c": why}))
    assert decision.model_id == "b"
    assert excluded(decision) == {"c": Exclusion.SHARE}
    sees = frozenset({Capability.VISION})
    unseeing = route(
        CostQuality(1.0),
        candidates=[spec("a", capabilities=sees), spec("b", capabilities=sees), spec("c")],
        constraints=Constraints(over_share={"c": why}),
        capabilities=sees,
    )
    assert excluded(unseeing) == {"c": Exclusion.SHARE}


def test_the_cost_limit_is_held_against_the_upper_estimate():
    # 200 tokens of b cost $0.004 at worst, $0.002 as expected.
    decision = route(CostQuality(1.0), constraints=Constraints(max_cost_usd=0.003))
    assert decision.model_id == "a"
    assert excluded(decision) == {"b": Exclusion.MAX_COST, "c": Exclusion.MAX_COST}
    assert "$0.004" in decision.estimate("b").exclusion_detail


def test_requested_output_caps_the_upper_estimate():
    decision = route(
        CostQuality(1.0), constraints=Constraints(max_cost_usd=0.003), max_output_tokens=150
    )
    assert decision.model_id == "b"
    assert decision.estimate("b").output_tokens_upper == 150


def test_several_answers_multiply_the_output_only():
    prices = Prices(input_usd_per_mtok=10.0, output_usd_per_mtok=20.0)
    decision = route(
        CostQuality(0.0),
        candidates=[spec("a", prices=prices)],
        predicted=predictions(0.5),
        n_answers=3,
        input_tokens=1000,
        input_tokens_upper=1000,
    )
    assert decision.estimate("a").cost_usd == pytest.approx((1000 * 10 + 3 * 100 * 20) / 1e6)


@pytest.mark.parametrize("objective", [CostQuality(0.99), MaxQualityLoss(0.1), MinQuality(0.1)])
def test_unknown_prices_are_never_free(objective):
    candidates = [spec("a", prices=UNKNOWN), spec("b"), spec("c")]
    decision = route(objective, candidates=candidates)
    assert excluded(decision) == {"a": Exclusion.UNKNOWN_PRICE}
    assert decision.estimate("a").cost_usd is None


def test_unknown_prices_matter_only_where_costs_do():
    candidates = [spec("a"), spec("b"), spec("c", prices=UNKNOWN)]
    assert route(CostQuality(1.0), candidates=candidates).model_id == "c"
    limited = route(
        CostQuality(1.0), candidates=candidates, constraints=Constraints(max_cost_usd=1.0)
    )
    assert excluded(limited) == {"c": Exclusion.UNKNOWN_PRICE}


def test_unhealthy_models_are_left_out():
    constraints = Constraints(unhealthy_model_ids=frozenset("c"))
    decision = route(CostQuality(1.0), constraints=constraints)
    assert decision.model_id == "b"
    assert excluded(decision) == {"c": Exclusion.UNHEALTHY}
    assert "c" not in decision.fallbacks


def test_health_alone_never_refuses_a_request():
    constraints = Constraints(
        unhealthy_model_ids=frozenset("ab"), allowed_model_ids=frozenset("ab")
    )
    decision = route(CostQuality(1.0), constraints=constraints)
    assert (decision.model_id, decision.fallbacks) == ("b", ("a",))


def test_the_only_one_left_is_named_as_such():
    decision = route(CostQuality(0.2), constraints=Constraints(allowed_model_ids=frozenset("c")))
    assert (decision.model_id, decision.reason) == ("c", Reason.ONLY_ELIGIBLE)
    assert decision.fallbacks == ()


def test_the_refusal_tells_each_models_reason():
    with pytest.raises(NoEligibleModelError) as refused:
        route(
            CostQuality(0.5),
            candidates=[spec("a"), spec("b", context_window_tokens=10), spec("c")],
            constraints=Constraints(allowed_model_ids=frozenset("bc"), max_cost_usd=1e-9),
        )
    reasons = refused.value.exclusions
    assert list(reasons) == ["a", "b", "c"]
    assert "allow-list" in reasons["a"]
    assert "holds 10" in reasons["b"]
    assert "$0.02" in reasons["c"]


# --- the steps of the knob ------------------------------------------------------------------------


def test_steps_say_what_the_knob_would_choose():
    decision = route(CostQuality(0.5))
    steps = knob_steps(decision, KNOB)
    assert [step.model_id for step in steps] == ["a", "b", "c"]
    assert steps[0].from_cost_quality == 0
    assert steps[-1].to_cost_quality == 1
    for step in steps:
        middle = (step.from_cost_quality + step.to_cost_quality) / 2
        assert route(CostQuality(middle)).model_id == step.model_id


def test_dominated_models_have_no_step():
    decision = route(CostQuality(0.5), predicted=predictions(0.9, 0.8, 0.85))
    steps = knob_steps(decision, KNOB)
    assert [(s.from_cost_quality, s.to_cost_quality, s.model_id) for s in steps] == [(0, 1, "a")]


def test_a_step_beyond_the_curve_stands_at_its_exact_end():
    # c gains 0.0001 over b for $0.008: $80 per unit of quality, beyond the table's dearest rate.
    decision = route(CostQuality(0.5), predicted=predictions(0.6, 0.8, 0.8001))
    last = knob_steps(decision, KNOB)[-1]
    assert (last.from_cost_quality, last.to_cost_quality, last.model_id) == (1, 1, "c")
    assert route(CostQuality(1.0), predicted=predictions(0.6, 0.8, 0.8001)).model_id == "c"
    assert route(CostQuality(0.999), predicted=predictions(0.6, 0.8, 0.8001)).model_id == "b"


def test_where_nobody_is_in_time_the_knob_changes_nothing():
    decision = replace(route(CostQuality(0.5)), reason=Reason.LATENCY_UNMET)
    (step,) = knob_steps(decision, KNOB)
    assert (step.model_id, step.from_cost_quality, step.to_cost_quality) == (
        decision.model_id,
        0.0,
        1.0,
    )


def test_excluded_models_have_no_step():
    decision = route(CostQuality(0.5), constraints=Constraints(allowed_model_ids=frozenset("ac")))
    assert [step.model_id for step in knob_steps(decision, KNOB)] == ["a", "c"]
