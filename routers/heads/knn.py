"""Average what was seen on the nearest labelled queries."""

# ruff: noqa: RUF009  (unfitted() declares a field)

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
from pydantic import Field

from routers.errors import DataError
from routers.heads._hnsw import Shape, require_faiss
from routers.heads._remembered import Compared, Linked, Remembered
from routers.heads._shortlist import Shortlist
from routers.heads.base import HEADS, Head
from routers.numeric import FloatArray, nan_mean, row_blocks, unit_rows
from routers.options import State, require_fitted, take, unfitted
from routers.types import FloatMatrix, FloatVector

_GRID = (10, 20, 40, 80, 100, 160, 320)
_R2_GRID = (2, 4, 8, 16, 32, 64, 128, 256, 512)
_FOLDS = 5
_MANY_ROWS = 4096
"""From here on a shortlist or a graph is made: comparing fewer rows in full takes as long."""


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
        then made that way, be it one or many at once. `exact` compares every row in full. `hnsw`
        walks a graph of the rows, from 4,096 on and where that keeps as many (else as `auto`):
        the time of a search then hardly grows with the rows, and further ones join in the time of
        a few searches. It needs an extra.
    m, ef_construction, ef
        Of `hnsw`: links of a row on every level of the graph, candidates among which they are
        chosen, and how many of the best rows that it meets a search keeps (at least `n_neighbors`;
        fitting doubles it until 0.98 of the neighbours are found).

    References
    ----------
    Hu et al. 2024, RouterBench, arXiv:2403.12031; Somerstep et al. 2025, CARROT,
    arXiv:2502.03261.
    """

    kind: ClassVar[str] = "knn"

    n_neighbors: Annotated[int, Field(ge=1)] | Literal["auto", "r2"] = 100
    storage: Literal["float16", "float32"] = "float16"
    search: Literal["auto", "exact", "hnsw"] = "auto"
    m: Annotated[int, Field(ge=4, le=64)] = 16
    ef_construction: Annotated[int, Field(ge=8, le=2048)] = 200
    ef: Annotated[int, Field(ge=1, le=2048)] = 64
    k_: int = unfitted()
    rows_: Remembered = unfitted()

    @property
    def x_(self) -> FloatMatrix:
        """Return the remembered queries, (n_queries, n_features), unit rows."""
        return self.rows_.x

    @property
    def y_(self) -> FloatMatrix:
        """Return their labels, (n_queries, n_models), NaN where a model was not tried."""
        return self.rows_.y

    @property
    def shortlist_(self) -> Shortlist | None:
        """Return what a query meets first; None where all rows are compared in full, or none."""
        return self.rows_.shortlist if isinstance(self.rows_, Compared) else None

    def check_options(self) -> None:
        """Refuse `search: hnsw` where the library that it needs is not installed."""
        if self.search == "hnsw":
            require_faiss()

    def _fit(self, x: FloatMatrix, y: FloatMatrix, *, rng: np.random.Generator) -> None:
        self.check_options()
        unit = self._rounded(x)
        if self.n_neighbors == "auto":
            self.k_ = _best_k(unit, y, rng)
        elif self.n_neighbors == "r2":
            self.k_ = _best_by_r2(unit, y, rng)
        else:
            self.k_ = min(self.n_neighbors, len(x))
        self.rows_ = self._searched(unit, y, rng)

    def _rounded(self, x: FloatMatrix) -> FloatMatrix:
        return unit_rows(np.asarray(x, np.float32)).astype(self.storage).astype(np.float32)

    def _searched(self, x: FloatMatrix, y: FloatMatrix, rng: np.random.Generator) -> Remembered:
        """Return how queries find the nearest of the rows `x`."""
        many = len(x) >= _MANY_ROWS
        if many and self.search == "hnsw" and self.k_ <= len(x) // 4:
            seed = int(rng.integers(2**31))
            linked = Linked.tuned(x, y, self.k_, self._shape, ef=self.ef, seed=seed)
            if linked is not None:
                return linked
        shortlist = Shortlist.tuned(x, self.k_) if many and self.search != "exact" else None
        return Compared.of(x, y, shortlist)

    @property
    def _shape(self) -> Shape:
        return Shape(m=self.m, ef_construction=self.ef_construction)

    def insert(self, x: FloatMatrix, y: FloatMatrix) -> None:
        """Remember further labelled queries from now on, without learning anything else again.

        Others may ask meanwhile. With `search: hnsw` a row takes the time of a few searches;
        otherwise all rows are copied once. How many neighbours count, the axes of a shortlist and
        `ef` stay what they were found to be.

        Raises
        ------
        DataError
            If features or labels are not as wide as those that were learned.
        NotFittedError
            If called before `fit`.
        """
        require_fitted(self, "k_")
        rows = self.rows_
        x, y = self._rounded(x), np.asarray(y, np.float32)
        if len(x) != len(y) or (x.shape[1:], y.shape[1:]) != rows.widths:
            raise DataError("further queries of a knn head are not as wide as those it remembers")
        if not len(x):
            return
        grown = rows.with_rows(x, y)
        if isinstance(grown, Compared) and self.search == "hnsw":
            crossed = rows.n_live < _MANY_ROWS <= grown.n_live
            grown = self._searched(grown.x, grown.y, np.random.default_rng(0)) if crossed else grown
        self.rows_ = grown
        if isinstance(self.n_neighbors, int):
            self.k_ = min(self.n_neighbors, grown.n_live)

    def forget(self, x: FloatMatrix) -> int:
        """Forget every remembered query that is one of the rows `x`; return how many there were.

        They are never returned again. In a graph they are still walked through until half of all
        were forgotten: it is then built anew of the others.

        Raises
        ------
        DataError
            If no query would be left.
        NotFittedError
            If called before `fit`.
        """
        require_fitted(self, "k_")
        x = self._rounded(x)
        self.rows_, n = self.rows_.without(x)
        self.k_ = min(self.k_, self.rows_.n_live)
        return n

    def predict(self, x: FloatMatrix) -> tuple[FloatMatrix, FloatMatrix]:
        """Return the neighbours' mean and its standard error.

        A model that no neighbour tried is predicted at its overall mean. The standard error
        counts one prior observation of the overall variance, so that agreement of a few
        neighbours is not taken for certainty.
        """
        require_fitted(self, "k_")
        rows, k = self.rows_, self.k_
        n_models = rows.y.shape[1]
        mean = np.empty((len(x), n_models), np.float32)
        std = np.empty_like(mean)
        query = unit_rows(np.asarray(x, np.float32))
        for block in row_blocks(len(x), max(rows.n_compared, k * n_models)):
            seen = rows.labels_of(rows.nearest(query[block], k))
            mean[block], std[block] = _average(seen, *rows.prior)
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
        rows, k = self.rows_, self.k_
        blocks = row_blocks(len(x), rows.n_compared)
        return np.concatenate([rows.nearest(query[block], k) for block in blocks])

    def state(self) -> dict[str, np.ndarray]:
        """Return the remembered queries, their labels, and what finds the nearest of them."""
        require_fitted(self, "k_")
        rows = self.rows_
        own = {"x": rows.x.astype(self.storage), "y": rows.y, "k": np.asarray([self.k_])}
        return own | rows.state()

    def restore(self, state: State) -> Self:
        """Take over remembered queries; those saved without graph or axes are compared in full."""
        x, k = take(state, "x", ndim=2), take(state, "k", ndim=1)
        y = np.asarray(take(state, "y", ndim=2, unknown=True), np.float32)
        if len(x) != len(y) or not 1 <= int(k[0]) <= len(x):
            raise ValueError("the remembered queries and labels of a knn head do not match")
        x, self.k_ = x.astype(np.float32), int(k[0])
        if self.search == "hnsw" and ("links" in state or "levels" in state):
            self.rows_ = Linked.restored(state, x, y, self._shape)
            if self.k_ > self.rows_.n_live:
                raise ValueError("a graph has fewer rows than a knn head asks for")
            return self
        shortlist = None
        if "axes" in state or "n_candidates" in state:
            found = Shortlist.restored(state, x, self.k_)
            shortlist = None if self.search == "exact" else found
        self.rows_ = Compared.of(x, y, shortlist)
        return self


def _average(
    seen: FloatMatrix, prior_mean: FloatVector, prior_var: FloatVector
) -> tuple[FloatMatrix, FloatMatrix]:
    """Average labels of neighbours, (n_queries, k, n_models), and say how far that may be off."""
    known = ~np.isnan(seen)
    count = known.sum(axis=1)
    total = np.where(known, seen, 0).sum(axis=1, dtype=np.float64)
    mean = np.where(count > 0, total / np.maximum(count, 1), prior_mean)
    scatter = (np.where(known, seen - mean[:, None, :], 0) ** 2).sum(axis=1)
    variance = (scatter + prior_var) / (count + 1)
    std = np.sqrt(variance / np.maximum(count, 1))
    return mean.astype(np.float32), std.astype(np.float32)


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
