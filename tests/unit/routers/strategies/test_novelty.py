import numpy as np
import pytest

from routers.strategies._novelty import Novelty

RNG = np.random.default_rng(0)
X = np.hstack([RNG.normal(3, 0.3, (400, 4)), RNG.normal(0, 0.3, (400, 4))]).astype(np.float32)
QUALITY = (RNG.random((400, 2)) < [0.2, 0.8]).astype(np.float32)
NEAR = X[:5]
FAR = np.roll(X[:5], 4, axis=1)


def fitted(**options):
    return Novelty().fit(X, QUALITY, rng=np.random.default_rng(1), **options)


def test_familiar_queries_are_believed_and_strange_ones_hardly():
    model = fitted()
    assert model.trust(X).mean() > 0.95
    assert model.trust(NEAR) == pytest.approx(1.0, abs=0.2)
    assert model.trust(FAR) == pytest.approx(0.15)


def test_predictions_on_strange_queries_fall_back_to_the_means():
    wild = np.array([[0.9, 0.1]] * 5, np.float32)
    std = np.full((5, 2), 0.01, np.float32)
    quality, wider = fitted().shrink(FAR, wild, std)
    assert (quality[:, 1] > quality[:, 0]).all()
    assert (wider > 0.3).all()


def test_every_benchmark_counts_alike_in_the_means():
    groups = ("set/large",) * 300 + ("set/small",) * 100
    quality = np.repeat([[1.0, 0.0], [0.0, 1.0]], [300, 100], axis=0).astype(np.float32)
    model = Novelty().fit(X, quality, groups=groups, rng=np.random.default_rng(1))
    assert model.prior_ == pytest.approx([0.5, 0.5], abs=0.06)


def test_storing_changes_nothing():
    model = fitted()
    again = Novelty().restore(model.state())
    np.testing.assert_array_equal(model.trust(FAR), again.trust(FAR))
    with pytest.raises(ValueError, match="two and four numbers"):
        Novelty().restore({**model.state(), "bounds": np.zeros(3, np.float32)})
    with pytest.raises(ValueError, match="slopes"):
        Novelty().restore({**model.state(), "slope": np.zeros(3, np.float32)})


def with_lengths(weak_slope: float, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return features whose column 0 is a length, and outcomes of a weak and a strong model."""
    rng = np.random.default_rng(seed)
    x = np.hstack([rng.random((2000, 1)), rng.normal(3, 0.3, (2000, 4)), np.zeros((2000, 4))])
    chance = np.column_stack([0.5 - weak_slope * (x[:, 0] - 0.5), np.full(2000, 0.8)])
    return x.astype(np.float32), (rng.random((2000, 2)) < chance).astype(np.float32)


def test_strange_queries_are_ranked_by_their_length_where_length_tells():
    x, quality = with_lengths(0.6)
    model = Novelty().fit(x, quality, length_column=0, rng=np.random.default_rng(1))
    lengths = np.linspace(0, 1, 9)
    far = np.hstack([lengths[:, None], np.zeros((9, 4)), np.full((9, 4), 3)]).astype(np.float32)
    alike = np.tile(np.float32([0.5, 0.8]), (9, 1))
    shrunk, _ = model.shrink(far, alike, np.zeros((9, 2), np.float32))
    gain = shrunk[:, 1] - shrunk[:, 0]
    assert (np.diff(gain)[1:-1] > 0.01).all()
    assert gain[-1] - gain[0] == pytest.approx(0.6 * 0.85, abs=0.12)


def test_lengths_beyond_the_usual_ones_count_as_those():
    x, quality = with_lengths(0.6)
    model = Novelty().fit(x, quality, length_column=0, rng=np.random.default_rng(1))
    far = np.zeros((2, 9), np.float32)
    far[:, 0] = 1.0, 50.0
    first, second = model.prior(far)
    assert first == pytest.approx(second, abs=1e-3)


def test_a_slope_that_is_no_more_than_noise_is_hardly_followed():
    x, quality = with_lengths(0.0)
    model = Novelty().fit(x, quality, length_column=0, rng=np.random.default_rng(1))
    assert np.abs(model.slope_).max() < 0.1


def test_a_difference_between_benchmarks_is_no_slope():
    rng = np.random.default_rng(3)
    short = np.repeat([True, False], 1000)
    x = np.zeros((2000, 9), np.float32)
    x[:, 0] = np.where(short, 0.2, 0.8) + rng.normal(0, 0.05, 2000)
    x[:, 1:] = rng.normal(3, 0.3, (2000, 8))
    quality = (rng.random((2000, 1)) < np.where(short, 0.9, 0.1)[:, None]).astype(np.float32)
    groups = tuple(np.where(short, "set/short", "set/long"))
    model = Novelty().fit(x, quality, groups=groups, length_column=0, rng=np.random.default_rng(1))
    confounded = Novelty().fit(x, quality, length_column=0, rng=np.random.default_rng(1))
    assert abs(model.slope_[0]) < 0.3
    assert confounded.slope_[0] < -1


def test_a_handful_of_queries_makes_nothing_familiar():
    kinds = np.repeat(np.eye(6, dtype=np.float32)[:5], [100, 100, 100, 100, 4], axis=0)
    rng = np.random.default_rng(5)
    x = (kinds + rng.normal(0, 0.05, kinds.shape)).astype(np.float32)
    quality = (rng.random((len(x), 2)) < 0.5).astype(np.float32)
    model = Novelty().fit(x, quality, rng=np.random.default_rng(1))
    trust = model.trust(np.eye(6, dtype=np.float32))
    assert (trust[:4] > 0.9).all()
    assert trust[4] == pytest.approx(trust[5]) == pytest.approx(0.15)


def test_slopes_of_many_models_hardly_differ_where_rows_are_few():
    x, quality = with_lengths(0.6)
    x, quality = x[:60], np.hstack([quality, quality])[:60]
    many, two = (
        Novelty().fit(x, each, length_column=0, rng=np.random.default_rng(1)).slope_
        for each in (quality, quality[:, :2])
    )
    assert np.ptp(many) < 0.2 * np.ptp(two)
