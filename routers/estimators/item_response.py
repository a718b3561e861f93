"""Multidimensional item response theory: which abilities a query asks for, and who has them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from routers.errors import DataError
from routers.estimators.adam import Adam, descend
from routers.numeric import FloatArray, sigmoid
from routers.types import FloatMatrix

_NEWTON_STEPS = 50
_LEAST_VARIANCE = 0.05


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
        mean, covariance = spread_of(self.ability)
        return posterior_mode(discrimination, quality, mean, covariance, offset=-difficulty)


def spread_of(vectors: FloatMatrix | FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return mean and covariance of the models' vectors: what a new one is taken to come from."""
    wide = np.asarray(vectors, np.float64)
    mean = wide.mean(axis=0)
    if len(wide) < 2:
        return mean, np.eye(len(mean))
    covariance = np.cov(wide.T).reshape(len(mean), len(mean))
    return mean, covariance + _LEAST_VARIANCE * np.eye(len(mean))


def posterior_mode(
    design: FloatArray,
    quality: FloatArray,
    mean: FloatArray,
    covariance: FloatArray,
    *,
    offset: FloatArray | float = 0.0,
) -> FloatArray:
    """Return v of greatest posterior, quality being sigmoid(design . v + offset) on the whole.

    Parameters
    ----------
    design
        (n, k).
    mean, covariance
        Of the Gaussian that v is taken to come from.
    """
    precision = np.linalg.inv(covariance)
    v = mean.copy()
    for _ in range(_NEWTON_STEPS):
        p = sigmoid(design @ v + offset)
        gradient = design.T @ (quality - p) - precision @ (v - mean)
        hessian = (design.T * (p * (1 - p))) @ design + precision
        step = np.linalg.solve(hessian, gradient)
        v = v + step * min(1.0, 2.0 / max(float(np.abs(step).max()), 1e-12))
        if np.abs(step).max() < 1e-8:
            break
    return np.asarray(v)


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
    batch_size: int | None = None,
) -> ItemResponseModel:
    """Fit MIRT with free abilities by Adam on the binary cross-entropy.

    Parameters
    ----------
    x
        (n_queries, n_features).
    quality
        (n_queries, n_models) in [0, 1]; NaN where a model was not tried.
    penalty
        Weight of the squared parameters, per parameter.
    batch_size
        Rows of a step, at a rate that falls to zero; all rows at a constant rate where None.

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
    adam = Adam()
    if batch_size is None:
        for _ in range(n_steps):
            adam.step(parameters, _gradients(parameters, z, y, mask, penalty), learning_rate)
    else:
        scale = len(z) / min(batch_size, len(z))
        descend(
            parameters,
            lambda now, rows: _gradients(now, z[rows], y[rows], scale * mask[rows], penalty),
            n_rows=len(z),
            batch_size=batch_size,
            n_steps=n_steps,
            rate=learning_rate,
            adam=adam,
            rng=rng,
        )
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


def _principal_components(x: FloatMatrix, n: int) -> tuple[FloatArray, FloatArray]:
    wide = np.asarray(x, np.float64)
    center = wide.mean(axis=0)
    eigenvalues, vectors = np.linalg.eigh((wide - center).T @ (wide - center) / len(wide))
    order: Sequence[int] = np.argsort(-eigenvalues)[:n].tolist()
    kept = [i for i in order if eigenvalues[i] > 1e-8 * max(float(eigenvalues.max()), 1e-12)]
    return center, vectors[:, kept] / np.sqrt(eigenvalues[kept])
