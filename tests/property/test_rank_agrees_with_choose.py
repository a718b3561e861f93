"""A live request is decided without arrays; it has to be decided as arrays would decide it."""

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from routers.choice import choose, rank
from routers.dominance import TIE

# Few values, some of them within a tie of each other: draws collide often.
qualities = st.sampled_from([0.0, 0.5, 0.5 + TIE / 2, 0.5 + TIE, 0.5 + 3 * TIE, 0.9, 1.0])
costs = st.one_of(st.sampled_from([0.0, 1e-4, 2e-4, 1e300]), st.floats(0, 10))
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
