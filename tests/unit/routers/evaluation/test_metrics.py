import numpy as np
import pytest

from routers.evaluation.metrics import (
    area_over_log_cost,
    area_under_hull,
    arena_score,
    brier_score,
    coverage,
    curve,
    expected_calibration_error,
    hull,
    incremental_benefit,
    match_cost,
    model_recall,
    single_models,
)


def test_the_hull_drops_what_mixing_others_beats():
    x, y = hull(np.array([1.0, 2, 3, 4, 2]), np.array([0.2, 0.3, 0.8, 0.7, 0.25]))
    assert x.tolist() == [1, 3]
    assert y.tolist() == [0.2, 0.8]


def test_area_of_a_straight_hull_is_its_middle():
    cost, quality = np.array([1.0, 3.0]), np.array([0.4, 0.8])
    assert area_under_hull(cost, quality, low=1, high=3) == pytest.approx(0.6)
    assert area_under_hull(cost, quality, low=1, high=5) == pytest.approx(0.7)
    assert area_under_hull(cost, quality, low=2, high=2) == pytest.approx(0.8)


def test_perfect_predictions_choose_perfectly():
    quality = np.array([[1.0, 0.0], [0.0, 1.0]])
    cost = np.array([[1.0, 2.0], [1.0, 2.0]])
    spent, reached = curve(quality, cost, quality, cost)
    assert (spent[0], reached[0]) == (1.0, 0.5)
    assert (spent[-1], reached[-1]) == (1.5, 1.0)


def test_single_models_are_averaged_over_what_is_known():
    cost, quality = single_models(np.array([[1, np.nan], [0, 1]]), np.array([[1.0, 4], [3, 6]]))
    assert cost.tolist() == [2, 5]
    assert quality.tolist() == [0.5, 1]


def test_calibration_error():
    predicted = np.array([[0.2] * 50 + [0.8] * 50]).T
    realised = np.array([[0.0] * 40 + [1.0] * 10 + [1.0] * 30 + [0.0] * 20]).T
    # The first half is right on average, the second promises 0.8 and keeps 0.6.
    assert expected_calibration_error(predicted, realised, n_bins=2) == pytest.approx(0.1)
    assert expected_calibration_error(predicted, np.full_like(realised, np.nan)) == 0


def test_routerarena_golden_values():
    assert arena_score(0.6, 1.0) == pytest.approx(0.5885, abs=5e-5)
    assert arena_score(0.6653, 0.06) == pytest.approx(0.6727, abs=5e-5)
    # Beyond the ends of the scale costs make no further difference.
    assert arena_score(0.6, 1e-6) == arena_score(0.6, 0.0044)
    assert arena_score(0.6, 1e6) == 0


def test_automix_golden_value():
    gain = incremental_benefit(quality=0.68, cost=22.0, weak=(0.60, 1.0), strong=(0.75, 50.0))
    assert gain == pytest.approx(24.44, abs=0.005)
    assert np.isnan(incremental_benefit(quality=1, cost=1, weak=(0.6, 1), strong=(0.7, 2)))


def test_match_cost_is_the_cheapest_point_that_is_good_enough():
    cost, quality = np.array([1.0, 2, 3]), np.array([0.5, 0.8, 0.7])
    assert match_cost(cost, quality, target=0.7) == 2
    assert match_cost(cost, quality, target=0.9) == np.inf


def test_model_recall_counts_only_what_one_or_two_models_solve():
    quality = np.array([[1, 0, 0], [0, 1, 1], [1, 1, 1], [0, 0, 0]])
    assert model_recall(quality, np.array([0, 0, 0, 0])) == 0.5
    assert model_recall(quality, np.array([0, 2, 1, 1])) == 1
    assert np.isnan(model_recall(np.ones((3, 3)), np.zeros(3, int)))
    assert model_recall(np.array([[1, 1], [0, 1]]), np.array([0, 0])) == 0


def test_brier_and_coverage_leave_out_what_is_unknown():
    predicted, realised = np.array([[0.5, 0.9]]), np.array([[1.0, np.nan]])
    assert brier_score(predicted, realised) == 0.25
    assert np.isnan(brier_score(predicted, np.full((1, 2), np.nan)))
    assert coverage(np.array([[2.0, 5.0]]), np.array([[2.0, 6.0]])) == 0.5
    assert np.isnan(coverage(predicted, np.full((1, 2), np.nan)))


def test_the_area_over_log_cost_is_that_of_the_same_hull():
    cost, quality = np.array([1.0, 4.0, 100.0]), np.array([0.2, 0.6, 0.9])
    at = np.geomspace(1, 100, 200_001)
    brute = np.interp(at, cost, quality).mean()
    assert area_over_log_cost(cost, quality, low=1, high=100) == pytest.approx(brute, abs=1e-5)
    assert area_over_log_cost(cost, np.full(3, 0.5), low=1, high=100) == pytest.approx(0.5)
    assert np.isnan(area_over_log_cost(cost, quality, low=0, high=100))
