"""Ridge regression, one penalty per model, chosen by leave-one-out error."""

# ruff: noqa: RUF009  (unfitted() declares a field)

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from routers.heads._leave_one_out import LeaveOneOut
from routers.heads.base import HEADS, Head
from routers.numeric import FloatArray
from routers.options import State, require_fitted, take, unfitted
from routers.types import FloatMatrix, FloatVector


class Regressed(NamedTuple):
    """Regressions on standardised features: what was found for every model.

    Attributes
    ----------
    coef
        (n_features, n_models); the others are (n_models,).
    alpha
        Penalty.
    noise
        Mean squared error on rows that were left out.
    """

    coef: FloatArray
    intercept: FloatArray
    alpha: FloatArray
    noise: FloatArray


@HEADS.register("linear")
@dataclass(kw_only=True)
class LinearHead(Head):
    """Regress every model's value on the standardised features with an L2 penalty.

    Parameters
    ----------
    alphas
        Penalties to choose from, per model, by generalised leave-one-out error.

    Notes
    -----
    The uncertainty is that of the Bayesian reading of ridge regression: noise variance times the
    leverage of the query, so that queries unlike the labelled ones are predicted with less
    confidence. Where models were tried on different rows, the leverage is scaled by their number.

    References
    ----------
    Hoerl and Kennard 1970, Ridge Regression; Somerstep et al. 2025, CARROT, arXiv:2502.03261
    (the linear variant).
    """

    kind: ClassVar[str] = "linear"
    least_spread: ClassVar[float] = 0.0
    fewest_rows: ClassVar[int] = 3

    alphas: tuple[float, ...] = (1.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 10000.0, 100000.0)
    coef_: FloatArray = unfitted()  # (n_features, n_models)
    intercept_: FloatArray = unfitted()  # (n_models,)
    center_: FloatArray = unfitted()  # (n_features,)
    whiten_: FloatMatrix = unfitted()  # (n_features, n_axes): standardise and rotate
    shrink_: FloatMatrix = unfitted()  # (n_axes, n_models): 1 / (eigenvalue + alpha)
    noise_var_: FloatVector = unfitted()  # (n_models,)
    n_seen_: FloatVector = unfitted()  # (n_models,)

    def _fit(self, x: FloatMatrix, y: FloatMatrix, *, rng: np.random.Generator) -> None:
        del rng  # nothing is drawn
        wide = x.astype(np.float64)
        self.center_ = wide.mean(axis=0)
        spread = wide.std(axis=0)
        spread = np.maximum(spread, self.least_spread * np.sqrt((spread**2).mean()))
        scale = np.where(spread > 1e-8, spread, 1.0)
        z = (wide - self.center_) / scale
        found = self._regress(z, y.astype(np.float64))
        self.coef_ = found.coef / scale[:, None]
        self.intercept_ = found.intercept - self.center_ @ self.coef_
        eigenvalues, axes = np.linalg.eigh(z.T @ z)
        self.n_seen_ = (~np.isnan(y)).sum(axis=0).astype(np.float32)
        scaled = np.maximum(eigenvalues, 0)[:, None] * self.n_seen_ / len(x)
        self.whiten_ = (axes / scale[:, None]).astype(np.float32)
        self.shrink_ = (1 / (scaled + found.alpha)).astype(np.float32)
        self.noise_var_ = found.noise.astype(np.float32)

    def _regress(self, z: FloatArray, y: FloatArray) -> "Regressed":
        """Regress outcomes, NaN where unknown, on standardised features."""
        n_models = y.shape[1]
        coef, intercept = np.zeros((z.shape[1], n_models)), np.zeros(n_models)
        alpha, noise = np.zeros(n_models), np.zeros(n_models)
        known = ~np.isnan(y)
        for columns in _same_rows(known):
            rows = np.flatnonzero(known[:, columns[0]])
            target = y[rows][:, columns]
            intercept[columns], alpha[columns] = target.mean(axis=0), max(self.alphas)
            noise[columns] = target.var(axis=0) + 1e-4
            varies = np.ptp(target, axis=0) > 0
            if len(rows) < self.fewest_rows or not varies.any():
                continue
            at = np.asarray(columns)[varies]
            ridge = LeaveOneOut(z[rows], self.alphas).fit(target[:, varies], alone=True)
            coef[:, at], intercept[at] = ridge.coef, ridge.intercept
            alpha[at], noise[at] = ridge.alpha, ridge.error
        return Regressed(coef=coef, intercept=intercept, alpha=alpha, noise=noise)

    def predict(self, x: FloatMatrix) -> tuple[FloatMatrix, FloatMatrix]:
        """Return the regression and the posterior deviation of its mean."""
        mean = self.predict_mean(x)
        wide = np.asarray(x, np.float64)
        along = ((wide - self.center_).astype(np.float32) @ self.whiten_) ** 2
        leverage = along @ self.shrink_ + 1 / self.n_seen_
        return mean, np.sqrt(self.noise_var_ * leverage).astype(np.float32)

    def predict_mean(self, x: FloatMatrix) -> FloatMatrix:
        """Return the regression alone: the uncertainty takes several times longer."""
        require_fitted(self, "coef_")
        mean = np.asarray(x, np.float64) @ self.coef_ + self.intercept_
        return np.asarray(mean, np.float32)

    def means_beside(self, other: Head) -> Callable[[FloatMatrix], FloatMatrix]:
        """Return a function from features to the means of both heads, in one product if it can."""
        if not isinstance(other, LinearHead):
            return super().means_beside(other)
        coef = np.concatenate([self.coef_, other.coef_], axis=1)
        intercept = np.concatenate([self.intercept_, other.intercept_])

        def means(x: FloatMatrix) -> FloatMatrix:
            both = x.astype(np.float64).dot(coef)
            both += intercept
            return np.asarray(both, np.float32)

        return means

    def narrow(self, n_models: int) -> None:
        """Drop the coefficients of all but the first models."""
        require_fitted(self, "coef_")
        self.coef_, self.shrink_ = self.coef_[:, :n_models], self.shrink_[:, :n_models]
        self.intercept_, self.noise_var_ = self.intercept_[:n_models], self.noise_var_[:n_models]
        self.n_seen_ = self.n_seen_[:n_models]

    def state(self) -> dict[str, np.ndarray]:
        """Return coefficients and what the uncertainty needs."""
        require_fitted(self, "coef_")
        return {
            "coef": self.coef_,
            "intercept": self.intercept_,
            "center": self.center_,
            "whiten": self.whiten_,
            "shrink": self.shrink_,
            "noise_var": self.noise_var_,
            "n_seen": self.n_seen_,
        }

    def restore(self, state: State) -> Self:
        """Take over coefficients."""
        coef, whiten, shrink = (take(state, name, ndim=2) for name in ("coef", "whiten", "shrink"))
        d, m = coef.shape
        vectors = {
            name: take(state, name, ndim=1)
            for name in ("intercept", "center", "noise_var", "n_seen")
        }
        sizes = {name: len(array) for name, array in vectors.items()}
        expected = {"intercept": m, "center": d, "noise_var": m, "n_seen": m}
        if sizes != expected or whiten.shape != (d, d) or shrink.shape != (d, m):
            raise ValueError("the arrays of a linear head do not fit together")
        self.coef_, self.whiten_, self.shrink_ = coef, whiten, shrink
        self.intercept_, self.center_ = vectors["intercept"], vectors["center"]
        self.noise_var_, self.n_seen_ = vectors["noise_var"], vectors["n_seen"]
        return self


def _same_rows(known: NDArray[np.bool_]) -> list[list[int]]:
    """Group the models that were tried on the same rows: one decomposition serves them all."""
    groups: dict[bytes, list[int]] = {}
    for model in range(known.shape[1]):
        groups.setdefault(known[:, model].tobytes(), []).append(model)
    return list(groups.values())
