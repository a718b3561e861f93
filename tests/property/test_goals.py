"""What goals and demands make of a decision, whatever the numbers."""

import datetime as dt
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routers.decision.choice import choose_each
from routers.decision.decide import decide, knob_steps
from routers.decision.goals import goal_costs, penalties
from routers.decision.knob import KnobCurve
from routers.errors import NoEligibleModelError
from routers.models import Demand, ModelSpec, Prices
from routers.objectives import (
    Constraints,
    CostQuality,
    MaxQualityLoss,
    MinQuality,
    StrongThreshold,
    UsdPerQuality,
)
from routers.types import Predictions
from routers.wishes import Goal, Security, Traits, Wishes

KNOB = KnobCurve((0.0, 0.3, 1.0), (1e-6, 1e-3, 10.0))
ROOM = 1e-9

unit = st.floats(0, 1, width=32)
weights = st.floats(0.001, 10)
traits = st.builds(
    Traits,
    parameters_b=st.one_of(st.none(), st.floats(0.01, 5000)),
    released=st.one_of(st.none(), st.dates(dt.date(2019, 1, 1), dt.date(2027, 1, 1))),
    licence=st.sampled_from([None, "apache-2.0", "llama3.1", "proprietary"]),
    readability=st.one_of(st.none(), st.floats(-20, 120)),
    security=st.sampled_from([None, *Security]),
)
objectives = st.one_of(
    st.builds(CostQuality, st.one_of(st.sampled_from([0.0, 1.0]), unit)),
    st.builds(UsdPerQuality, st.one_of(st.sampled_from([0.0, math.inf]), st.floats(1e-9, 1e6))),
    st.builds(MaxQualityLoss, unit),
    st.builds(MinQuality, unit),
    st.builds(lambda t: StrongThreshold(strong="m0", weak="m1", threshold=t), unit),
)


@st.composite
def worlds(draw):
    n = draw(st.integers(2, 6))
    candidates = [
        ModelSpec(
            model_id=f"m{i}",
            predicted_as=f"m{i}",
            prices=Prices(
                input_usd_per_mtok=draw(st.floats(0, 100)),
                output_usd_per_mtok=draw(st.floats(0, 100)),
            ),
            context_window_tokens=100_000,
            traits=draw(traits),
        )
        for i in range(n)
    ]

    def row(values):
        return np.asarray([draw(st.lists(values, min_size=n, max_size=n))], np.float32)

    tokens = row(st.floats(0, 20_000, width=32))
    return candidates, Predictions(
        quality=row(unit), quality_std=row(unit), output_tokens=tokens, output_tokens_upper=tokens
    )


def decided(world, objective, wishes=None, **limits):
    candidates, predictions = world
    return decide(
        candidates=candidates,
        predictions=predictions,
        demand=Demand(input_tokens=100, input_tokens_upper=100),
        constraints=Constraints(wishes=wishes, **limits),
        objective=objective,
        knob=KNOB,
    )


def cost_of_choice(world, goal, model_id):
    candidates, predictions = world
    row = goal_costs(goal, [spec.traits for spec in candidates], predictions.output_tokens)[0]
    return dict(zip([spec.model_id for spec in candidates], row.tolist(), strict=True))[model_id]


@settings(max_examples=150, deadline=None)
@given(worlds(), objectives, st.sampled_from(list(Goal)), st.tuples(weights, weights), st.data())
def test_the_more_a_goal_weighs_the_less_of_it_the_choice_costs(world, objective, goal, pair, data):
    others = data.draw(st.dictionaries(st.sampled_from(list(Goal)), weights, max_size=2))
    others.pop(goal, None)
    chosen = []
    for weight in sorted(pair):
        wishes = Wishes(weights=((goal, weight), *others.items()))
        chosen.append(decided(world, objective, wishes).model_id)
    costs = [cost_of_choice(world, goal, each) for each in chosen]
    assert costs[1] <= costs[0] + ROOM / min(pair)


