import numpy as np
import pytest

from routers.strategies._model_means import corrections

COSTS = np.geomspace(1e-5, 1e-2, 9)


def outcomes(n, chances, *, seed=0):
    """Return outcomes of models that all fail on hard queries: (n, n_models)."""
    rng = np.random.default_rng(seed)
    hard = rng.normal(0, 0.2, (n, 1))
    return (rng.random((n, len(chances))) < np.asarray(chances) + hard).astype(np.float32)


def errors(chances, costs):
    """Return squared errors of means of 50 rows, plain and corrected, over 20 draws."""
    plain, corrected = [], []
    for seed in range(20):
        y = outcomes(50, chances, seed=seed)
        off = y.mean(axis=0) - chances
        plain.append((off - off.mean()) ** 2)
        off = off + corrections(y, costs)
        corrected.append((off - off.mean()) ** 2)
    return np.mean(plain), np.mean(corrected)


def test_favourites_of_few_rows_are_drawn_to_what_their_cost_lets_expect():
    plain, corrected = errors(np.linspace(0.3, 0.7, 9), COSTS)
    assert corrected < 0.5 * plain


def test_models_that_hardly_differ_are_drawn_to_each_other_without_costs():
    plain, corrected = errors(np.full(9, 0.5), None)
    assert corrected < 0.5 * plain


def test_models_whose_quality_has_nothing_to_do_with_cost_keep_most_of_it():
    chances = np.array([0.7, 0.2, 0.8, 0.3, 0.5, 0.2, 0.8, 0.3, 0.6])
    plain, corrected = errors(chances, COSTS)
    assert corrected < 1.1 * plain


def test_with_many_rows_nothing_is_left_to_correct():
    chances = np.array([0.7, 0.2, 0.8, 0.3, 0.5, 0.2, 0.8, 0.3, 0.6])
    assert np.abs(corrections(outcomes(4000, chances), COSTS)).max() < 0.005


@pytest.mark.parametrize("n_models", [1, 2, 3])
def test_among_few_models_none_is_favoured_by_luck(n_models):
    y = outcomes(50, np.linspace(0.3, 0.7, n_models))
    assert not corrections(y, COSTS[:n_models]).any()


@pytest.mark.parametrize("costs", [np.zeros(9), np.full(9, 0.01), np.append(COSTS[:8], np.nan)])
def test_costs_that_tell_nothing_count_as_none(costs):
    y = outcomes(50, np.linspace(0.3, 0.7, 9))
    np.testing.assert_array_equal(corrections(y, costs), corrections(y, None))


def test_equal_outcomes_leave_nothing_to_correct():
    assert not corrections(np.ones((50, 9), np.float32), COSTS).any()


def test_a_model_that_was_hardly_tried_is_corrected_most():
    y = outcomes(400, np.linspace(0.3, 0.7, 9))
    y[:, 8] = np.nan
    y[:20, 8] = 1.0
    moved = np.abs(corrections(y, COSTS))
    assert moved[8] > 3 * moved[:8].max()


def test_nothing_is_said_where_a_model_was_tried_once():
    y = outcomes(400, np.linspace(0.3, 0.7, 9))
    y[1:, 8] = np.nan
    assert not corrections(y, COSTS).any()
