"""The item response model of benchmark tables: its parameters, residuals and fit."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from routers.numeric import FloatArray

IntArray = NDArray[np.int64]

_GENERAL_STD, _FACET_STD = 1.2, 0.4
_DIFFICULTY_STD = 0.7
_TYPICAL_SLOPE, _LOG_SLOPE_STD = 0.7, 0.35
"""A score is a mean over items of many difficulties, so its curve is flatter than an item's: with
items spread by 1.7 logits, 1 / sqrt(1 + (1.7 / 1.7)^2) of it."""

_LOGIT_STD, _POINTS_STD = 0.25, 0.015
"""A quarter of a logit and a point and a half of accuracy mean nothing between two sources."""

_TREND = ((1.8, 1.5), (0.35, 0.2), (0.8, 0.4))
"""Mean and standard deviation of what a model of the usual price had at the epoch, of what e times
the price adds, and of what a year adds; the scores move all three."""

_MOST_STEPS, _MOST_REFITS = 200, 4
_NEGLIGIBLE = 1e-7


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreTable:
    """Scores as arrays, one row each.

    Attributes
    ----------
    model, benchmark, facet
        (n_scores,): of which model, on which benchmark, in which facet.
    share
        (n_scores,): the part of what chance leaves that was reached, within (0, 1).
    position
        (n_benchmarks,): where the level of each benchmark stands.
    covariates
        (n_models, 3): one, the log price over the usual one, years since the epoch.
    n_facets
        How many facets there are.
    """

    model: IntArray
    benchmark: IntArray
    facet: IntArray
    share: FloatArray
    position: FloatArray
    covariates: FloatArray
    n_facets: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedTable:
    """The estimate on the tables' own scale.

    Attributes
    ----------
    ability, std
        (n_models, n_facets): maximum a posteriori, and Laplace's standard deviation.
    difficulty, slope
        (n_benchmarks,).
    misfit
        How much further scores lie from the model than two sources differ; 1 where no further.
    """

    ability: FloatArray
    std: FloatArray
    difficulty: FloatArray
    slope: FloatArray
    misfit: float


def fit_table(table: ScoreTable) -> FittedTable:
    """Fit logit(share) = slope (general ability + departure in the facet - difficulty) + noise.

    The noise is what two sources differ by, or what the scores scatter by where that is more.
    """
    model = _Model.of(table)
    theta, misfit = model.start(), 1.0
    for _ in range(_MOST_REFITS):
        theta, curvature = model.minimise(theta, misfit)
        covariance = np.asarray(np.linalg.inv(curvature), np.float64)
        further = misfit * model.scatter(theta, misfit, covariance)
        if further <= max(1.0, 1.02 * misfit):
            break
        misfit = further
    n = len(table.covariates)
    variance = np.diag(covariance)
    # A departure that no score tells of stays at zero, as wide as it was.
    ability = np.repeat(theta[:n, None], table.n_facets, axis=1)
    spread = np.repeat(variance[:n, None] + _FACET_STD**2, table.n_facets, axis=1)
    row, at = model.pair_model, n + np.arange(len(model.pair_model))
    ability[row, model.pair_facet] += theta[at]
    spread[row, model.pair_facet] = variance[row] + variance[at] + 2 * covariance[row, at]
    return FittedTable(
        ability=ability,
        std=np.sqrt(np.maximum(spread, 0)),
        difficulty=theta[model.difficulties],
        slope=np.exp(theta[model.slopes]),
        misfit=misfit,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Model:
    """Where every parameter stands in one vector, and what the priors say of it.

    In turn: general abilities, departures of the facets in which a model has scores,
    difficulties, log slopes, and the trend's three.
    """

    table: ScoreTable
    pair_model: IntArray
    pair_facet: IntArray
    pair: IntArray
    logit: FloatArray
    noise: FloatArray
    center: FloatArray
    width: FloatArray

    @classmethod
    def of(cls, table: ScoreTable) -> "_Model":
        code, pair = np.unique(table.model * table.n_facets + table.facet, return_inverse=True)
        n_benchmarks = len(table.position)
        share = table.share
        priors: Sequence[tuple[FloatArray, float]] = (
            (np.zeros(len(code)), _FACET_STD),
            (table.position, _DIFFICULTY_STD),
            (np.full(n_benchmarks, np.log(_TYPICAL_SLOPE)), _LOG_SLOPE_STD),
            *((np.array([mean]), std) for mean, std in _TREND),
        )
        return cls(
            table=table,
            pair_model=code // table.n_facets,
            pair_facet=code % table.n_facets,
            pair=pair,
            logit=np.log(share / (1 - share)),
            noise=np.hypot(_LOGIT_STD, _POINTS_STD / (share * (1 - share))),
            center=np.concatenate([mean for mean, _ in priors]),
            width=np.concatenate([np.full(len(mean), std) for mean, std in priors]),
        )

    @property
    def n_models(self) -> int:
        return len(self.table.covariates)

    @property
    def difficulties(self) -> slice:
        start = self.n_models + len(self.pair_model)
        return slice(start, start + len(self.table.position))

    @property
    def slopes(self) -> slice:
        start = self.difficulties.stop
        return slice(start, start + len(self.table.position))

    def start(self) -> FloatArray:
        trend = np.array([mean for mean, _ in _TREND])
        return np.concatenate([self.table.covariates @ trend, self.center])

    def rows(self, theta: FloatArray, misfit: float) -> tuple[IntArray, FloatArray, FloatArray]:
        """Return every residual in units of its deviation, and its gradient.

        That is (n, 4) places in the vector of parameters, (n, 4) derivatives there, (n,) values.
        """
        n = self.n_models
        general, departure = self.table.model, n + self.pair
        difficulty = self.difficulties.start + self.table.benchmark
        log_slope = self.slopes.start + self.table.benchmark
        trend = np.arange(self.slopes.stop, len(theta))
        above = theta[general] + theta[departure] - theta[difficulty]
        per_logit = np.exp(theta[log_slope]) / (misfit * self.noise)
        alone = np.arange(n, len(theta))
        unused = np.zeros((len(alone), 3))
        index = np.concatenate(
            [
                np.column_stack([general, departure, difficulty, log_slope]),
                np.column_stack([np.arange(n), np.broadcast_to(trend, (n, len(trend)))]),
                np.column_stack([alone, unused.astype(np.int64)]),
            ]
        )
        gradient = np.concatenate(
            [
                np.column_stack([per_logit, per_logit, -per_logit, per_logit * above]),
                np.column_stack([np.ones(n), -self.table.covariates]) / _GENERAL_STD,
                np.column_stack([1 / self.width, unused]),
            ]
        )
        residual = np.concatenate(
            [
                per_logit * above - self.logit / (misfit * self.noise),
                (theta[:n] - self.table.covariates @ theta[trend]) / _GENERAL_STD,
                (theta[n:] - self.center) / self.width,
            ]
        )
        return index, gradient, residual

    def scatter(self, theta: FloatArray, misfit: float, covariance: FloatArray) -> float:
        """Return the scores' root mean square residual, by the freedom that the fit leaves them."""
        index, gradient, residual = (part[: len(self.logit)] for part in self.rows(theta, misfit))
        within = covariance[index[:, :, None], index[:, None, :]]
        leverage = np.einsum("ni,nij,nj->", gradient, within, gradient)
        return float(np.sqrt(residual @ residual / max(len(residual) - leverage, 1.0)))

    def minimise(self, theta: FloatArray, misfit: float) -> tuple[FloatArray, FloatArray]:
        """Return parameters and curvature.

        By Levenberg and Marquardt: the model is nearly linear, so some ten steps do.
        """
        damping = 1e-2
        index, gradient, residual = self.rows(theta, misfit)
        curvature, slope = _normal(len(theta), index, gradient, residual)
        loss = float(residual @ residual)
        for _ in range(_MOST_STEPS):
            step = np.linalg.solve(curvature + damping * np.diag(np.diag(curvature)), slope)
            tried = self.rows(theta - step, misfit)
            gained = loss - float(tried[2] @ tried[2])
            if gained < 0:
                damping *= 5
                continue
            theta, loss = theta - step, loss - gained
            curvature, slope = _normal(len(theta), *tried)
            if gained <= _NEGLIGIBLE * (1 + loss):
                break
            damping /= 10
        return theta, curvature


def _normal(
    size: int, index: IntArray, gradient: FloatArray, residual: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return the normal matrix and right-hand side of sparse rows."""
    place = index[:, :, None] * size + index[:, None, :]
    product = gradient[:, :, None] * gradient[:, None, :]
    matrix = np.bincount(place.ravel(), product.ravel(), minlength=size * size)
    side = np.bincount(index.ravel(), (gradient * residual[:, None]).ravel(), minlength=size)
    return np.asarray(matrix, np.float64).reshape(size, size), np.asarray(side, np.float64)
