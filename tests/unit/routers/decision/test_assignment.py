"""Who answers what under one budget: the optimum where it can be had, and never over a limit."""

from itertools import product

import numpy as np
import pytest

from routers.decision.assignment import LeftOut, assign
from routers.decision.choice import choose_each


def _world(rng, n, m):
    """Return qualities and costs of models from cheap to dear, better the dearer, as they are."""
    difficulty, strength = rng.random((n, 1)), np.linspace(0, 1, m)
    quality = 1 / (1 + np.exp(-(4 * (strength - difficulty) + rng.normal(0, 0.3, (n, m)))))
    length = rng.lognormal(0, 0.7, (n, 1))
    return quality, 10 ** (2.5 * strength - 4) * length * rng.lognormal(0, 0.1, (n, m))


def _best(quality, cost, budget, capacity, weight):
    """Return most served, and most quality of that many, by trying everything."""
    n, m = quality.shape
    best = (-1, -1.0)
    for picks in product(range(-1, m), repeat=n):
        rows = [i for i in range(n) if picks[i] >= 0]
        at = [picks[i] for i in rows]
        used = np.bincount(np.asarray(at, np.intp), weight[rows, at], m)
        worth = float(quality[rows, at].sum())
        if np.isnan(worth) or cost[rows, at].sum() > budget or (used > capacity).any():
            continue
        best = max(best, (len(rows), worth))
    return best


def _case(seed):
    rng = np.random.default_rng(seed)
    n, m = rng.integers(1, 6), rng.integers(1, 4)
    quality, cost = rng.random((n, m)), rng.random((n, m)) ** 3
    quality[rng.random((n, m)) < 0.1] = np.nan
    counts = rng.random() < 0.6
    weight = np.ones((n, m)) if counts else rng.integers(1, 9, (n, m)).astype(float)
    most = n if counts else 5 * n
    capacity = [None if rng.random() < 0.4 else int(rng.integers(0, most + 1)) for _ in range(m)]
    budget = None if rng.random() < 0.2 else float(rng.random() * cost.max() * n * 0.7)
    return quality, cost, budget, capacity, weight


@pytest.mark.parametrize("seed", range(60))
def test_few_requests_get_the_best_assignment_that_there_is(seed):
    quality, cost, budget, capacity, weight = _case(seed)
    limits = np.array([np.inf if each is None else each for each in capacity])
    money = np.inf if budget is None else budget
    found = assign(quality, cost, budget_usd=budget, capacity=capacity, weight=weight)
    served, worth = _best(quality, cost, money, limits, weight)
    assert (found.picks >= 0).sum() == served
    assert found.quality == pytest.approx(worth, abs=1e-9)
    assert found.cost_usd <= money
    assert (found.used <= limits).all()


@pytest.mark.parametrize("seed", range(60))
def test_prices_alone_keep_every_limit_and_serve_as_many(seed):
    quality, cost, budget, capacity, weight = _case(seed)
    limits = np.array([np.inf if each is None else each for each in capacity])
    best = assign(quality, cost, budget_usd=budget, capacity=capacity, weight=weight)
    found = assign(quality, cost, budget_usd=budget, capacity=capacity, weight=weight, exact=False)
    assert found.cost_usd <= (np.inf if budget is None else budget)
    assert (found.used <= limits).all()
    assert (found.picks >= 0).sum() == (best.picks >= 0).sum()
    assert found.quality <= best.quality + 1e-9 or set(found.picks < 0) != set(best.picks < 0)
    assert found.quality <= found.quality_bound + 1e-9


@pytest.mark.parametrize(("capacity", "gap"), [(None, 1.0), (0.15, 10.0)])
@pytest.mark.parametrize("share", [0.02, 0.1, 0.3])
def test_many_requests_come_close_to_the_optimum(capacity, gap, share):
    n, m = 5_000, 8
    quality, cost = _world(np.random.default_rng(3), n, m)
    least, most = cost.min(axis=1).sum(), cost.max(axis=1).sum()
    # Under capacities the cheapest models have no room for all.
    least = least if capacity is None else assign(quality, cost, capacity=[750] * m).cost_usd / 4
    budget = least + share * (most - least)
    limits = None if capacity is None else [int(n * capacity)] * m
    found = assign(quality, cost, budget_usd=budget, capacity=limits)
    assert found.left_out == ()
    assert found.cost_usd <= budget
    assert found.quality_bound - found.quality < gap  # of 5,000 requests
    if limits is not None:
        assert (found.used <= limits).all()


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5])
def test_it_is_at_least_as_good_as_any_position_of_the_knob_at_equal_spend(share):
    quality, cost = _world(np.random.default_rng(5), 2_000, 6)
    models = [f"m{i}" for i in range(6)]
    rate = np.quantile(cost, 0.5) * 10 ** np.linspace(-2, 3, 25)[int(share * 24)]
    rows = np.arange(len(quality))
    picks = choose_each(quality, cost, [rate], model_ids=models)[0]
    spent = float(cost[rows, picks].sum())
    found = assign(quality, cost, budget_usd=spent)
    assert found.cost_usd <= spent
    assert found.quality >= quality[rows, picks].sum() - 1e-9


