import numpy as np
import pytest

from routers.evaluation.bootstrap import Interval, resample, weighted_means


def test_draws_are_seeded_and_complete():
    first, again, other = (resample(40, 20, seed=seed) for seed in (3, 3, 4))
    assert (first == again).all()
    assert (first != other).any()
    assert (first.sum(axis=1) == 40).all()


def test_means_are_those_of_the_drawn_rows():
    rng = np.random.default_rng(0)
    values = rng.random((3, 30))
    weights = resample(30, 5, seed=0)
    rows = np.repeat(np.arange(30), weights[2].astype(int))
    assert weighted_means(values, weights)[2] == pytest.approx(values[:, rows].mean(axis=1))
    values[1, :15] = np.nan
    expected = np.nanmean(values[1, rows])
    assert weighted_means(values, weights)[2, 1] == pytest.approx(expected)


def test_the_interval_covers_the_mean_as_often_as_it_says():
    rng = np.random.default_rng(5)
    hits = 0
    for run in range(300):
        sample = rng.random(200)
        draws = weighted_means(sample[None], resample(200, 300, seed=run))[:, 0]
        interval = Interval.of(sample.mean(), draws)
        hits += interval.low <= 0.5 <= interval.high
    assert hits / 300 == pytest.approx(0.95, abs=0.04)


def test_what_is_not_finite_becomes_none():
    interval = Interval.of(np.inf, np.array([1.0, np.inf, np.inf]))
    assert interval.to_dict() == {"value": None, "low": 1.0, "high": None}
    assert Interval.of(1.0, np.array([np.nan])).to_dict()["low"] is None
