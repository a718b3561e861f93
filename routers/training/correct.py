"""Monotone corrections of predicted quality, fitted on fresh outcomes."""

import numpy as np

from routers.artifact.correction import Correction
from routers.numeric import FloatArray, isotonic, sigmoid
from routers.types import FloatMatrix

ISOTONIC_FROM = 1000
"""Outcomes of a model from which on its correction is isotonic; below it is Platt's."""

_LEAST = 30
_BINS = 30
_KNOTS = 33
_KEPT_ORDER = 0.01
"""Share of the prediction itself in its correction: keeps an order where isotonic is flat."""

_UNCHANGED = np.asarray([1.0, 0.0])
"""Slope and intercept of the correction that changes nothing."""


def fit_correction(predicted: FloatMatrix, quality: FloatMatrix) -> Correction:
    """Fit a monotone map per model: isotonic from 1000 outcomes on, Platt below, none below 30.

    References
    ----------
    Platt 1999, Probabilistic outputs for support vector machines; Zadrozny and Elkan 2002,
    Transforming classifier scores into accurate multiclass probability estimates.
    """
    grid = np.linspace(0, 1, _KNOTS)
    at = np.empty((predicted.shape[1], _KNOTS), np.float32)
    to = np.empty_like(at)
    for model in range(predicted.shape[1]):
        known = ~np.isnan(quality[:, model])
        p = predicted[known, model].astype(np.float64)
        y = quality[known, model].astype(np.float64)
        method = method_for(len(p))
        if method == "isotonic":
            knots, values = _isotonic_knots(p, y)
        elif method == "platt":
            knots, values = grid, _platt(p, y, grid)
        else:
            knots, values = grid, grid
        at[model], to[model] = _spread(knots, values)
    return Correction(at=at, to=to)


def method_for(n: int) -> str:
    """Return how a model with `n` known outcomes is corrected."""
    if n >= ISOTONIC_FROM:
        return "isotonic"
    return "platt" if n >= _LEAST else "none"


def _isotonic_knots(p: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Pool into equal-mass bins before isotonic regression: its raw ends are 0 and 1."""
    order = np.argsort(p, kind="stable")
    parts = np.array_split(order, _BINS)
    means = np.asarray([p[part].mean() for part in parts])
    at, bin_of = np.unique(means.round(9), return_inverse=True)  # equal predictions are one bin
    weight, total = np.zeros(len(at)), np.zeros(len(at))
    np.add.at(weight, bin_of, [len(part) for part in parts])
    np.add.at(total, bin_of, [y[part].sum() for part in parts])
    return at, isotonic(total / weight, weight)


def _platt(p: FloatArray, y: FloatArray, grid: FloatArray) -> FloatArray:
    """Logistic regression on the log-odds of the prediction, by Newton's method."""
    x = np.stack([_log_odds(p), np.ones_like(p)], axis=1)
    w = _UNCHANGED
    loss = _platt_loss(w, x, y)
    for _ in range(50):
        chance = sigmoid(x @ w)
        gradient = x.T @ (y - chance) - (w - _UNCHANGED)
        curvature = (x * (chance * (1 - chance))[:, None]).T @ x + np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        while (new := _platt_loss(w + step, x, y)) > loss and np.abs(step).max() > 1e-9:
            step = step / 2  # far from the minimum full steps may overshoot
        w, loss = w + step, new
        if np.abs(step).max() < 1e-9:
            break
    if w[0] <= 0:  # it misleads: nothing is left but the mean
        return np.full(len(grid), y.mean())
    return sigmoid(w[0] * _log_odds(grid) + w[1])


def _platt_loss(w: FloatArray, x: FloatArray, y: FloatArray) -> float:
    """Negative log likelihood with a weak pull towards changing nothing.

    The pull keeps separable outcomes finite.
    """
    z = x @ w
    return float((np.logaddexp(0, z) - y * z).sum() + ((w - _UNCHANGED) ** 2).sum() / 2)


def _log_odds(p: FloatArray) -> FloatArray:
    clipped = np.clip(p, 1e-3, 1 - 1e-3)
    return np.asarray(np.log(clipped / (1 - clipped)))


def _spread(knots: FloatArray, values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Resample a map on `_KNOTS` knots, dense where its own knots are, and keep its order."""
    inner = np.quantile(knots, np.linspace(0, 1, _KNOTS - 2))
    at = np.concatenate([[0.0], inner, [1.0]]).astype(np.float32)
    for i in range(1, _KNOTS):  # knots may coincide where predictions do
        at[i] = max(at[i], np.nextafter(at[i - 1], np.float32(2)) + np.float32(1e-6))
    at /= at[-1]
    to = (1 - _KEPT_ORDER) * np.interp(at, knots, values) + _KEPT_ORDER * at
    return at.astype(np.float64), np.maximum.accumulate(np.clip(to, 0, 1))
