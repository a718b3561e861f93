import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.gateway.deployments.orchestrator import (
    Mode,
    OrchestrationRule,
    Orchestrator,
    Unit,
    adjusted_rps,
    capacity_weights,
    cost_weights,
)

TABLE = {
    "inf2": (0.7582, 105), "trn1": (1.3438, 130), "g5-triton": (1.006, 90),
    "g6": (0.8048, 61), "g5-cuda": (1.006, 60),
}  # fmt: skip
"""US dollars an hour and calls a second, as published."""


def units(**changes):
    return [
        Unit(**({"usd_per_hour": usd, "max_rps": rps} | changes.get(name.replace("-", "_"), {})))
        for name, (usd, rps) in TABLE.items()
    ]


def test_the_published_units_get_the_published_weights():
    assert cost_weights(units()) == (0.4, 0.2, 0.15, 0.1, 0.15)


def test_where_capacity_decides_all_take_turns_up_to_the_mean():
    assert capacity_weights(units()) == (0.2,) * 5
    assert adjusted_rps(units()) == (89.2, 89.2, 89.2, 61, 60)


def test_what_is_not_available_gets_nothing_and_the_rest_all():
    for weights in (cost_weights, capacity_weights):
        found = weights(units(inf2={"available": False}, g6={"available": False}))
        assert found[0] == found[3] == 0.0
        assert math.isclose(sum(found), 1.0)
        assert weights([Unit(usd_per_hour=1.0, max_rps=1.0, available=False)] * 2) == (0.0, 0.0)


def test_like_units_get_like_weights():
    assert cost_weights([Unit(usd_per_hour=2.0, max_rps=10.0)] * 3) == pytest.approx([1 / 3] * 3)


@given(
    st.lists(
        st.builds(
            Unit,
            usd_per_hour=st.floats(0.01, 100),
            max_rps=st.sampled_from([1.0, 10.0, 60.0, 500.0]),
            available=st.booleans(),
        ),
        min_size=1,
        max_size=12,
    )
)
def test_the_cheaper_all_else_equal_gets_more(many):
    weights = cost_weights(many)
    there = [(unit, weight) for unit, weight in zip(many, weights, strict=True) if unit.available]
    assert all(w == 0 for unit, w in zip(many, weights, strict=True) if not unit.available)
    assert math.isclose(sum(weights), 1.0) or not there
    for one, weight in there:
        for other, less in there:
            if one.max_rps == other.max_rps and one.cost < other.cost * (1 - 1e-9):
                assert weight > less


class Story:
    """Polls one after the other."""

    def __init__(self, **rule):
        self.now = 0.0
        self.rule = OrchestrationRule(poll_s=10.0, cycle_s=100.0, **rule)
        self.it = Orchestrator(self.rule, 0.0)

    def poll(self, *, lacked=False, expected_rps=50.0, **changes):
        self.now += self.rule.poll_s
        return self.it.poll(self.now, units(**changes), expected_rps=expected_rps, lacked=lacked)


@pytest.mark.parametrize(
    "trouble",
    [
        {"lacked": True},
        {"inf2": {"available": False}},
        {"inf2": {"latency_s": 0.91}, "trn1": {"latency_s": 0.91}},
        {"inf2": {"rps": 85.0}, "trn1": {"rps": 105.0}},
        {"expected_rps": 320.0},
    ],
    ids=["turned away", "unavailable", "slow", "used up", "more to come"],
)
def test_too_little_capacity_flips_the_mode_within_one_poll(trouble):
    story = Story()
    assert story.poll() is Mode.COST
    assert story.poll(**trouble) is Mode.CAPACITY


def test_what_cost_does_not_favour_may_be_away():
    assert Story().poll(g6={"available": False}, g5_cuda={"latency_s": 2.0}) is Mode.COST


def test_a_threshold_takes_the_place_of_the_load_to_come():
    assert Story(threshold_rps=150.0).poll(expected_rps=1e6) is Mode.COST
    assert Story(threshold_rps=200.0).poll(expected_rps=0.0) is Mode.CAPACITY


def test_cost_decides_again_only_as_a_cycle_begins_after_a_quiet_one():
    story = Story()
    story.poll(lacked=True)
    modes = [story.poll() for _ in range(25)]
    back = modes.index(Mode.COST)
    # Lacking at 10 s; the cycle from 100 s on is the first quiet one, and over at 200 s.
    assert 10.0 * (back + 2) == 200.0
    assert set(modes[back:]) == {Mode.COST}


@pytest.mark.parametrize("period_polls", range(2, 10))
def test_signals_that_alternate_faster_than_a_cycle_switch_once_a_cycle_at_most(period_polls):
    story, switches = Story(), []
    for number in range(300):
        before = story.it.n_switches
        story.poll(lacked=number % period_polls < period_polls / 2)
        switches += [int(story.now // 100.0)] * (story.it.n_switches - before)
    assert all(switches.count(cycle) <= 1 for cycle in switches)
    assert switches
