"""Logistic regression of many classes: chances that are a softmax of lines."""

import numpy as np

from routers.numeric import FloatArray
from routers.strategies._minimise import minimise
from routers.types import FloatMatrix

_TOLERANCE, _MOST_ITERATIONS = 1e-4, 60
"""Beyond that the loss on other rows does not fall any more."""


def softmax_regression(
    x: FloatMatrix, label: np.ndarray, start: FloatArray, *, inverse: float
) -> FloatArray:
    """Return the weights of least cross-entropy, (n_features + 1, n_classes), the bias last.

    Parameters
    ----------
    x
        float32 (n_rows, n_features).
    label
        (n_rows,), numbers of classes.
    start
        Weights to begin at.
    inverse
        Inverse strength of the L2 penalty beside the sum over rows; biases bear none.

    References
    ----------
    Cox 1958, The regression analysis of binary sequences.
    """
    n, rows = len(x), np.arange(len(x))
    wide = np.hstack([x, np.ones((n, 1), np.float32)])
    held = np.full((wide.shape[1], 1), 1 / (inverse * n))
    held[-1] = 0

    def evaluate(weights: FloatArray) -> tuple[float, FloatArray]:
        # Products in single precision: half of the time, and errors far below the tolerance.
        scores = (wide @ weights.astype(np.float32)).astype(np.float64)
        scores -= scores.max(axis=1, keepdims=True)
        chances = np.exp(scores)
        total = chances.sum(axis=1, keepdims=True)
        loss = float((np.log(total[:, 0]) - scores[rows, label]).mean())
        chances /= total
        chances[rows, label] -= 1
        gradient = (wide.T @ chances.astype(np.float32)).astype(np.float64) / n
        loss += 0.5 * float((held * weights * weights).sum())
        return loss, gradient + held * weights

    return minimise(evaluate, start, tolerance=_TOLERANCE, max_iterations=_MOST_ITERATIONS)
