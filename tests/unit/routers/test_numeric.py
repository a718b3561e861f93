import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression

from routers.numeric import isotonic, nan_mean, row_blocks, unit_rows, upper_hull


@pytest.mark.parametrize("seed", range(5))
def test_isotonic_agrees_with_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    y = np.cumsum(rng.normal(0.1, 1, 200))
    weight = rng.uniform(0.1, 3, 200)
    expected = IsotonicRegression().fit_transform(np.arange(200), y, sample_weight=weight)
    np.testing.assert_allclose(isotonic(y, weight), expected, atol=1e-9)


def test_blocks_cover_every_row_once():
    rows = [row for block in row_blocks(10, 2_000_000) for row in range(block.start, block.stop)]
    assert rows == list(range(10))


def test_zero_rows_stay_zero():
    x = unit_rows(np.array([[3, 4], [0, 0]], np.float32))
    assert x.tolist() == [[pytest.approx(0.6), pytest.approx(0.8)], [0, 0]]


def test_unknown_values_are_left_out_of_means():
    y = np.array([[1, np.nan], [0, np.nan]])
    assert nan_mean(y, default=0.25).tolist() == [0.5, 0.25]


def test_the_upper_hull_is_concave_and_names_its_points():
    cost = np.array([3.0, 1.0, 2.0, 4.0, 1.0, 5.0])
    quality = np.array([0.7, 0.5, 0.55, 0.65, 0.4, 0.8])
    assert upper_hull(cost, quality).tolist() == [1, 0, 5]
    assert upper_hull(cost[:0], quality[:0]).tolist() == []
