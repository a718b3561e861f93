"""Logistic regression, one per model, on shares and chances."""

# ruff: noqa: RUF009  (unfitted() declares a field)

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field

from routers.errors import DataError
from routers.heads.base import HEADS, Head
from routers.numeric import FloatArray, sigmoid
from routers.options import State, require_fitted, take, unfitted
from routers.types import FloatMatrix, FloatVector

_GRID = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
_HELD_OUT = 5
"""One row in so many judges the penalties."""

_FEWEST_ROWS = 20
"""With fewer rows nothing can be held out, and the middle of the grid is taken."""

_MAX_ITERATIONS = 300


@HEADS.register("logistic")
@dataclass(kw_only=True)
class LogisticHead(Head):
    """Regress the log-odds of every model's quality on the standardised features.

    Labels in [0, 1] are shares: every row counts twice, as a success of weight y and as a
    failure of weight 1 - y, which is the cross-entropy of soft labels.

    Parameters
    ----------
    c
        Inverse strength of the L2 penalty; `auto` takes, for every model, the value from 1e-5
        to 1 of least cross-entropy on a fifth of its rows.

    Notes
    -----
    The uncertainty is that of the Laplace approximation with the mean weight p (1 - p) of a
    model in place of every row's own, so that one decomposition serves all models.

    References
    ----------
    Cox 1958, The regression analysis of binary sequences; Somerstep et al. 2025, CARROT,
    arXiv:2502.03261; soft labels as in Ding et al. 2024, Hybrid LLM, arXiv:2404.14618.
    """

    kind: ClassVar[str] = "logistic"

    c: Annotated[float, Field(gt=0)] | Literal["auto"] = "auto"
    coef_: FloatArray = unfitted()  # (n_features, n_models)
    intercept_: FloatArray = unfitted()  # (n_models,)
    center_: FloatArray = unfitted()  # (n_features,)
    whiten_: FloatMatrix = unfitted()  # (n_features, n_axes): standardise and rotate
    shrink_: FloatMatrix = unfitted()  # (n_axes, n_models), variance of the logit along an axis
    base_var_: FloatVector = unfitted()  # (n_models,), variance of the intercept

    def _fit(self, x: FloatMatrix, y: FloatMatrix, *, rng: np.random.Generator) -> None:
        if np.nanmin(y) < 0 or np.nanmax(y) > 1:
            raise DataError(
                "the logistic head learns values from 0 to 1; use linear, knn, mlp with squared "
                "loss or boosting with squared loss for others"
            )
        wide = x.astype(np.float64)
        self.center_ = wide.mean(axis=0)
        spread = wide.std(axis=0)
        scale = np.where(spread > 1e-8, spread, 1.0)
        z = (wide - self.center_) / scale
        n_models = y.shape[1]
        coef, intercept = np.zeros((x.shape[1], n_models)), np.zeros(n_models)
        c, weight = np.zeros(n_models), np.zeros(n_models)
        held = rng.permutation(len(x)) % _HELD_OUT == 0
        for model in range(n_models):
            known = ~np.isnan(y[:, model])
            target = y[known, model].astype(np.float64)
            c[model] = self._choose_c(z[known], target, held[known]) if self.c == "auto" else self.c
            coef[:, model], intercept[model] = _regress(z[known], target, c[model])
            chance = np.clip(target.mean(), 1e-3, 1 - 1e-3)
            weight[model] = known.sum() * chance * (1 - chance)
        self.coef_ = coef / scale[:, None]
        self.intercept_ = intercept - self.center_ @ self.coef_
        eigenvalues, axes = np.linalg.eigh(z.T @ z / len(z))
        self.whiten_ = (axes / scale[:, None]).astype(np.float32)
        precision = np.maximum(eigenvalues, 0)[:, None] * weight + 1 / c
        self.shrink_ = (1 / precision).astype(np.float32)
        self.base_var_ = (1 / weight).astype(np.float32)

    def _choose_c(self, z: FloatArray, y: FloatArray, held: np.ndarray) -> float:
        if len(y) < _FEWEST_ROWS or not held.any() or held.all():
            return _GRID[len(_GRID) // 2]
        losses = []
        for c in _GRID:
            coef, intercept = _regress(z[~held], y[~held], c)
            logit = z[held] @ coef + intercept
            losses.append((np.logaddexp(0, logit) - y[held] * logit).mean())
        return _GRID[int(np.argmin(losses))]

    def predict(self, x: FloatMatrix) -> tuple[FloatMatrix, FloatMatrix]:
        """Return the chance and its deviation, by the delta method."""
        mean = self.predict_mean(x)
        wide = np.asarray(x, np.float64)
        along = ((wide - self.center_).astype(np.float32) @ self.whiten_) ** 2
        deviation = np.sqrt(along @ self.shrink_ + self.base_var_)
        # A chance cannot be further off than its distance to the farther end.
        std = np.minimum(mean * (1 - mean) * deviation, np.maximum(mean, 1 - mean))
        return mean, std.astype(np.float32)

    def predict_mean(self, x: FloatMatrix) -> FloatMatrix:
        """Return the chance alone: the uncertainty takes several times longer."""
        require_fitted(self, "coef_")
        logit = np.asarray(x, np.float64) @ self.coef_ + self.intercept_
        return np.asarray(sigmoid(logit), np.float32)

    def state(self) -> dict[str, np.ndarray]:
        """Return coefficients and what the uncertainty needs."""
        require_fitted(self, "coef_")
        return {
            "coef": self.coef_,
            "intercept": self.intercept_,
            "center": self.center_,
            "whiten": self.whiten_,
            "shrink": self.shrink_,
            "base_var": self.base_var_,
        }

    def restore(self, state: State) -> Self:
        """Take over coefficients."""
        coef, whiten, shrink = (take(state, name, ndim=2) for name in ("coef", "whiten", "shrink"))
        d, m = coef.shape
        intercept, center, base_var = (
            take(state, name, ndim=1) for name in ("intercept", "center", "base_var")
        )
        sizes = (len(intercept), len(center), len(base_var), whiten.shape, shrink.shape)
        if sizes != (m, d, m, (d, d), (d, m)):
            raise ValueError("the arrays of a logistic head do not fit together")
        self.coef_, self.whiten_, self.shrink_ = coef, whiten, shrink
        self.intercept_, self.center_, self.base_var_ = intercept, center, base_var
        return self


def _regress(z: FloatArray, y: FloatArray, c: float) -> tuple[FloatArray, float]:
    """Return coefficients and intercept of a regression on soft labels."""
    if np.ptp(y) == 0:
        # Nothing to tell apart; the prior of one success and one failure keeps odds finite.
        odds = (y.sum() + 1) / (len(y) - y.sum() + 1) if y[0] in (0, 1) else y[0] / (1 - y[0])
        return np.zeros(z.shape[1]), float(np.log(odds))
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415  (not when serving)

    rows, label, weight = soft_rows(y)
    model: Any = LogisticRegression(C=c, max_iter=_MAX_ITERATIONS, tol=1e-5)
    model.fit(z[rows], label, sample_weight=weight)
    return np.asarray(model.coef_[0], np.float64), float(model.intercept_[0])


def soft_rows(y: FloatArray) -> tuple[np.ndarray, np.ndarray, FloatArray]:
    """Write soft labels as weighted hard ones.

    Parameters
    ----------
    y
        (n,), in [0, 1].

    Returns
    -------
    Row index, label (0 or 1) and weight, of every part whose weight is not zero.
    """
    up, down = np.flatnonzero(y > 0), np.flatnonzero(y < 1)
    rows = np.concatenate([up, down])
    label = np.repeat([1, 0], [len(up), len(down)])
    return rows, label, np.concatenate([y[up], 1 - y[down]])
