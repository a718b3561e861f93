"""What holds of every decision, whatever the numbers."""

import itertools
import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from routers.decision.decide import choose, decide, knob_steps
from routers.decision.dominance import undominated
from routers.decision.knob import KnobCurve
from routers.errors import NoEligibleModelError
from routers.models import Capability, Demand, ModelSpec, Prices
from routers.objectives import Constraints, CostQuality, MaxQualityLoss, MinQuality, UsdPerQuality
from routers.types import Predictions

KNOB = KnobCurve((0.0, 0.3, 1.0), (1e-6, 1e-3, 10.0))

unit = st.floats(0, 1, width=32)
price = st.one_of(st.none(), st.floats(0, 100))
rates = st.one_of(st.just(0.0), st.just(math.inf), st.floats(1e-12, 1e9))
objectives = st.one_of(
    st.builds(CostQuality, unit),
    st.builds(UsdPerQuality, rates),
    st.builds(MaxQualityLoss, unit),
    st.builds(MinQuality, unit),
)


@st.composite
def cases(draw):
    n = draw(st.integers(1, 6))
    capabilities = st.frozensets(st.sampled_from(list(Capability)), max_size=2)
    candidates = [
        ModelSpec(
            model_id=f"model-{i}",
            predicted_as=f"model-{i}",
            prices=Prices(input_usd_per_mtok=draw(price), output_usd_per_mtok=draw(price)),
            context_window_tokens=draw(st.sampled_from([500, 4000, 100_000])),
            max_output_tokens=draw(st.one_of(st.none(), st.integers(1, 4000))),
            capabilities=draw(capabilities),
        )
        for i in range(n)
    ]

    def row(values):
        return np.asarray([draw(st.lists(values, min_size=n, max_size=n))], np.float32)

    tokens = row(st.floats(0, 2000, width=32))
    predictions = Predictions(
        quality=row(unit),
        quality_std=row(unit),
        output_tokens=tokens,
        output_tokens_upper=tokens * 2,
    )
    input_tokens = draw(st.integers(1, 5000))
    demand = Demand(
        input_tokens=input_tokens,
        input_tokens_upper=input_tokens * 2,
        max_output_tokens=draw(st.one_of(st.none(), st.integers(1, 5000))),
        capabilities=draw(st.frozensets(st.sampled_from(list(Capability)), max_size=1)),
        n_answers=draw(st.integers(1, 3)),
    )
    ids = [spec.model_id for spec in candidates]
    some = st.frozensets(st.sampled_from(ids))
    constraints = Constraints(
        allowed_model_ids=draw(st.one_of(st.none(), some)),
        max_cost_usd=draw(st.one_of(st.none(), st.floats(0, 0.1))),
        unhealthy_model_ids=draw(some),
    )
    return {
        "candidates": candidates,
        "predictions": predictions,
        "demand": demand,
        "constraints": constraints,
        "objective": draw(objectives),
        "knob": KNOB,
    }


def outcome(case):
    try:
        return decide(**case)
    except NoEligibleModelError as refused:
        return refused.exclusions


@settings(max_examples=300, deadline=None)
@given(cases())
def test_no_choice_breaks_a_hard_constraint(case):
    decision = outcome(case)
    if isinstance(decision, dict):
        assert decision.keys() == {spec.model_id for spec in case["candidates"]}
        return
    demand, limits = case["demand"], case["constraints"]
    specs = {spec.model_id: spec for spec in case["candidates"]}
    order = (decision.model_id, *decision.fallbacks)
    assert len(set(order)) == len(order)
    assert set(order) == {each.model_id for each in decision.candidates if each.eligible}
    for model_id in order:
        spec, estimate = specs[model_id], decision.estimate(model_id)
        assert limits.allowed_model_ids is None or model_id in limits.allowed_model_ids
        assert demand.capabilities <= spec.capabilities
        prompt = demand.input_tokens_upper
        assert prompt + estimate.output_tokens <= spec.context_window_tokens
        if limits.max_cost_usd is not None:
            assert estimate.cost_usd_upper <= limits.max_cost_usd
    if demand.max_output_tokens is not None:
        # All of them give the whole answer that was asked for, or none does.
        assert len({_gives(specs[each], demand) for each in order}) == 1
    if decision.model_id in limits.unhealthy_model_ids:
        assert set(order) <= limits.unhealthy_model_ids


def _gives(spec, demand):
    asked = demand.max_output_tokens
    fits = demand.input_tokens_upper + asked <= spec.context_window_tokens
    return fits and (spec.max_output_tokens is None or asked <= spec.max_output_tokens)


@settings(max_examples=200, deadline=None)
@given(cases(), st.randoms(use_true_random=False))
def test_the_order_of_candidates_is_irrelevant(case, random):
    order = list(range(len(case["candidates"])))
    random.shuffle(order)
    shuffled = case | {
        "candidates": [case["candidates"][i] for i in order],
        "predictions": case["predictions"].columns(order),
    }
    first, second = outcome(case), outcome(shuffled)
    if isinstance(first, dict):
        assert first == second
    else:
        assert first.model_id == second.model_id
        assert sorted(first.fallbacks) == sorted(second.fallbacks)
        assert first.reason is second.reason


