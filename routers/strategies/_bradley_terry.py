"""Strengths of models that explain who beat whom."""

import numpy as np

from routers.base import Comparisons
from routers.numeric import FloatArray, sigmoid

_MAX_NEWTON_STEPS = 30
_LONGEST_STEP = 2.0
_UNSURE = 1e-9
"""Of the largest curvature: without a prior strengths are known but for a constant."""


def count_wins(pair: np.ndarray, weight: FloatArray, n_models: int) -> FloatArray:
    """Return how often every model beat every other, weighted, (n_models, n_models).

    Parameters
    ----------
    pair
        (n,), the winner's number times n_models, plus the loser's.
    """
    wins = np.bincount(pair, weight, minlength=n_models**2)
    return np.asarray(wins.reshape(n_models, n_models), np.float64)


def overall_strengths(comparisons: Comparisons, n_models: int, *, prior: float = 1.0) -> FloatArray:
    """Return the strengths behind all comparisons, whatever the query; ties are half a win each.

    Parameters
    ----------
    prior
        Of `bradley_terry`, around equal strengths: who never lost is not infinitely strong.
    """
    a, b = comparisons.a, comparisons.b
    won = comparisons.outcome.astype(np.float64)
    wins = count_wins(
        np.concatenate([a * n_models + b, b * n_models + a]),
        np.concatenate([won, 1 - won]),
        n_models,
    )
    return np.asarray(bradley_terry(wins[None], np.zeros(n_models), prior=prior)[0])


def bradley_terry(wins: FloatArray, around: FloatArray, *, prior: float) -> FloatArray:
    """Return strengths of largest likelihood, log P(i beats j) = log sigmoid(s_i - s_j).

    Parameters
    ----------
    wins
        (n, n_models, n_models): how often the row's model beat the column's, weighted.
    around
        (n_models,): a normal prior of this mean and precision `prior`, and where to begin.

    Returns
    -------
    float64 (n, n_models), by Newton's method; steps are cut at 2 so that it cannot overshoot, and
    end after thirty: without a prior, who never lost is infinitely strong.
    """
    n, n_models, _ = wins.shape
    strength = np.broadcast_to(around, (n, n_models)).copy()
    diagonal = np.arange(n_models)
    for _ in range(_MAX_NEWTON_STEPS):
        chance = sigmoid(strength[:, :, None] - strength[:, None, :])
        lost = chance.transpose(0, 2, 1)  # of the row's model to the column's
        surprise = wins * lost
        gradient = surprise.sum(axis=2) - surprise.sum(axis=1) - prior * (strength - around)
        weight = (wins + wins.transpose(0, 2, 1)) * chance * lost
        hessian = -weight
        curvature = weight.sum(axis=2)
        unsure = 0.0 if prior else np.maximum(curvature.max(), 1e-12) * _UNSURE
        hessian[:, diagonal, diagonal] += curvature + prior + unsure
        step = np.linalg.solve(hessian, gradient[..., None])[..., 0]
        longest = np.abs(step).max(axis=1, keepdims=True)
        strength += step * np.minimum(1, _LONGEST_STEP / np.maximum(longest, 1e-300))
        if longest.max(initial=0) < 1e-8:
            break
    return strength
