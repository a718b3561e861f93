"""Multidimensional item response theory: which abilities a query asks for, and who has them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from routers.errors import DataError
from routers.numeric import FloatArray, sigmoid
from routers.types import FloatMatrix

_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-8
_NEWTON_STEPS = 50


def chance_correct(
    discrimination: FloatArray, ability: FloatArray, difficulty: FloatArray
) -> FloatArray:
    """Return sigmoid(a . theta - b).

    Parameters
    ----------
    discrimination
        (n_queries, n_abilities), a >= 0.
    ability
        (n_abilities,) or (n_models, n_abilities).
    difficulty
        (n_queries,).
    """
    net = discrimination @ np.asarray(ability).T
    return sigmoid((net.T - difficulty).T)


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemResponseModel:
    """A fitted MIRT: items as a function of query features, one ability vector per model.

    Attributes
    ----------
    center, components
        (d,) and (d, r): the principal components of the features, scaled to unit variance.
    slope, slope_bias
        (r, k) and (k,): discrimination a = softplus(z @ slope + slope_bias).
    weight, bias
        (r,) and a number: difficulty b = z @ weight + bias.
    ability
        (n_models, k).
    """

    center: FloatArray
    components: FloatArray
    slope: FloatArray
    slope_bias: FloatArray
    weight: FloatArray
    bias: float
    ability: FloatArray

    def items(self, x: FloatMatrix) -> tuple[FloatArray, FloatArray]:
        """Return discrimination (n, k) > 0 and difficulty (n,) of queries."""
        z = (np.asarray(x, np.float64) - self.center) @ self.components
        return np.logaddexp(0, z @ self.slope + self.slope_bias), z @ self.weight + self.bias

    def predict(self, x: FloatMatrix) -> FloatArray:
        """Return the chance of every model on every query: (n, n_models)."""
        discrimination, difficulty = self.items(x)
        return chance_correct(discrimination, self.ability, difficulty)

    def place(self, x: FloatMatrix, quality: FloatArray) -> FloatArray:
        """Return the ability (k,) of a new model from its outcomes on some queries.

        The maximum a posteriori estimate; the prior is a Gaussian around the known models.

        Parameters
        ----------
        quality
            (n,) in [0, 1].
        """
        discrimination, difficulty = self.items(x)
        mean = self.ability.mean(axis=0)
        spread = np.cov(self.ability.T).reshape(len(mean), len(mean)) + 0.05 * np.eye(len(mean))
        precision = np.linalg.inv(spread)
        theta = mean.copy()
        for _ in range(_NEWTON_STEPS):
            p = chance_correct(discrimination, theta, difficulty)
            gradient = discrimination.T @ (quality - p) - precision @ (theta - mean)
            hessian = (discrimination.T * (p * (1 - p))) @ discrimination + precision
            step = np.linalg.solve(hessian, gradient)
            theta = theta + step * min(1.0, 2.0 / max(float(np.abs(step).max()), 1e-12))
            if np.abs(step).max() < 1e-8:
                break
        return np.asarray(theta)


def fit_item_response(
    x: FloatMatrix,
    quality: FloatMatrix,
    *,
    rng: np.random.Generator,
    n_abilities: int = 4,
    n_components: int = 64,
    n_steps: int = 600,
    learning_rate: float = 0.03,
    penalty: float = 1e-3,
) -> ItemResponseModel:
    """Fit MIRT with free abilities by full-batch Adam on the binary cross-entropy.

    Parameters
    ----------
    x
        (n_queries, n_features).
    quality
        (n_queries, n_models) in [0, 1]; NaN where a model was not tried.
    penalty
        Weight of the squared parameters, per parameter.

    Raises
    ------
    DataError
        If nothing is known.

    References
    ----------
    Song et al. 2025, IRT-Router, arXiv:2506.01048 (MIRT, here with one free vector per model
    instead of one read off its description); Reckase 2009, Multidimensional Item Response
    Theory; Kingma and Ba 2015, Adam.
    """
    known = ~np.isnan(quality)
    if not known.any():
        raise DataError("item response theory needs at least one outcome")
    y = np.where(known, quality, 0).astype(np.float64)
    mask = known.astype(np.float64)
    # The mean over outcomes, not over cells: a sparse matrix must not learn more slowly.
    mask /= mask.mean() * mask.size
    center, components = _principal_components(x, n_components)
    z = (np.asarray(x, np.float64) - center) @ components
    r, m = z.shape[1], quality.shape[1]
    parameters = {
        "slope": rng.normal(0, 0.1, (r, n_abilities)) / np.sqrt(max(r, 1)),
        "slope_bias": rng.normal(0.5, 0.1, n_abilities),
        "weight": np.zeros(r),
        "bias": np.zeros(1),
        "ability": rng.normal(0, 0.3, (m, n_abilities)),
    }
    _adam(parameters, lambda p: _gradients(p, z, y, mask, penalty), n_steps, learning_rate)
    return ItemResponseModel(
        center=center,
        components=components,
        slope=parameters["slope"],
        slope_bias=parameters["slope_bias"],
        weight=parameters["weight"],
        bias=float(parameters["bias"][0]),
        ability=parameters["ability"],
    )


def _gradients(
    p: dict[str, FloatArray], z: FloatArray, y: FloatArray, mask: FloatArray, penalty: float
) -> dict[str, FloatArray]:
    raw = z @ p["slope"] + p["slope_bias"]
    a = np.logaddexp(0, raw)
    b = z @ p["weight"] + p["bias"][0]
    miss = (sigmoid(a @ p["ability"].T - b[:, None]) - y) * mask
    by_raw = (miss @ p["ability"]) * sigmoid(raw)
    by_b = -miss.sum(axis=1)
    free = {
        "slope": z.T @ by_raw,
        "slope_bias": by_raw.sum(axis=0),
        "weight": z.T @ by_b,
        "bias": np.asarray([by_b.sum()]),
        "ability": miss.T @ a,
    }
    held = ("slope", "weight", "ability")
    return {name: g + penalty * p[name] if name in held else g for name, g in free.items()}


def _adam(parameters: dict[str, FloatArray], gradients: Any, n_steps: int, rate: float) -> None:
    first = {name: np.zeros_like(value) for name, value in parameters.items()}
    second = {name: np.zeros_like(value) for name, value in parameters.items()}
    for step in range(1, n_steps + 1):
        for name, gradient in gradients(parameters).items():
            first[name] += (1 - _BETA1) * (gradient - first[name])
            second[name] += (1 - _BETA2) * (gradient**2 - second[name])
            mean = first[name] / (1 - _BETA1**step)
            scale = np.sqrt(second[name] / (1 - _BETA2**step)) + _EPSILON
            parameters[name] = parameters[name] - rate * mean / scale


def _principal_components(x: FloatMatrix, n: int) -> tuple[FloatArray, FloatArray]:
    wide = np.asarray(x, np.float64)
    center = wide.mean(axis=0)
    eigenvalues, vectors = np.linalg.eigh((wide - center).T @ (wide - center) / len(wide))
    order: Sequence[int] = np.argsort(-eigenvalues)[:n].tolist()
    kept = [i for i in order if eigenvalues[i] > 1e-8 * max(float(eigenvalues.max()), 1e-12)]
    return center, vectors[:, kept] / np.sqrt(eigenvalues[kept])