@st.composite
def tables(draw):
    n, m = draw(st.integers(1, 8)), draw(st.integers(1, 5))
    # Few levels, so that ties are common.
    level = st.one_of(st.sampled_from([0.0, 0.25, 0.5, 1.0]), unit)
    cells = st.lists(level, min_size=n * m, max_size=n * m)
    quality = np.asarray(draw(cells)).reshape(n, m)
    cost = np.asarray(draw(cells)).reshape(n, m) * draw(st.sampled_from([1e-6, 1e-3, 1.0]))
    return quality, cost


@settings(max_examples=300, deadline=None)
@given(tables(), st.lists(rates, min_size=2, max_size=6))
def test_quality_and_cost_never_fall_as_the_rate_rises(table, some_rates):
    quality, cost = table
    rows = np.arange(len(quality))
    picks = [choose(quality, cost, rate) for rate in sorted(some_rates)]
    for before, after in itertools.pairwise(picks):
        assert (cost[rows, after] >= cost[rows, before]).all()
        assert (quality[rows, after] >= quality[rows, before] - 2e-9).all()


@settings(max_examples=300, deadline=None)
@given(tables(), rates)
def test_the_choice_has_the_highest_utility_of_what_is_considered(table, rate):
    quality, cost = table
    rows = np.arange(len(quality))
    at = choose(quality, cost, rate)
    out = np.zeros(quality.shape, bool) if math.isinf(rate) else ~undominated(quality, cost)
    if rate == 0:
        assert (cost[rows, at] == np.where(out, np.inf, cost).min(axis=1)).all()
    else:
        utility = np.where(out, -np.inf, quality - cost / rate)
        # What is left out of an infinite utility says nothing of rounding.
        utility = np.where(out, utility[rows, at][:, None], utility)
        slack = 1e-8 + 1e-12 * np.abs(utility).max(axis=1)
        assert (utility[rows, at] >= utility.max(axis=1) - slack).all()


@settings(max_examples=200, deadline=None)
@given(tables())
def test_every_fitted_curve_is_valid_and_monotone(table):
    quality, cost = table
    knob = KnobCurve.fit(quality, cost, np.round(quality))
    found = [knob.usd_per_quality_for(t) for t in np.linspace(0, 1, 33)]
    assert found[0] == 0
    assert found[-1] == math.inf
    assert all(a < b for a, b in itertools.pairwise(found))
    assert KnobCurve.from_table(knob.to_table()) == knob


@settings(max_examples=200, deadline=None)
@given(tables(), st.floats(0.001, 0.999))
def test_steps_agree_with_decisions(table, t):
    quality, cost = table[0][:1], table[1][:1]
    candidates = [
        ModelSpec(
            model_id=f"model-{i}",
            predicted_as="any",
            prices=Prices(input_usd_per_mtok=0.0, output_usd_per_mtok=float(usd) * 1e4),
            context_window_tokens=1000,
        )
        for i, usd in enumerate(cost[0])
    ]
    tokens = np.full(quality.shape, 100, np.float32)
    decision = decide(
        candidates=candidates,
        predictions=Predictions(
            quality=quality.astype(np.float32),
            quality_std=tokens,
            output_tokens=tokens,
            output_tokens_upper=tokens,
        ),
        demand=Demand(input_tokens=1, input_tokens_upper=1),
        constraints=Constraints(),
        objective=CostQuality(t),
        knob=KNOB,
    )
    steps = knob_steps(decision, KNOB)
    assert steps[0].from_cost_quality == 0
    assert steps[-1].to_cost_quality == 1
    for before, after in itertools.pairwise(steps):
        assert before.to_cost_quality == after.from_cost_quality
        assert before.model_id != after.model_id
    inside = [s.model_id for s in steps if s.from_cost_quality < t < s.to_cost_quality]
    edges = [edge for s in steps for edge in (s.from_cost_quality, s.to_cost_quality)]
    if min(abs(t - edge) for edge in edges) > 1e-6:
        chosen, step = decision.estimate(decision.model_id), decision.estimate(inside[0])
        # Equally good at equal cost is the same step.
        assert abs(chosen.quality - step.quality) < 1e-6
        assert chosen.cost_usd == step.cost_usd


@settings(max_examples=100, deadline=None)
@given(
    st.floats(0, 1000),
    st.floats(0, 1000),
    st.integers(0, 10**6),
    st.integers(0, 10**6),
    st.integers(0, 10**6),
)
def test_cost_is_monotone_in_tokens(p_in, p_out, input_tokens, output_tokens, more):
    prices = Prices(input_usd_per_mtok=p_in, output_usd_per_mtok=p_out)
    base = prices.cost_usd(input_tokens=input_tokens, output_tokens=output_tokens)
    assert prices.cost_usd(input_tokens=input_tokens + more, output_tokens=output_tokens) >= base
    assert prices.cost_usd(input_tokens=input_tokens, output_tokens=output_tokens + more) >= base
