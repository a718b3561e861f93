"""Average what was seen on the nearest labelled queries."""

# ruff: noqa: RUF009  (unfitted() declares a field)

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
from pydantic import Field

from routers.heads._shortlist import Shortlist, largest
from routers.heads.base import HEADS, Head
from routers.numeric import FloatArray, nan_mean, row_blocks, unit_rows
from routers.options import State, require_fitted, take, unfitted
from routers.types import FloatMatrix, FloatVector

_GRID = (10, 20, 40, 80, 100, 160, 320)
_R2_GRID = (2, 4, 8, 16, 32, 64, 128, 256, 512)
_FOLDS = 5
_SHORTLIST_ROWS = 4096
"""From here on a shortlist is looked for: comparing fewer rows in full takes as long."""


@HEADS.register("knn")
@dataclass(kw_only=True)
class KnnHead(Head):
    """Average the labels of the `n_neighbors` queries of highest cosine similarity.

    Parameters
    ----------
    n_neighbors
        `auto` takes the size of least cross-validated squared error, from 10 to 320 and at most
        a quarter of the rows. Few neighbours are harmful: they mistake noise for difference.
        `r2` takes the one of 2, 4, 8, ..., 512 of highest cross-validated R2, the mean over models
        and five folds, as CARROT publishes.
    storage
        Precision in which the labelled queries are remembered. Half precision halves the
        artifact; queries are rounded before anything is computed, so that a saved head answers
        exactly like the one that was fitted.
    search
        `auto` compares a query with all rows on a few principal axes, and in full only with those
        that come near: several times as fast with many rows. It does so from 4,096 rows on, if at
        least 0.98 of the neighbours are kept, which is measured when fitting. Every prediction is
        then made that way, be it one or many at once. `exact` compares every row in full.

    References
    ----------
    Hu et al. 2024, RouterBench, arXiv:2403.12031; Somerstep et al. 2025, CARROT,
    arXiv:2502.03261.
    """

    kind: ClassVar[str] = "knn"

    n_neighbors: Annotated[int, Field(ge=1)] | Literal["auto", "r2"] = 100
    storage: Literal["float16", "float32"] = "float16"
    search: Literal["auto", "exact"] = "auto"
    k_: int = unfitted()
    x_: FloatMatrix = unfitted()  # (n_queries, n_features), unit rows
    y_: FloatMatrix = unfitted()  # (n_queries, n_models), NaN where a model was not tried
    prior_mean_: FloatVector = unfitted()  # (n_models,), of all labels
    prior_var_: FloatVector = unfitted()
    shortlist_: Shortlist | None = unfitted()  # None where all rows are compared in full

    def _fit(self, x: FloatMatrix, y: FloatMatrix, *, rng: np.random.Generator) -> None:
        self._remember(unit_rows(x).astype(self.storage), y)
        if self.n_neighbors == "auto":
            self.k_ = _best_k(self.x_, y, rng)
        elif self.n_neighbors == "r2":
            self.k_ = _best_by_r2(self.x_, y, rng)
        else:
            self.k_ = min(self.n_neighbors, len(x))
        if self.search == "auto" and len(x) >= _SHORTLIST_ROWS:
            self.shortlist_ = Shortlist.tuned(self.x_, self.k_)
        else:
            self.shortlist_ = None

    def _remember(self, x: np.ndarray, y: np.ndarray) -> None:
        self.x_ = x.astype(np.float32)
        self.y_ = np.asarray(y, np.float32)
        mean = nan_mean(self.y_, default=0.0)
        self.prior_mean_ = mean.astype(np.float32)
        self.prior_var_ = nan_mean((self.y_ - mean) ** 2, default=0.0).astype(np.float32)

    def predict(self, x: FloatMatrix) -> tuple[FloatMatrix, FloatMatrix]:
        """Return the neighbours' mean and its standard error.

        A model that no neighbour tried is predicted at its overall mean. The standard error
        counts one prior observation of the overall variance, so that agreement of a few
        neighbours is not taken for certainty.
        """
        require_fitted(self, "k_")
        mean = np.empty((len(x), self.y_.shape[1]), np.float32)
        std = np.empty_like(mean)
        query = unit_rows(np.asarray(x, np.float32))
        for block in row_blocks(len(x), max(len(self.x_), self.k_ * self.y_.shape[1])):
            mean[block], std[block] = self._average(self._nearest(query[block]))
        return mean, std

    def nearest(self, x: FloatMatrix) -> np.ndarray:
        """Return the numbers of the neighbours of every row of `x`, (n_queries, k), in no order.

        Raises
        ------
        NotFittedError
            If called before `fit`.
        """
        require_fitted(self, "k_")
        query = unit_rows(np.asarray(x, np.float32))
        nearest = np.empty((len(x), self.k_), np.intp)
        for block in row_blocks(len(x), len(self.x_)):
            nearest[block] = self._nearest(query[block])
        return nearest

    def _nearest(self, query: FloatMatrix) -> np.ndarray:
        if self.shortlist_ is None:
            return _nearest(query, self.x_, self.k_)
        return np.stack([self.shortlist_.nearest(row, self.x_, self.k_) for row in query])

    def _average(self, nearest: np.ndarray) -> tuple[FloatMatrix, FloatMatrix]:
        seen = self.y_[nearest]
        known = ~np.isnan(seen)
        count = known.sum(axis=1)
        total = np.where(known, seen, 0).sum(axis=1, dtype=np.float64)
        mean = np.where(count > 0, total / np.maximum(count, 1), self.prior_mean_)
        scatter = (np.where(known, seen - mean[:, None, :], 0) ** 2).sum(axis=1)
        variance = (scatter + self.prior_var_) / (count + 1)
        std = np.sqrt(variance / np.maximum(count, 1))
        return mean.astype(np.float32), std.astype(np.float32)

    def state(self) -> dict[str, np.ndarray]:
        """Return the remembered queries, their labels, the number of neighbours, the shortlist."""
        require_fitted(self, "k_")
        state = {"x": self.x_.astype(self.storage), "y": self.y_, "k": np.asarray([self.k_])}
        return state if self.shortlist_ is None else state | self.shortlist_.state()

    def restore(self, state: State) -> Self:
        """Take over remembered queries; those saved without a shortlist are compared in full."""
        x, k = take(state, "x", ndim=2), take(state, "k", ndim=1)
        y = take(state, "y", ndim=2, unknown=True)
        if len(x) != len(y) or not 1 <= int(k[0]) <= len(x):
            raise ValueError("the remembered queries and labels of a knn head do not match")
        self._remember(x, y)
        self.k_ = int(k[0])
        saved = "axes" in state or "n_candidates" in state
        shortlist = Shortlist.restored(state, self.x_, self.k_) if saved else None
        self.shortlist_ = shortlist if self.search == "auto" else None
        return self


