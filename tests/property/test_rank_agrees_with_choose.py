"""A live request is decided without arrays; it has to be decided as arrays would decide it."""

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from routers.decision.choice import choose, choose_each, rank
from routers.decision.dominance import NEAR_COST, SEEN, TIE, WORTH

# Few values, some within a tie of each other or at the edge of what is seen: draws collide often.
qualities = st.one_of(
    st.sampled_from([0.0, 0.5, 0.5 + TIE / 2, 0.5 + TIE, 0.5 + 3 * TIE, 0.9, 1.0]),
    st.sampled_from([0.5 + SEEN, 0.5 + SEEN / 2, 0.5 + WORTH + TIE, 0.9 + SEEN, 0.9 + WORTH]),
    st.floats(0, 1),
)
costs = st.one_of(
    st.sampled_from([0.0, 1e-4, 1e-4 * NEAR_COST, 1.05e-4, 2e-4, 1e300]), st.floats(0, 10)
)
rates = st.one_of(st.sampled_from([0.0, 1e-12, 1e-3, 1.0, math.inf]), st.floats(1e-12, 1e9))
ids = st.lists(st.text("abc", min_size=1, max_size=3), min_size=1, max_size=8, unique=True)


@settings(max_examples=500, deadline=None)
@given(
    ids.flatmap(lambda each: st.tuples(*(st.tuples(st.just(i), qualities, costs) for i in each))),
    rates,
)
def test_the_first_of_a_ranking_is_what_arrays_would_choose(candidates, rate):
    model_ids, quality, cost = zip(*candidates, strict=True)
    at = choose(np.array([quality]), np.array([cost]), rate, model_ids=model_ids)[0]
    ranked = rank(candidates, rate)
    assert ranked[0] == model_ids[at]
    assert sorted(ranked) == sorted(model_ids)


@settings(max_examples=200, deadline=None)
@given(
    ids.flatmap(lambda each: st.tuples(*(st.tuples(st.just(i), qualities, costs) for i in each))),
    rates,
)
def test_the_order_in_which_candidates_come_does_not_matter(candidates, rate):
    assert rank(candidates, rate) == rank(candidates[::-1], rate)


@settings(max_examples=300, deadline=None)
@given(
    st.integers(1, 8).flatmap(
        lambda n: st.lists(
            st.lists(st.tuples(qualities, costs), min_size=n, max_size=n), min_size=1, max_size=5
        )
    ),
    rates,
)
def test_queries_are_decided_alike_alone_and_together(queries, rate):
    quality = np.array([[each[0] for each in query] for query in queries])
    cost = np.array([[each[1] for each in query] for query in queries])
    together = choose(quality, cost, rate).tolist()
    alone = [int(choose(quality[[i]], cost[[i]], rate)[0]) for i in range(len(queries))]
    assert together == alone


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.lists(st.tuples(qualities, costs), min_size=4, max_size=4), min_size=1, max_size=5),
    st.lists(rates, max_size=5),
)
def test_rates_are_weighed_alike_alone_and_together(queries, some_rates):
    quality, cost = np.moveaxis(np.array(queries), -1, 0)
    together = choose_each(quality, cost, some_rates, model_ids="dbca")
    assert together.shape == (len(some_rates), len(queries))
    for rate, picks in zip(some_rates, together, strict=True):
        np.testing.assert_array_equal(picks, choose(quality, cost, rate, model_ids="dbca"))
