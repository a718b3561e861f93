"""What the verdicts of the gate rest on."""

from dataclasses import replace

import numpy as np
import pytest

from routers.evaluation.baselines import crossed_label
from routers.evaluation.bootstrap import detectable, resample
from routers.evaluation.frame import Series, sweep
from routers.gate.verdict import shuffle
from tests.support.worlds import draw, make_world
from tests.unit.routers.evaluation.test_frame import rows_of


def test_a_shuffle_is_the_mean_of_all_random_assignments_of_the_same_mix():
    rows = rows_of(draw(make_world(0), 300, seed=1))
    picks = sweep(rows.quality, rows.cost_usd)
    cost, quality = shuffle(rows, Series(name="", kind="artifact", picks=picks))
    middle = len(picks) // 2
    rng, at = np.random.default_rng(0), np.arange(len(rows))
    drawn = [rows.quality[at, rng.permutation(picks[middle])].mean() for _ in range(2000)]
    assert quality[middle].mean() == pytest.approx(np.mean(drawn), abs=0.002)
    assert cost.shape == quality.shape == picks.shape
    # Always one model is its own shuffle.
    assert np.array_equal(quality[0], rows.quality[:, 0])


def test_unknown_outcomes_are_left_out_of_a_shuffle():
    rows = rows_of(draw(make_world(0), 50, seed=1))
    rows.quality[:10, 1:] = np.nan
    rows.quality[10:20] = np.nan
    mixed = np.tile(np.arange(50) % 5, (1, 1))
    _, quality = shuffle(rows, Series(name="", kind="artifact", picks=mixed))
    assert np.array_equal(quality[0, :10], rows.quality[:10, 0])
    assert np.isnan(quality[0, 10:20]).all()


def test_a_label_is_worth_what_the_rows_of_other_folds_say():
    rows = rows_of(draw(make_world(0), 80, seed=1))
    rows.quality[:] = 0.0
    rows.quality[:40, 0] = rows.quality[40:, 1] = 1.0
    told = replace(rows, groups=("set/a",) * 40 + ("set/b",) * 40)
    folds, judged = np.arange(80) % 4, np.arange(80)
    label = crossed_label(told, folds, judged)
    assert label is not None
    assert np.array_equal(label.picks[-1], np.repeat([0, 1], 40))
    # A benchmark that no other fold knows is predicted at the means of all.
    apart = np.repeat([0, 1], 40)
    unknown = crossed_label(told, apart, judged)
    assert unknown is not None
    assert np.array_equal(unknown.picks[-1], np.repeat([1, 0], 40))
    assert crossed_label(rows, folds, judged) is None


def test_a_detectable_difference_is_seen_in_four_of_five_samples():
    rng = np.random.default_rng(0)
    weights = resample(200, 300, seed=0)
    size = detectable(weights @ rng.normal(0, 1, 200) / 200)
    assert size == pytest.approx(2.8 / np.sqrt(200), rel=0.15)
    seen = 0
    for _ in range(400):
        sample = rng.normal(size, 1, 200)
        low = np.quantile(weights @ sample / 200, 0.025)
        seen += low > 0
    assert seen / 400 == pytest.approx(0.8, abs=0.08)