def test_one_more_dollar_buys_what_its_price_says():
    quality, cost = _world(np.random.default_rng(7), 4_000, 5)
    budget = 3 * cost.min(axis=1).sum()
    before = assign(quality, cost, budget_usd=budget)
    more = 0.01 * budget
    after = assign(quality, cost, budget_usd=budget + more)
    assert (after.quality - before.quality) / more == pytest.approx(
        before.quality_per_usd, rel=0.02
    )
    assert assign(quality, cost).quality_per_usd == 0.0


def test_one_more_place_buys_what_its_price_says():
    quality, cost = _world(np.random.default_rng(8), 3_000, 3)
    limits = [None, None, 500]
    before = assign(quality, cost, capacity=limits)
    after = assign(quality, cost, capacity=[None, None, 530])
    assert before.used[2] == 500
    assert (after.quality - before.quality) / 30 == pytest.approx(
        before.quality_per_unit[2], rel=0.05
    )


def test_it_says_why_a_request_is_left_out():
    quality = np.array([[0.9, 0.5], [np.nan, np.nan], [0.8, 0.4], [0.7, np.nan]])
    cost = np.array([[1.0, 0.1], [1.0, 0.1], [1.0, 0.1], [1.0, 0.1]])
    found = assign(quality, cost, budget_usd=0.25)
    assert dict(found.left_out) == {1: LeftOut.NO_MODEL, 3: LeftOut.BUDGET}
    found = assign(quality, cost, capacity=[1, 1])
    assert dict(found.left_out)[1] is LeftOut.NO_MODEL
    assert [why for row, why in found.left_out if row != 1] == [LeftOut.CAPACITY]
    assert (found.picks >= 0).sum() == 2


def test_nothing_is_paid_out_of_an_empty_budget_but_what_is_free():
    quality = np.array([[0.9, 0.5], [0.9, 0.5]])
    cost = np.array([[1.0, 0.0], [1.0, 0.5]])
    found = assign(quality, cost, budget_usd=0.0)
    assert found.picks.tolist() == [1, -1]
    assert found.cost_usd == 0.0


def test_nothing_to_assign_is_assigned():
    found = assign(np.zeros((0, 3)), np.zeros((0, 3)), budget_usd=1.0, capacity=[1, None, 2])
    assert found.picks.shape == (0,)
    assert found.quality == found.cost_usd == 0.0


@pytest.mark.parametrize("shape", [(0, 0), (3, 0), (3, 2)])
@pytest.mark.parametrize("exact", [True, False])
def test_where_nobody_may_serve_nobody_does(shape, exact):
    found = assign(np.full(shape, np.nan), np.zeros(shape), budget_usd=1.0, exact=exact)
    assert found.picks.tolist() == [-1] * shape[0]
    assert {why for _, why in found.left_out} <= {LeftOut.NO_MODEL}


def test_what_does_not_fit_is_refused():
    quality = np.ones((2, 2))
    with pytest.raises(ValueError, match="one shape"):
        assign(quality, np.ones((2, 3)))
    with pytest.raises(ValueError, match="US dollars"):
        assign(quality, quality, budget_usd=-1.0)
    with pytest.raises(ValueError, match="US dollars"):
        assign(quality, quality, budget_usd=float("nan"))
    with pytest.raises(ValueError, match="capacities"):
        assign(quality, quality, capacity=[1])


@pytest.mark.parametrize("n_wanting", [103, 122, 183, 200])
def test_a_capacity_that_all_who_want_it_just_fit_into_binds_nobody(n_wanting):
    # Sums of the same numbers in another order round to either side of such a limit.
    quality = np.full((1000, 2), 0.5)
    quality[:n_wanting, 1] = np.linspace(0.6, 0.9, n_wanting)
    quality[n_wanting:, 1] = 0.4
    found = assign(quality, np.zeros((1000, 2)), capacity=[None, n_wanting], exact=False)
    assert found.picks.tolist() == [1] * n_wanting + [0] * (1000 - n_wanting)
    assert found.quality_per_unit.tolist() == [0.0, 0.0]