@settings(max_examples=80, deadline=None)
@given(worlds(), objectives, st.sampled_from([Security.BASIC, Security.STANDARD, Security.HIGH]))
def test_a_demand_leaves_none_that_does_not_meet_it(world, objective, least):
    met = {
        spec.model_id
        for spec in world[0]
        if spec.traits.security is not None and spec.traits.security.rank >= least.rank
    }
    wishes = Wishes(security=least, weights=((Goal.SIZE, 1.0),))
    allowed = {"m0", "m1"} if isinstance(objective, StrongThreshold) else met
    if not met & allowed:
        with pytest.raises(NoEligibleModelError, match="security"):
            decided(world, objective, wishes)
        return
    decision = decided(world, objective, wishes)
    assert {decision.model_id, *decision.fallbacks} == met & allowed


@settings(max_examples=80, deadline=None)
@given(worlds(), objectives, st.dictionaries(st.sampled_from(list(Goal)), weights, max_size=3))
def test_goals_never_open_what_a_limit_closes(world, objective, some):
    wishes = Wishes(weights=tuple(some.items()))
    limits = {"max_cost_usd": 0.01, "allowed_model_ids": frozenset({"m0", "m1"})}
    try:
        plain = decided(world, objective, **limits)
    except NoEligibleModelError:
        with pytest.raises(NoEligibleModelError):
            decided(world, objective, wishes, **limits)
        return
    wished = decided(world, objective, wishes, **limits)
    assert {wished.model_id, *wished.fallbacks} == {plain.model_id, *plain.fallbacks}
    if isinstance(objective, MinQuality | MaxQualityLoss) and plain.reason == "knob":
        floor = plain.estimate(plain.model_id).quality
        best = max(each.quality for each in plain.candidates if each.eligible)
        least = objective.quality if isinstance(objective, MinQuality) else best - objective.loss
        assert floor >= least - ROOM
        assert wished.estimate(wished.model_id).quality >= least - ROOM


@settings(max_examples=80, deadline=None)
@given(worlds(), st.floats(0, 1), st.dictionaries(st.sampled_from(list(Goal)), weights, min_size=1))
def test_the_counterfactual_of_goals_is_what_the_knob_would_choose(world, t, some):
    wishes = Wishes(weights=tuple(some.items()))
    steps = knob_steps(decided(world, CostQuality(0.5), wishes), KNOB)
    inside = [
        each.model_id
        for each in steps
        if each.from_cost_quality + 1e-6 < t < each.to_cost_quality - 1e-6
    ]
    if inside:
        chosen = decided(world, CostQuality(t), wishes)
        worth = {each.model_id: each for each in chosen.candidates}
        rate = KNOB.usd_per_quality_for(t)
        utility = {
            name: rate * (each.quality - each.penalty) - each.cost_usd
            for name, each in worth.items()
        }
        assert utility[inside[0]] == pytest.approx(
            utility[chosen.model_id], rel=1e-3, abs=rate * 1e-6 + 1e-9
        )


@settings(max_examples=60, deadline=None)
@given(worlds(), st.floats(1e-9, 1e6), st.dictionaries(st.sampled_from(list(Goal)), weights))
def test_batches_are_decided_as_live_requests_are(world, rate, some):
    candidates, predictions = world
    wishes = Wishes(weights=tuple(some.items()))
    decision = decided(world, UsdPerQuality(rate), wishes)
    taken = penalties(wishes, [spec.traits for spec in candidates], predictions.output_tokens)
    quality = predictions.quality.astype(np.float64) - taken
    cost = np.asarray([[each.cost_usd for each in decision.candidates]])
    picks = choose_each(
        quality,
        cost,
        [rate],
        model_ids=[spec.model_id for spec in candidates],
        weigh_all=bool(some),
    )
    utility = rate * quality[0] - cost[0]
    at = [spec.model_id for spec in candidates].index(decision.model_id)
    assert utility[at] == pytest.approx(utility[picks[0, 0]], abs=rate * 1e-8 + 1e-12)
