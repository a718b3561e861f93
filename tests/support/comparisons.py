"""Battles in the synthetic world, and what a score makes of strong and weak models."""

import numpy as np

from routers.base import Battles, Labels
from routers.evaluation.synthetic import draw, make_world
from routers.numeric import FloatArray

MODELS = tuple("abcde")
STRONG, WEAK = 4, 1


def random_battles(quality: np.ndarray, n: int, *, seed: int) -> Battles:
    """Let two random models compete on random queries; equal quality is a tie."""
    rng = np.random.default_rng(seed)
    n_models = quality.shape[1]
    row, a = rng.integers(0, len(quality), n), rng.integers(0, n_models, n)
    b = (a + rng.integers(1, n_models, n)) % n_models
    outcome = (np.sign(quality[row, a] - quality[row, b]) + 1) / 2
    return Battles(row=row, a=a, b=b, outcome=outcome.astype(np.float32))


def apgr(score: np.ndarray, weak: np.ndarray, strong: np.ndarray) -> float:
    """Return the mean share of the quality gap, over all shares of calls to the strong model."""
    gain: FloatArray = (strong - weak)[np.argsort(-score, kind="stable")]
    recovered = np.concatenate([[0.0], np.cumsum(gain)]) / gain.sum()
    return float(np.trapezoid(recovered, np.linspace(0, 1, len(recovered))))


def world_with_battles(seed: int, *, n_battles: int = 4000):
    """Return training features, labels whose only information is battles, and fresh queries."""
    world = make_world(seed)
    train, test = draw(world, 2000, seed=100 + seed), draw(world, 2000, seed=200 + seed)
    battles = random_battles(train.quality, n_battles, seed=seed)
    quality = np.full(train.quality.shape, np.nan, np.float32)
    for column, outcome in ((battles.a, battles.outcome), (battles.b, 1 - battles.outcome)):
        quality[battles.row, column] = outcome
    return train.x, Labels(models=MODELS, quality=quality, battles=battles), test
