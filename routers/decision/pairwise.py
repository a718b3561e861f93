"""Who wins a comparison: scores of the threshold rule, strengths and win rates."""

import numpy as np
from numpy.typing import NDArray

from routers.numeric import FloatArray, sigmoid
from routers.types import FloatMatrix, Predictions

_MAX_LOGIT = 40.0
"""Stands for certainty: in double precision its chance is exactly 1."""


def logit(chance: NDArray[np.floating]) -> FloatArray:
    """Return the log-odds of a chance; certainty is taken for a logit of 40."""
    p = np.asarray(chance, np.float64)
    with np.errstate(divide="ignore"):
        odds = np.log(p) - np.log1p(-p)
    return np.asarray(np.clip(odds, -_MAX_LOGIT, _MAX_LOGIT))


def strong_scores(predictions: Predictions, *, strong: int, weak: int) -> FloatArray:
    """Return what the threshold rule compares with its threshold, (n_queries,) in [0, 1].

    This one function serves live requests and the calibration of thresholds, so that what was
    calibrated is what happens.

    Parameters
    ----------
    strong, weak
        Columns of the two models.

    Notes
    -----
    Where the router tells strengths it is the chance that the strong model beats the weak one.
    Elsewhere it is the chance that the strong model is right where the weak one is wrong,
    independence assumed.

    References
    ----------
    Ong et al. 2024, RouteLLM, arXiv:2406.18665.
    """
    if predictions.strength is not None:
        # In double precision before the difference: equal thresholds must compare equal.
        strength = np.asarray(predictions.strength[:, [strong, weak]], np.float64)
        return sigmoid(strength[:, 0] - strength[:, 1])
    quality = np.asarray(predictions.quality[:, [strong, weak]], np.float64)
    return np.asarray(quality[:, 0] * (1 - quality[:, 1]))


def win_rates(strength: NDArray[np.floating]) -> FloatMatrix:
    """Return every model's mean chance to beat each of the others; 0.5 for a single model.

    Parameters
    ----------
    strength
        (n_queries, n_models).
    """
    wide = np.asarray(strength, np.float64)
    n_models = wide.shape[1]
    if n_models == 1:
        return np.full(wide.shape, 0.5, np.float32)
    beaten = np.zeros(wide.shape)
    for other in range(n_models):
        beaten += sigmoid(wide - wide[:, other : other + 1])
    # The comparison with itself, half a win, does not count.
    return np.asarray((beaten - 0.5) / (n_models - 1), np.float32)
