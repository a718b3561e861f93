import numpy as np
import pytest

from routers.evaluation.metrics import incremental_benefit as benefit_of_a_router
from routers.workflows._meta_verifier import (
    VerifiedRows,
    area_under_roc,
    best_table,
    candidate_tables,
    cross_validated_benefit,
    greedy_tables,
    incremental_benefit,
    interval_tables,
    pomdp_tables,
    threshold_tables,
    worth,
)

NEEDY, GOOD, HOPELESS = 0, 1, 2
SHARES = (0.30, 0.45, 0.25)
SAYS_CORRECT = (0.45, 0.80, 0.12)
VOTES = 8


def population(n, *, seed, chances=SAYS_CORRECT):
    """Return queries that are needy, good or hopeless, with votes of those chances."""
    rng = np.random.default_rng(seed)
    state = rng.choice(3, n, p=SHARES)
    return VerifiedRows(
        votes=VOTES,
        correct=rng.binomial(VOTES, np.asarray(chances)[state]),
        small=(state == GOOD).astype(float),
        large=(state != HOPELESS).astype(float),
        small_usd=np.ones(n),
        large_usd=np.full(n, 50.0),
        verifier_usd=np.ones(n),
    )


def held_out(tables, seed, **options):
    """Return the benefit, on fresh queries, of the table that is best on others."""
    train, test = (
        population(2000, seed=seed, **options),
        population(20000, seed=1000 + seed, **options),
    )
    tables = candidate_tables(train) if tables is None else tables
    chosen = best_table(tables, train)
    return incremental_benefit(worth(tables[chosen : chosen + 1], test), test)[0]


def rows(correct, small, large, *, votes=VOTES):
    n = len(correct)
    return VerifiedRows(
        votes=votes,
        correct=np.asarray(correct),
        small=np.asarray(small, float),
        large=np.asarray(large, float),
        small_usd=np.ones(n),
        large_usd=np.full(n, 50.0),
        verifier_usd=np.ones(n),
    )


def test_one_threshold_gains_what_the_simulation_of_the_paper_gains():
    gains = [held_out(threshold_tables(VOTES), seed) for seed in range(5)]
    assert np.mean(gains) == pytest.approx(39, abs=4)


def test_two_thresholds_spare_the_hopeless_and_gain_far_more():
    gains = [held_out(interval_tables(VOTES), seed) for seed in range(5)]
    assert np.mean(gains) == pytest.approx(136, abs=8)


def test_the_union_of_all_tables_is_as_good_as_its_best_part():
    assert held_out(None, 0) > held_out(interval_tables(VOTES), 0) - 1e-9


def test_uninformative_votes_lose_what_they_cost():
    blind = (0.5, 0.5, 0.5)
    gains = [held_out(None, seed, chances=blind) for seed in range(5)]
    assert -15 < np.mean(gains) < 0
    train = population(2000, seed=0, chances=blind)
    assert cross_validated_benefit(train, np.arange(2000) % 5) < 0
    assert abs(area_under_roc(train) - 0.5) < 0.04


def test_benefit_out_of_fold_is_that_of_fresh_queries():
    train = population(2000, seed=0)
    crossed = cross_validated_benefit(train, np.arange(2000) % 5)
    assert crossed == pytest.approx(held_out(None, 0), abs=15)


def test_costs_and_benefit_of_an_example_by_hand():
    # Ten queries, four of them escalated; 1 + 1 + 0.4 x 50 = 22.
    example = rows(
        [0] * 4 + [8] * 6,
        [0.0, 0.0, 0.2, 0.6, 0.6, 1.0, 1.0, 1.0, 1.0, 0.6],
        [0.4, 0.2, 0.4, 0.6, 0.9, 1.0, 1.0, 1.0, 1.0, 1.0],
    )
    assert example.small.mean() == pytest.approx(0.60)
    assert example.large.mean() == pytest.approx(0.75)
    of = worth(threshold_tables(VOTES)[:1], example)
    assert of.cost_usd[0] == pytest.approx(22.0)
    assert of.quality[0] == pytest.approx(0.68)
    assert of.escalated[0] == pytest.approx(0.4)
    assert incremental_benefit(of, example)[0] == pytest.approx(24.44, abs=0.005)


def test_benefit_is_that_of_the_evaluation():
    some = population(500, seed=3)
    of = worth(candidate_tables(some), some)
    ends = {
        "weak": (some.small.mean(), some.small_usd.mean()),
        "strong": (some.large.mean(), some.large_usd.mean()),
    }
    for i, each in enumerate(incremental_benefit(of, some)):
        expected = benefit_of_a_router(quality=of.quality[i], cost=of.cost_usd[i], **ends)
        assert each == pytest.approx(expected)


def test_nothing_is_gained_by_a_large_model_that_is_no_better_or_no_dearer():
    some = population(200, seed=0)
    tables = threshold_tables(VOTES)
    for worse in (
        rows(some.correct, some.large, some.small),
        VerifiedRows(
            votes=VOTES,
            correct=some.correct,
            small=some.small,
            large=some.large,
            small_usd=some.large_usd,
            large_usd=some.large_usd,
            verifier_usd=some.verifier_usd,
        ),
    ):
        assert (incremental_benefit(worth(tables, worse), worse) == -np.inf).all()
        assert cross_validated_benefit(worse, np.arange(200) % 4) == -np.inf


def test_thresholds_escalate_where_few_votes_say_correct():
    assert threshold_tables(2).tolist() == [
        [True, False, False],
        [True, True, False],
        [True, True, True],
    ]


def test_intervals_have_two_and_three_thresholds():
    tables = {tuple(each) for each in interval_tables(4).tolist()}
    assert (False, True, True, False, False) in tables
    assert (True, False, True, False, False) in tables
    assert (True, False, True, False, True) not in tables


def test_the_pomdp_escalates_the_needy_first():
    # 0 votes: hopeless; 1: needy; 2: good.
    some = rows([0] * 10 + [1] * 10 + [2] * 10, [0] * 20 + [1] * 10, [0] * 10 + [1] * 20, votes=2)
    tables = pomdp_tables(some).tolist()
    assert [False, True, False] in tables
    assert [False, False, False] in tables
    assert all(not (table[0] or table[2]) for table in tables)


def test_numbers_of_votes_that_never_came_are_not_escalated_by_the_pomdp():
    some = rows([1] * 10, [0] * 10, [1] * 10, votes=3)
    assert {tuple(each) for each in pomdp_tables(some).tolist()} == {
        (False, False, False, False),
        (False, True, False, False),
    }


def test_greedy_tables_are_nested():
    tables = greedy_tables(population(2000, seed=1))
    assert tables.sum(axis=1).tolist() == list(range(1, VOTES + 2))
    assert (tables[1:] | ~tables[:-1]).all()


def test_greedy_begins_where_most_is_gained():
    first = greedy_tables(population(4000, seed=1))[0]
    assert np.flatnonzero(first)[0] in (2, 3, 4)


def test_votes_tell_right_from_wrong_by_their_number():
    assert area_under_roc(rows([8, 8, 0, 0], [1, 1, 0, 0], [1] * 4)) == 1
    assert area_under_roc(rows([0, 0, 8, 8], [1, 1, 0, 0], [1] * 4)) == 0
    assert area_under_roc(rows([4, 4, 4, 4], [1, 1, 0, 0], [1] * 4)) == 0.5
    assert area_under_roc(rows([1, 2], [1, 1], [1, 1])) == 0.5


def test_no_queries_are_no_tables_and_no_benefit():
    none = population(0, seed=0)
    assert cross_validated_benefit(none, np.zeros(0, np.intp)) == -np.inf
