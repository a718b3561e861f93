"""Bilinear strengths of models on queries, learned from who won."""

# ruff: noqa: RUF009  (unfitted() declares a field)

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from routers.base import ROUTERS, Comparisons
from routers.estimators.adam import Adam
from routers.numeric import FloatArray, sigmoid
from routers.options import State, take, unfitted
from routers.strategies._comparison import ComparisonRouter
from routers.strategies._minimise import minimise
from routers.types import FloatMatrix

_GRID = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
_HELD_OUT = 5
"""The comparisons of one query in so many judge the penalties."""

_COARSE, _FINE = 1e-3, 1e-5
"""Tolerances while a penalty is chosen, and for the final fit."""

_CONSTANT = 10.0
"""Value of the constant feature: who is stronger overall is hardly penalised at all."""

_WEIGHT_DECAY = 1e-5
_NAMES = ("project", "vectors", "mix")


@dataclass(frozen=True, slots=True, kw_only=True)
class Duels:
    """Comparisons with a winner; a tie is two of them, of half the weight; arrays (n_duels,)."""

    row: np.ndarray
    winner: np.ndarray
    loser: np.ndarray
    weight: FloatArray

    def pick(self, index: np.ndarray) -> "Duels":
        """Return some of them, by number."""
        return Duels(
            row=self.row[index],
            winner=self.winner[index],
            loser=self.loser[index],
            weight=self.weight[index],
        )


def _duels(comparisons: Comparisons, *, halve_ties: bool) -> Duels:
    a_won, b_won = (np.flatnonzero(comparisons.outcome == side) for side in (1, 0))
    tie = np.flatnonzero(comparisons.outcome == 0.5) if halve_ties else np.empty(0, np.intp)
    first, second = np.concatenate([a_won, tie]), np.concatenate([b_won, tie])
    return Duels(
        row=comparisons.row[np.concatenate([first, second])],
        winner=np.concatenate([comparisons.a[first], comparisons.b[second]]),
        loser=np.concatenate([comparisons.b[first], comparisons.a[second]]),
        weight=np.repeat([1, 0.5, 1, 0.5], [len(a_won), len(tie), len(b_won), len(tie)])
        * comparisons.weights[np.concatenate([first, second])],
    )


@ROUTERS.register("mf")
@dataclass(kw_only=True)
class MatrixFactorizationRouter(ComparisonRouter):
    """Score every model linearly in the query; the difference of two scores says who wins.

    P(a beats b) = sigmoid(s_a - s_b) with s = W [x, 1].

    Parameters
    ----------
    rank
        None: W is free but penalised, which makes a convex problem with one solution. A number,
        published with 128: W = V diag(w) U, model vectors V of length one, no constant, features
        as they come, by stochastic gradients.
    c
        Inverse strength of the L2 penalty, as in scikit-learn's logistic regression. `auto`
        takes the value from 1e-5 to 0.1 of least cross-entropy on the comparisons of a fifth of the
        queries. With a rank it has no effect: 1e-5 of every weight is added to its gradient.
    ties
        `half`: a tie is half a win for each, so that P ranks queries by the expected gap. `drop`:
        ties are left out, as published; P is then the chance to win where there is a winner,
        which also rises where both models nearly always tie.
    noise
        Standard deviation of what is added to every feature in every step; with a rank only. Of
        unit vectors of 1,536 entries the published 0.1 is four times an entry's own.
    n_epochs, batch_size, learning_rate
        Of Adam; with a rank only.

    Notes
    -----
    With a rank this is the published model and its training, apart from the embedder. Without a
    constant it can say who is stronger overall only as far as all queries point the same way.

    References
    ----------
    Ong et al. 2024, RouteLLM, arXiv:2406.18665.
    """

    kind: ClassVar[str] = "mf"

    rank: Annotated[int, Field(ge=1, le=1024)] | None = None
    c: Annotated[float, Field(gt=0)] | Literal["auto"] = "auto"
    ties: Literal["half", "drop"] = "half"
    noise: Annotated[float, Field(ge=0)] = 0.1
    n_epochs: Annotated[int, Field(ge=1)] = 100
    batch_size: Annotated[int, Field(ge=1)] = 64
    learning_rate: Annotated[float, Field(gt=0)] = 3e-4
    coef_: FloatMatrix = unfitted()  # (n_features + 1, n_models), the last row is the constant

    def _learn(
        self, x: FloatMatrix, comparisons: Comparisons, n_models: int, *, rng: np.random.Generator
    ) -> None:
        duels = _duels(comparisons, halve_ties=self.ties == "half")
        wide = x.astype(np.float64)
        if self.rank is None:
            coef = self._convex(wide, duels, n_models=n_models, rng=rng)
        else:
            coef = self._low_rank(wide, duels, rank=self.rank, n_models=n_models, rng=rng)
        # Only differences count: the mean of the models would be noise of no meaning.
        self.coef_ = (coef - coef.mean(axis=1, keepdims=True)).astype(np.float32)

    def _convex(
        self, x: FloatArray, duels: Duels, *, n_models: int, rng: np.random.Generator
    ) -> FloatArray:
        center, spread = x.mean(axis=0), x.std(axis=0)
        scale = np.where(spread > 1e-8, spread, 1.0)
        z = np.column_stack([(x - center) / scale, np.full(len(x), _CONSTANT)])
        c = _choose_c(z, duels, n_models, rng) if self.c == "auto" else self.c
        coef = convex(z, duels, n_models=n_models, c=c, tolerance=_FINE)
        coef[:-1] /= scale[:, None]
        coef[-1] *= _CONSTANT
        coef[-1] -= center @ coef[:-1]
        return coef

    def _low_rank(
        self, x: FloatArray, duels: Duels, *, rank: int, n_models: int, rng: np.random.Generator
    ) -> FloatArray:
        weights = first_weights(x.shape[1], n_models, rank, rng=rng)
        named, adam = dict(zip(_NAMES, weights, strict=True)), Adam()
        for _ in range(self.n_epochs):
            order = rng.permutation(len(duels.row))
            for begin in range(0, len(duels.row), self.batch_size):
                part = duels.pick(order[begin : begin + self.batch_size])
                batch = x[part.row]
                batch += self.noise * rng.standard_normal(batch.shape)
                slopes = zip(_NAMES, weights, low_rank_loss(weights, batch, part)[1], strict=True)
                # Part of the gradient, as published; AdamW would decay the weights apart.
                pulled = {name: slope + _WEIGHT_DECAY * weight for name, weight, slope in slopes}
                adam.step(named, pulled, self.learning_rate)
        project, vectors, mix = weights
        return np.vstack([project @ (_unit(vectors) * mix).T, np.zeros((1, n_models))])

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