def _nearest(query: FloatMatrix, x: FloatMatrix, k: int) -> np.ndarray:
    similarity = query @ x.T
    if k >= len(x):
        return np.broadcast_to(np.arange(len(x)), similarity.shape)
    return np.stack([largest(row, k) for row in similarity])


def _ranked(similarity: FloatMatrix, k: int) -> np.ndarray:
    """Return the columns of the k highest entries of every row, the highest first."""
    if k < similarity.shape[1]:
        top = np.argpartition(-similarity, k - 1, axis=1)[:, :k]
    else:
        top = np.broadcast_to(np.arange(similarity.shape[1]), similarity.shape)
    order = np.argsort(-np.take_along_axis(similarity, top, axis=1), axis=1, kind="stable")
    return np.take_along_axis(top, order, axis=1)


def _best_k(x: FloatMatrix, y: FloatMatrix, rng: np.random.Generator) -> int:
    """Return the number of neighbours of least squared error on rows that were left out."""
    sizes = [k for k in _GRID if k <= len(x) // 4] or [max(1, len(x) // 4)]
    missed = [error.sum(axis=1) for error, _ in _fold_errors(x, y, sizes, rng)]
    return sizes[int(np.sum(missed, axis=0).argmin())]


def _best_by_r2(x: FloatMatrix, y: FloatMatrix, rng: np.random.Generator) -> int:
    """Return the number of neighbours of highest R2 on rows that were left out.

    Every model counts alike however much its values vary.
    """
    smallest = len(x) - -(-len(x) // _FOLDS)  # rows that the largest fold leaves to learn from
    sizes = [k for k in _R2_GRID if k <= smallest] or [max(1, smallest)]
    if len(sizes) == 1:
        return sizes[0]
    scores = []
    for error, held in _fold_errors(x, y, sizes, rng):
        spread = np.nansum((held - nan_mean(held, default=0.0)) ** 2, axis=0)
        told = np.where(spread > 0, 1 - error / np.where(spread > 0, spread, 1), error == 0)
        scores.append(told.mean(axis=1))
    return sizes[int(np.mean(scores, axis=0).argmax())]


def _fold_errors(
    x: FloatMatrix, y: FloatMatrix, sizes: Sequence[int], rng: np.random.Generator
) -> Iterator[tuple[FloatArray, FloatMatrix]]:
    """Yield the squared errors of a fold, (n_sizes, n_models), and its labels."""
    fold = rng.permutation(len(x)) % min(_FOLDS, len(x))
    for held in range(fold.max() + 1):
        train, test = np.flatnonzero(fold != held), np.flatnonzero(fold == held)
        if len(train) == 0:
            continue
        error = np.zeros((len(sizes), y.shape[1]))
        default = nan_mean(y[train], default=0.0)
        for block in row_blocks(len(test), max(len(train), sizes[-1] * y.shape[1])):
            rows = test[block]
            nearest = train[_ranked(x[rows] @ x[train].T, sizes[-1])]
            seen = y[nearest]
            known = np.cumsum(~np.isnan(seen), axis=1)
            total = np.cumsum(np.nan_to_num(seen), axis=1, dtype=np.float64)
            for i, k in enumerate(sizes):
                at = min(k, len(train)) - 1
                count = known[:, at]
                mean = np.where(count > 0, total[:, at] / np.maximum(count, 1), default)
                error[i] += np.nansum((y[rows] - mean) ** 2, axis=0)
        yield error, y[test]
