"""What surcharges make of a decision, whatever the numbers."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routers.decision.choice import rank
from routers.decision.decide import decide, decide_without_predictions, knob_steps
from routers.decisions import Latency, Reason
from routers.errors import NoEligibleModelError
from routers.models import Demand
from routers.objectives import Constraints, CostQuality, MaxQualityLoss, MinQuality, StrongThreshold
from tests.property.test_goals import KNOB, objectives, unit, worlds

amounts = st.floats(0, 1)
DEMAND = Demand(input_tokens=100, input_tokens_upper=100)


def decided(world, objective, surcharges_usd=None, **limits):
    candidates, predictions = world
    given_usd = {} if surcharges_usd is None else {"surcharges_usd": surcharges_usd}
    return decide(
        candidates=candidates,
        predictions=predictions,
        demand=DEMAND,
        constraints=Constraints(**given_usd, **limits),
        objective=objective,
        knob=KNOB,
    )


@settings(max_examples=150, deadline=None)
@given(worlds(), objectives, st.floats(1e-6, 1), st.data())
def test_what_is_chosen_despite_a_surcharge_is_chosen_without_it(world, objective, more, data):
    ids = [spec.model_id for spec in world[0]]
    base = data.draw(st.dictionaries(st.sampled_from(ids), amounts))
    dear = decided(world, objective, base)
    name = dear.model_id
    cheaper = {**base, name: max(base.get(name, 0.0) - more, 0.0)}
    assert decided(world, objective, cheaper).model_id == name


@settings(max_examples=100, deadline=None)
@given(worlds(), st.floats(1e-9, 1e3), st.data())
def test_dominance_and_rate_see_cost_and_surcharge_as_one(world, rate, data):
    ids = [spec.model_id for spec in world[0]]
    usd = data.draw(st.dictionaries(st.sampled_from(ids), amounts))
    t = KNOB.cost_quality_for(rate)
    if not 0 < t < 1:
        return
    found = decided(world, CostQuality(t), usd)
    rows = [
        (each.model_id, each.quality, each.cost_usd + usd.get(each.model_id, 0.0))
        for each in found.candidates
    ]
    assert [found.model_id, *found.fallbacks] == rank(rows, found.usd_per_quality)
    steps = knob_steps(found, KNOB)
    inside = [s for s in steps if s.from_cost_quality + 1e-6 < t < s.to_cost_quality - 1e-6]
    if inside:
        by_id = {name: rate * quality - cost for name, quality, cost in rows}
        assert by_id[inside[0].model_id] == pytest.approx(
            by_id[found.model_id], rel=1e-3, abs=rate * 1e-6 + 1e-9
        )


@settings(max_examples=100, deadline=None)
@given(worlds(), objectives, st.data())
def test_costs_and_limits_know_nothing_of_surcharges(world, objective, data):
    ids = [spec.model_id for spec in world[0]]
    usd = data.draw(st.dictionaries(st.sampled_from(ids), amounts))
    try:
        plain = decided(world, objective, max_cost_usd=0.01)
    except NoEligibleModelError:
        with pytest.raises(NoEligibleModelError):
            decided(world, objective, usd, max_cost_usd=0.01)
        return
    found = decided(world, objective, usd, max_cost_usd=0.01)
    assert {found.model_id, *found.fallbacks} == {plain.model_id, *plain.fallbacks}
    assert found.candidates == tuple(
        msgspec.structs.replace(each, surcharge_usd=usd.get(each.model_id, 0.0))
        for each in plain.candidates
    )
    if isinstance(objective, MinQuality | MaxQualityLoss) and plain.reason == "knob":
        best = max(each.quality for each in plain.candidates if each.eligible)
        least = objective.quality if isinstance(objective, MinQuality) else best - objective.loss
        assert found.estimate(found.model_id).quality >= least - 1e-9


@settings(max_examples=100, deadline=None)
@given(
    worlds(),
    st.one_of(
        st.builds(MaxQualityLoss, unit),
        st.builds(MinQuality, unit),
        st.builds(lambda t: StrongThreshold(strong="m0", weak="m1", threshold=t), unit),
    ),
    amounts,
)
def test_what_all_pay_alike_moves_nothing_where_no_rate_is(world, objective, amount):
    candidates, _ = world
    alike = {spec.model_id: amount for spec in candidates}
    found, plain = decided(world, objective, alike), decided(world, objective)
    if found.model_id != plain.model_id:  # costs that rounding makes the same
        both = [plain.estimate(each.model_id).cost_usd for each in (found, plain)]
        assert both[0] == pytest.approx(both[1], abs=1e-12)


@settings(max_examples=50, deadline=None)
@given(worlds())
def test_latencies_stand_in_the_estimates_and_move_nothing(world):
    candidates, _ = world
    fast = Latency(ttft_s=0.1, ttft_s_upper=0.2, total_s=1.0, total_s_upper=2.0)
    plain = decided(world, CostQuality(0.5))
    found = decided(world, CostQuality(0.5), latencies={candidates[0].model_id: fast})
    assert (found.model_id, found.fallbacks) == (plain.model_id, plain.fallbacks)
    assert [each.latency for each in found.candidates] == [fast] + [None] * (len(candidates) - 1)
    default = decide_without_predictions(
        candidates=candidates,
        demand=DEMAND,
        constraints=Constraints(latencies={candidates[0].model_id: fast}),
        default_model_id=candidates[0].model_id,
        reason=Reason.ROUTER_TIMEOUT,
    )
    assert default.estimate(default.model_id).latency == fast


def test_surcharges_of_several_sources_add_up():
    constraints = Constraints(surcharges_usd={"a": 0.25}).with_surcharges({"a": 0.5, "b": 1.0})
    assert constraints.surcharges_usd == {"a": 0.75, "b": 1.0}
    assert Constraints().surcharges_usd == {}
