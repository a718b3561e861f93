"""Which candidates are worth considering at all."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from routers.decision.choice import choose, rank
from routers.decision.dominance import NEAR_COST, SEEN, TIE, WORTH, undominated, undominated_rows


def kept(quality, cost) -> list[bool]:
    """Return which candidates of one query stay, as arrays say."""
    return undominated(np.array([quality]), np.array([cost], float))[0].tolist()


def test_a_tenth_less_does_not_buy_a_worse_answer():
    assert kept([0.25, 0.64], [1.0, 1.05]) == [False, True]
    assert kept([0.25, 0.64], [1.0, NEAR_COST]) == [False, True]


def test_much_cheaper_stays_however_bad():
    assert kept([0.25, 0.64], [1.0, 1.2]) == [True, True]


def test_about_as_good_and_cheaper_stays():
    assert kept([0.64 - 0.9 * WORTH, 0.64], [1.0, 1.05])[0]


def test_what_nobody_sees_is_not_paid_for():
    assert kept([0.6, 0.6 + 0.9 * SEEN], [1.0, 2.0]) == [True, False]
    assert kept([0.6, 0.6 + 1.1 * SEEN], [1.0, 2.0]) == [True, True]
    assert kept([0.6, 0.5], [1.0, 2.0]) == [True, False]


def test_small_steps_add_up():
    # Each is a little better than the one before, the third visibly better than the first: the
    # second is as good as the third to whoever looks, and costs less.
    step = 0.6 * SEEN
    assert kept([0.5, 0.5 + step, 0.5 + 2 * step], [1.0, 2.0, 4.0]) == [True, True, False]


def test_the_dearest_is_not_paid_for_what_a_cheaper_one_gives_as_well():
    quality, cost = [0.989, 0.996, 0.998, 0.9985, 1.0], [1.0, 4.0, 16.0, 90.0, 360.0]
    assert kept(quality, cost) == [True, True, False, False, False]


def test_what_is_left_out_does_not_leave_out_others():
    # The second would hide the third, but is itself hidden by the first.
    quality = [0.6, 0.6 + 0.5 * SEEN, 0.6 + 1.2 * SEEN, 0.6 + 2.6 * SEEN]
    assert kept(quality, [1.0, 2.0, 2.1, 2.2]) == [True, False, True, True]


def test_of_equals_one_stays():
    assert sum(kept([0.5, 0.5, 0.5], [1.0, 1.0, 1.0])) == 1
    assert kept([0.5, 0.7], [1.0, 1.0]) == [False, True]
    assert kept([0.5, 0.7], [0.0, 0.0]) == [False, True]


def test_the_order_of_columns_does_not_matter():
    quality, cost = np.array([[0.3, 0.64, 0.7, 0.71]]), np.array([[1.0, 1.05, 3.0, 9.0]])
    order = [2, 0, 3, 1]
    np.testing.assert_array_equal(
        undominated(quality, cost)[:, order], undominated(quality[:, order], cost[:, order])
    )


def test_unknown_costs_count_as_the_highest():
    assert kept([0.5, 0.9], [math.nan, 1.0]) == [False, True]
    assert kept([0.9, 0.5], [math.nan, 1.0]) == [True, True]
    # Nothing is near where costs are unknown: only the gain counts.
    assert kept([0.5, 0.9], [math.nan, math.nan]) == [False, True]


@pytest.mark.parametrize("shape", [(0, 3), (2, 0), (0, 0)])
def test_nothing_is_no_error(shape):
    assert undominated(np.zeros(shape), np.zeros(shape)).shape == shape
    assert undominated_rows([]) == []


qualities = st.one_of(
    st.floats(0, 1), st.sampled_from([0.5, 0.5 + SEEN, 0.5 + SEEN / 2, 0.5 + WORTH, 0.9])
)
costs = st.one_of(st.floats(0, 10), st.sampled_from([0.0, 1.0, NEAR_COST, 1.05, NEAR_COST**2]))
queries = st.lists(st.tuples(qualities, costs), min_size=1, max_size=8)
rates = st.one_of(st.sampled_from([0.0, 1e-9, 1.0, 1e9]), st.floats(1e-9, 1e9))


def rows_of(query) -> list[tuple[str, float, float]]:
    return [(str(number), quality, cost) for number, (quality, cost) in enumerate(query)]


@settings(max_examples=500, deadline=None)
@given(queries)
def test_rows_and_arrays_agree(query):
    quality, cost = zip(*query, strict=True)
    by_rows = {name for name, _, _ in undominated_rows(rows_of(query))}
    by_arrays = {str(column) for column in np.flatnonzero(kept(quality, cost))}
    assert by_rows == by_arrays


@settings(max_examples=300, deadline=None)
@given(queries)
def test_something_stays_that_is_visibly_as_good_as_the_best(query):
    stay = undominated_rows(rows_of(query))
    best = max(quality for quality, _ in query)
    assert stay
    assert max(quality for _, quality, _ in stay) >= best - SEEN


@settings(max_examples=300, deadline=None)
@given(queries)
def test_what_stays_is_dearer_only_where_it_is_better(query):
    stay = undominated_rows(rows_of(query))
    for (_, worse, less), (_, better, more) in itertools.pairwise(stay):
        assert less <= more
        assert better > worse


@settings(max_examples=300, deadline=None)
@given(queries)
def test_what_is_left_out_is_not_missed(query):
    stay = undominated_rows(rows_of(query))
    for quality, cost in query:
        if not _is_near_a_better_one((quality, cost), query):
            assert any(q >= quality - SEEN and c <= cost for _, q, c in stay)


@settings(max_examples=300, deadline=None)
@given(queries)
@example([(1.0, 2.0), (0.5, 0.0), (0.515625, 2.0), (0.5078125, 1.0)])
def test_nothing_stays_that_a_cheaper_one_is_as_good_as(query):
    stay = undominated_rows(rows_of(query))
    sound = [each for each in query if not _is_near_a_better_one(each, query)]
    for (_, worse, _), (_, better, more) in itertools.pairwise(stay):
        # What made it stay is visibly better than the one before, and no cheaper one comes near.
        visible = min(
            (q for q, c in sound if q > worse + SEEN and c >= more), default=better + SEEN
        )
        between = [(q, c) for q, c in query if worse + TIE < q and visible - SEEN <= q and c < more]
        assert all(_is_near_a_better_one(each, query) for each in between)


def _is_near_a_better_one(row, query):
    quality, cost = row
    return any(q > quality + WORTH and c <= NEAR_COST * cost for q, c in query)


@settings(max_examples=300, deadline=None)
@given(queries, rates)
def test_no_dominated_candidate_is_chosen_below_infinity(query, rate):
    quality, cost = (np.array([each]) for each in zip(*query, strict=True))
    column = choose(quality, cost, rate)[0]
    assert undominated(quality, cost)[0, column]
    worth = {name for name, _, _ in undominated_rows(rows_of(query))}
    ranked = rank(rows_of(query), rate)
    # All of them come before all others, which still serve where those fail.
    assert set(ranked[: len(worth)]) == worth
    assert sorted(ranked) == sorted(name for name, _, _ in rows_of(query))


@settings(max_examples=300, deadline=None)
@given(queries)
def test_where_cost_is_no_object_the_best_serves(query):
    quality, cost = (np.array([each]) for each in zip(*query, strict=True))
    column = choose(quality, cost, math.inf)[0]
    assert quality[0, column] >= quality.max() - 1e-9


@settings(max_examples=300, deadline=None)
@given(queries)
def test_at_rate_zero_nothing_that_is_worth_considering_costs_less(query):
    quality, cost = (np.array([each]) for each in zip(*query, strict=True))
    column = choose(quality, cost, 0.0)[0]
    assert cost[0, column] == cost[undominated(quality, cost)].min()


def test_of_hundreds_of_candidates_all_are_ranked_and_the_first_ones_finely():
    # Each is dearer and no better than the one before: one after the other is worth considering.
    rows = [(f"model-{i:03d}", 1 - i / 1000, 1.0 + i) for i in range(400)]
    ranked = rank(rows[::-1], 1e6)
    assert ranked[:20] == [row[0] for row in rows[:20]]
    assert sorted(ranked) == [row[0] for row in rows]
