"""Ridge regressions whose penalty is chosen by the error on rows that were left out."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from routers.numeric import FloatArray


class Ridge(NamedTuple):
    """What was found, a column for every target.

    Attributes
    ----------
    coef
        (n_features, n_targets); the others are (n_targets,).
    alpha
        The penalty that was chosen.
    error
        Mean squared error on rows that were left out.
    """

    coef: FloatArray
    intercept: FloatArray
    alpha: FloatArray
    error: FloatArray


class LeaveOneOut:
    """Features that several targets are regressed on: their decomposition serves all of them.

    Parameters
    ----------
    x
        (n_rows, n_features).
    alphas
        Penalties to choose from.

    Notes
    -----
    Errors on a row that is left out follow from its residual and its leverage. With the features
    rotated onto the axes of their covariance, the leverages for all penalties are one product.

    References
    ----------
    Golub, Heath & Wahba 1979, Generalized cross-validation as a method for choosing a good ridge
    parameter.
    """

    def __init__(self, x: FloatArray, alphas: Sequence[float]) -> None:
        self._alphas = np.asarray(alphas, np.float64)
        self._center = x.mean(axis=0)
        centred = x - self._center
        values, self._axes = np.linalg.eigh(centred.T @ centred)
        self._along = centred @ self._axes
        self._shrink = 1 / (np.maximum(values, 0)[:, None] + self._alphas)
        self._left = 1 - self._along**2 @ self._shrink - 1 / len(x)

    def fit(self, y: FloatArray, *, alone: bool) -> Ridge:
        """Regress targets, (n_rows, n_targets), each with a penalty of its own or all with one."""
        mean = y.mean(axis=0)
        above = y - mean
        projected = self._along.T @ above
        errors = np.stack(
            [
                (((above - self._along @ (shrink[:, None] * projected)) / left[:, None]) ** 2).mean(
                    axis=0
                )
                for shrink, left in zip(self._shrink.T, self._left.T, strict=True)
            ]
        )
        judged = errors if alone else np.broadcast_to(errors.mean(axis=1)[:, None], errors.shape)
        best = judged.argmin(axis=0)
        coef = self._axes @ (self._shrink[:, best] * projected)
        error = np.take_along_axis(judged, best[None], axis=0)[0]
        return Ridge(coef, mean - self._center @ coef, self._alphas[best], error)
