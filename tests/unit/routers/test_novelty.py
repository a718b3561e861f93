import numpy as np
import pytest

from routers.novelty import Novelty

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
    assert model.prior_ == pytest.approx([0.5, 0.5])


def test_storing_changes_nothing():
    model = fitted()
    again = Novelty().restore(model.state())
    np.testing.assert_array_equal(model.trust(FAR), again.trust(FAR))
    with pytest.raises(ValueError, match="two numbers"):
        Novelty().restore({**model.state(), "bounds": np.zeros(3, np.float32)})