def first_weights(
    n_features: int, n_models: int, rank: int, *, rng: np.random.Generator
) -> list[FloatArray]:
    """Draw the weights of `low_rank_loss` as PyTorch does: an embedding and two linear layers."""
    wide, narrow = 1 / np.sqrt(n_features), 1 / np.sqrt(rank)
    return [
        rng.uniform(-wide, wide, (n_features, rank)),
        rng.standard_normal((n_models, rank)),
        rng.uniform(-narrow, narrow, rank),
    ]


def convex(
    z: FloatArray,
    duels: Duels,
    *,
    n_models: int,
    c: float,
    start: FloatArray | None = None,
    tolerance: float = 1e-6,
) -> FloatArray:
    """Return W of least |W|^2 / 2 + c sum weight log(1 + exp(s_loser - s_winner)), s = z W.

    This is logistic regression on (onehot_a - onehot_b) x z without an intercept, whose features
    would take n_models times the memory.

    Returns
    -------
    float64 (n_features, n_models).
    """
    row, winner, loser, weight = duels.row, duels.winner, duels.loser, c * duels.weight
    at_winner, at_loser = row * n_models + winner, row * n_models + loser
    size = len(z) * n_models

    def evaluate(coef: FloatArray) -> tuple[float, FloatArray]:
        strength = z @ coef
        margin = strength[row, winner] - strength[row, loser]
        pull = weight * sigmoid(-margin)
        back = np.bincount(at_winner, -pull, size) + np.bincount(at_loser, pull, size)
        back = back.reshape(strength.shape)
        value = (coef**2).sum() / 2 + (weight * np.logaddexp(0, -margin)).sum()
        return float(value), coef + z.T @ back

    begin = np.zeros((z.shape[1], n_models)) if start is None else start
    return minimise(evaluate, begin, tolerance=tolerance)


def _choose_c(z: FloatArray, duels: Duels, n_models: int, rng: np.random.Generator) -> float:
    """Return the penalty that predicts the comparisons of held-out queries best."""
    held = (rng.permutation(len(z)) % _HELD_OUT == 0)[duels.row]
    if not held.any() or held.all():
        return _GRID[len(_GRID) // 2]
    known, judge = duels.pick(np.flatnonzero(~held)), duels.pick(np.flatnonzero(held))
    losses = []
    coef = None
    for c in _GRID:
        coef = convex(z, known, n_models=n_models, c=c, start=coef, tolerance=_COARSE)
        strength = z @ coef
        margin = strength[judge.row, judge.winner] - strength[judge.row, judge.loser]
        losses.append((judge.weight * np.logaddexp(0, -margin)).sum())
    return _GRID[int(np.argmin(losses))]


def low_rank_loss(
    weights: list[FloatArray], z: FloatArray, duels: Duels
) -> tuple[float, list[FloatArray]]:
    """Return the mean cross-entropy of who won, and its gradients.

    Parameters
    ----------
    weights
        Projection (n_features, rank), model vectors (n_models, rank), mixing weights (rank,).
    z
        (n_duels, n_features), the rows of the duels.
    """
    project, vectors, mix = weights
    winner, loser = duels.winner, duels.loser
    unit = _unit(vectors)
    hidden = z @ project
    apart = unit[winner] - unit[loser]
    margin = (hidden * apart) @ mix
    pull = -duels.weight * sigmoid(-margin) / len(z)
    toward = pull[:, None] * hidden * mix
    back = np.zeros_like(unit)
    np.add.at(back, winner, toward)
    np.add.at(back, loser, -toward)
    norm = np.linalg.norm(vectors, axis=1, keepdims=True)
    along = (back * unit).sum(axis=1, keepdims=True)
    return float((duels.weight * np.logaddexp(0, -margin)).mean()), [
        z.T @ (pull[:, None] * apart * mix),
        (back - along * unit) / norm,
        (pull[:, None] * hidden * apart).sum(axis=0),
    ]


def _unit(vectors: FloatArray) -> FloatArray:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
