"""Comparisons in the synthetic world, and what a score makes of strong and weak models."""

import numpy as np

from routers.base import Comparisons, Labels
from routers.numeric import FloatArray
from tests.support.worlds import draw, make_world

MODELS = tuple("abcde")
STRONG, WEAK = 4, 1


def random_comparisons(quality: np.ndarray, n: int, *, seed: int) -> Comparisons:
    """Let two random models compete on random queries; equal quality is a tie."""
    rng = np.random.default_rng(seed)
    n_models = quality.shape[1]
    row, a = rng.integers(0, len(quality), n), rng.integers(0, n_models, n)
    b = (a + rng.integers(1, n_models, n)) % n_models
    outcome = (np.sign(quality[row, a] - quality[row, b]) + 1) / 2
    return Comparisons(row=row, a=a, b=b, outcome=outcome.astype(np.float32))


def apgr(score: np.ndarray, weak: np.ndarray, strong: np.ndarray) -> float:
    """Return the mean share of the quality gap, over all shares of calls to the strong model."""
    gain: FloatArray = (strong - weak)[np.argsort(-score, kind="stable")]
    recovered = np.concatenate([[0.0], np.cumsum(gain)]) / gain.sum()
    return float(np.trapezoid(recovered, np.linspace(0, 1, len(recovered))))


def world_with_comparisons(seed: int, *, n_comparisons: int = 4000):
    """Return training features, labels whose only information is comparisons, and fresh queries."""
    world = make_world(seed)
    train, test = draw(world, 2000, seed=100 + seed), draw(world, 2000, seed=200 + seed)
    comparisons = random_comparisons(train.quality, n_comparisons, seed=seed)
    quality = np.full(train.quality.shape, np.nan, np.float32)
    for column, outcome in (
        (comparisons.a, comparisons.outcome),
        (comparisons.b, 1 - comparisons.outcome),
    ):
        quality[comparisons.row, column] = outcome
    return train.x, Labels(models=MODELS, quality=quality, comparisons=comparisons), test
