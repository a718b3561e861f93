"""Bilinear strengths of models on queries, learned from who won."""

# ruff: noqa: RUF009  (unfitted() declares a field)

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from routers.base import ROUTERS, Battles
from routers.numeric import FloatArray
from routers.options import State, take, unfitted
from routers.pairwise import sigmoid
from routers.strategies._comparison import ComparisonRouter
from routers.strategies._minimise import minimise
from routers.types import FloatMatrix

_BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-8


@ROUTERS.register("mf")
@dataclass(kw_only=True)
class MatrixFactorizationRouter(ComparisonRouter):
    """Score every model linearly in the query; the difference of two scores says who wins.

    P(a beats b) = sigmoid(s_a - s_b) with s = W [x, 1]. Ties teach nothing and are left out.

    Parameters
    ----------
    rank
        None: W is free but penalised, which makes a convex problem with one solution. A number:
        W = V diag(w) U as published, model vectors V of length one, by stochastic gradients.
    c
        Inverse strength of the L2 penalty, as in scikit-learn's logistic regression; with a
        rank, the decoupled weight decay is 1e-5 and `c` has no effect.
    noise
        Standard deviation of what is added to every feature in every step, relative to the
        feature's own; with a rank only.
    n_epochs, batch_size, learning_rate
        Of Adam; with a rank only.

    References
    ----------
    Ong et al. 2024, RouteLLM, arXiv:2406.18665.
    """

    kind: ClassVar[str] = "mf"

    rank: Annotated[int, Field(ge=1, le=1024)] | None = None
    c: Annotated[float, Field(gt=0)] = 0.01
    noise: Annotated[float, Field(ge=0)] = 0.1
    n_epochs: Annotated[int, Field(ge=1)] = 30
    batch_size: Annotated[int, Field(ge=1)] = 64
    learning_rate: Annotated[float, Field(gt=0)] = 3e-4
    coef_: FloatMatrix = unfitted()  # (n_features + 1, n_models), the last row is the constant

    def _learn(
        self, x: FloatMatrix, battles: Battles, n_models: int, *, rng: np.random.Generator
    ) -> None:
        decided = battles.pick(battles.outcome != 0.5)
        wide = x.astype(np.float64)
        center, spread = wide.mean(axis=0), wide.std(axis=0)
        scale = np.where(spread > 1e-8, spread, 1.0)
        z = np.column_stack([(wide - center) / scale, np.ones(len(x))])
        winner = np.where(decided.outcome > 0.5, decided.a, decided.b)
        loser = np.where(decided.outcome > 0.5, decided.b, decided.a)
        if self.rank is None:
            coef = convex(z, decided.row, winner, loser, n_models=n_models, c=self.c)
        else:
            coef = self._low_rank(z, decided.row, winner, loser, n_models=n_models, rng=rng)
        coef[:-1] /= scale[:, None]
        coef[-1] -= center @ coef[:-1]
        # Only differences count: the mean of the models would be noise of no meaning.
        self.coef_ = (coef - coef.mean(axis=1, keepdims=True)).astype(np.float32)

    def _low_rank(
        self,
        z: FloatArray,
        row: np.ndarray,
        winner: np.ndarray,
        loser: np.ndarray,
        *,
        n_models: int,
        rng: np.random.Generator,
    ) -> FloatArray:
        rank = self.rank or 1
        weights = [
            rng.standard_normal((z.shape[1], rank)) / np.sqrt(z.shape[1]),
            rng.standard_normal((n_models, rank)),
            rng.standard_normal(rank) / np.sqrt(rank),
        ]
        first = [np.zeros_like(w) for w in weights]
        second = [np.zeros_like(w) for w in weights]
        step = 0
        for _ in range(self.n_epochs):
            order = rng.permutation(len(row))
            for begin in range(0, len(row), self.batch_size):
                at = order[begin : begin + self.batch_size]
                batch = z[row[at]]
                batch[:, :-1] += self.noise * rng.standard_normal((len(at), z.shape[1] - 1))
                _, gradients = low_rank_loss(weights, batch, winner[at], loser[at])
                step += 1
                for i, gradient in enumerate(gradients):
                    first[i] += (1 - _BETA_1) * (gradient - first[i])
                    second[i] += (1 - _BETA_2) * (gradient**2 - second[i])
                    ahead = first[i] / (1 - _BETA_1**step)
                    size = np.sqrt(second[i] / (1 - _BETA_2**step)) + _EPSILON
                    weights[i] *= 1 - self.learning_rate * _WEIGHT_DECAY
                    weights[i] -= self.learning_rate * ahead / size
        project, vectors, mix = weights
        return np.asarray(project @ (_unit(vectors) * mix).T)

    def _strengths(self, x: FloatMatrix) -> FloatMatrix:
        return np.asarray(x @ self.coef_[:-1] + self.coef_[-1], np.float32)

    def state(self) -> dict[str, np.ndarray]:
        """Return the coefficients and what all routers from comparisons keep."""
        return {**super().state(), "coef": self.coef_}

    def _restore(self, state: State) -> None:
        super()._restore(state)
        self.coef_ = take(state, "coef", ndim=2)
        if self.coef_.shape[1] != len(self.error_):
            raise ValueError("the coefficients of a router from comparisons do not fit")


_WEIGHT_DECAY = 1e-5


def convex(
    z: FloatArray,
    row: np.ndarray,
    winner: np.ndarray,
    loser: np.ndarray,
    *,
    n_models: int,
    c: float,
) -> FloatArray:
    """Return W of least |W|^2 / 2 + c sum log(1 + exp(s_loser - s_winner)), s = z W.

    This is logistic regression on (onehot_a - onehot_b) x z without an intercept, whose features
    would take n_models times the memory.

    Returns
    -------
    float64 (n_features, n_models).
    """

    def evaluate(coef: FloatArray) -> tuple[float, FloatArray]:
        strength = z @ coef
        margin = strength[row, winner] - strength[row, loser]
        pull = c * sigmoid(-margin)
        back = np.zeros_like(strength)
        np.add.at(back, (row, winner), -pull)
        np.add.at(back, (row, loser), pull)
        value = (coef**2).sum() / 2 + c * np.logaddexp(0, -margin).sum()
        return float(value), coef + z.T @ back

    return minimise(evaluate, np.zeros((z.shape[1], n_models)))


def low_rank_loss(
    weights: list[FloatArray], z: FloatArray, winner: np.ndarray, loser: np.ndarray
) -> tuple[float, list[FloatArray]]:
    """Return the mean cross-entropy of who won, and its gradients.

    Parameters
    ----------
    weights
        Projection (n_features, rank), model vectors (n_models, rank), mixing weights (rank,).
    z
        (n_battles, n_features).
    """
    project, vectors, mix = weights
    unit = _unit(vectors)
    hidden = z @ project
    apart = unit[winner] - unit[loser]
    margin = (hidden * apart) @ mix
    pull = -sigmoid(-margin) / len(z)
    toward = pull[:, None] * hidden * mix
    back = np.zeros_like(unit)
    np.add.at(back, winner, toward)
    np.add.at(back, loser, -toward)
    norm = np.linalg.norm(vectors, axis=1, keepdims=True)
    along = (back * unit).sum(axis=1, keepdims=True)
    return float(np.logaddexp(0, -margin).mean()), [
        z.T @ (pull[:, None] * apart * mix),
        (back - along * unit) / norm,
        (pull[:, None] * hidden * apart).sum(axis=0),
    ]


def _unit(vectors: FloatArray) -> FloatArray:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
