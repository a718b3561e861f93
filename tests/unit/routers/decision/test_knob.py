import math
from itertools import pairwise

import numpy as np
import pytest

from routers.decision.decide import choose
from routers.decision.knob import KnobCurve
from routers.errors import ArtifactError

POSITIONS = np.linspace(0, 1, 21)


def random_rows(seed=0, n=400, m=5):
    rng = np.random.default_rng(seed)
    quality = rng.uniform(0, 1, (n, m))
    cost = np.geomspace(1e-5, 1e-2, m) * rng.lognormal(0, 0.5, (n, 1))
    return quality, cost, (rng.random((n, m)) < quality).astype(float)


def test_the_ends_are_exact():
    knob = KnobCurve.fit(*random_rows())
    assert knob.usd_per_quality_for(0) == 0
    assert knob.usd_per_quality_for(1) == math.inf


def test_rates_strictly_increase():
    knob = KnobCurve.fit(*random_rows())
    rates = [knob.usd_per_quality_for(t) for t in POSITIONS]
    assert all(a < b for a, b in pairwise(rates))


def test_the_two_maps_are_inverse():
    knob = KnobCurve.fit(*random_rows())
    for t in POSITIONS:
        assert knob.cost_quality_for(knob.usd_per_quality_for(t)) == pytest.approx(t, abs=1e-9)


def test_plain_tables_round_trip():
    knob = KnobCurve.fit(*random_rows())
    assert KnobCurve.from_table(knob.to_table()) == knob


@pytest.mark.parametrize(
    "table",
    [
        [],
        [[0, 1]],
        [[0, 1], [1, 1]],
        [[0, 1], [0.5, 2]],
        [[0.1, 1], [1, 2]],
        [[0, 0], [1, 2]],
        [[0, 1], [1, math.inf]],
        [[0, 2], [0.5, 1], [1, 3]],
        [[0, "x"], [1, 2]],
        [0, 1],
    ],
)
def test_broken_tables_are_refused(table):
    with pytest.raises(ArtifactError, match="knob table"):
        KnobCurve.from_table(table)


def test_where_predictions_are_right_the_promise_is_kept_on_the_rows_themselves():
    quality, cost, _ = random_rows(n=4000)
    knob = KnobCurve.fit(quality, cost, quality)
    rows = np.arange(len(quality))

    def mean_quality(t):
        return quality[rows, choose(quality, cost, knob.usd_per_quality_for(t))].mean()

    low, high = mean_quality(0), mean_quality(1)
    for t in POSITIONS:
        assert (mean_quality(t) - low) / (high - low) == pytest.approx(t, abs=0.01)


def test_one_model_leaves_nothing_to_choose_but_a_valid_curve():
    knob = KnobCurve.fit(np.full((10, 1), 0.5), np.full((10, 1), 1e-3))
    assert 0 < knob.usd_per_quality_for(0.5) < math.inf


def test_without_rows_there_is_still_a_valid_curve():
    knob = KnobCurve.fit(np.zeros((0, 3)), np.zeros((0, 3)))
    assert 0 < knob.usd_per_quality_for(0.5) < math.inf


def test_when_the_cheapest_is_best_no_rate_moves_the_choice():
    quality = np.tile([0.9, 0.5], (50, 1))
    cost = np.tile([1e-4, 1e-3], (50, 1))
    knob = KnobCurve.fit(quality, cost, quality)
    rates = [knob.usd_per_quality_for(t) for t in POSITIONS]
    assert all((choose(quality, cost, rate) == 0).all() for rate in rates)


def test_without_a_measured_gap_the_knob_still_runs_from_cheap_to_dear():
    quality, cost, _ = random_rows()
    knob = KnobCurve.fit(quality, cost, np.full(quality.shape, 0.5))
    rows = np.arange(len(quality))
    spent = [
        cost[rows, choose(quality, cost, knob.usd_per_quality_for(t))].mean() for t in POSITIONS
    ]
    assert spent == sorted(spent)
    assert spent[5] < spent[10] < spent[15]


def test_a_curve_that_falls_at_the_end_is_not_followed_beyond_its_maximum():
    # The dearest model is predicted best everywhere and is worst in truth.
    rng = np.random.default_rng(1)
    n = 2000
    quality = np.stack(
        [np.full(n, 0.3), rng.uniform(0.33, 0.7, n), rng.uniform(0.73, 0.9, n)], axis=1
    )
    cost = np.tile([1e-4, 1e-3, 1e-1], (n, 1))
    truth = np.stack([np.full(n, 0.3), quality[:, 1], np.full(n, 0.2)], axis=1)
    knob = KnobCurve.fit(quality, cost, truth)
    picks = choose(quality, cost, knob.usd_per_quality_for(0.99))
    assert (picks == 2).mean() < 0.02
    assert (picks == 1).mean() > 0.9


def test_models_that_were_not_tried_count_as_predicted():
    quality, cost, _ = random_rows()
    unknown = np.full(quality.shape, np.nan)
    assert KnobCurve.fit(quality, cost, unknown) == KnobCurve.fit(quality, cost, quality)


def test_identical_rows_move_at_one_rate_and_keep_the_curve_valid():
    quality = np.tile([0.2, 0.8], (100, 1))
    cost = np.tile([1e-4, 1e-3], (100, 1))
    knob = KnobCurve.fit(quality, cost, quality)
    assert (choose(quality, cost, knob.usd_per_quality_for(1)) == 1).all()
    assert (choose(quality, cost, knob.usd_per_quality_for(0)) == 0).all()
