import numpy as np
import pytest

from routers.evaluation.metrics import (
    area_under_hull,
    curve,
    expected_calibration_error,
    hull,
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
