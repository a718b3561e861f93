"""Labelled queries that a kNN head remembers, and one way each to find the nearest of them."""

import threading
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from routers.errors import DataError
from routers.heads._hnsw import Graph, Shape
from routers.heads._shortlist import Shortlist, largest
from routers.numeric import equal_rows, nan_mean
from routers.options import State, take
from routers.types import FloatMatrix, FloatVector

_NONE_LEFT = "none of the remembered queries would be left; fit again without them"

_REBUILD_SHARE = 0.5
"""Of deleted rows: from here on the graph is built anew from the others."""


class Remembered(ABC):
    """Unit rows and their labels; asked while rows come and go, each answer is of one state."""

    @property
    @abstractmethod
    def x(self) -> FloatMatrix:
        """(n_rows, n_features), unit rows."""

    @property
    @abstractmethod
    def y(self) -> FloatMatrix:
        """(n_rows, n_models), NaN where a model was not tried."""

    @property
    @abstractmethod
    def n_live(self) -> int:
        """How many rows there are that may be found."""

    @property
    @abstractmethod
    def n_compared(self) -> int:
        """How many numbers a query takes while it is compared."""

    @property
    @abstractmethod
    def widths(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The shapes of one row and of its labels."""

    @property
    @abstractmethod
    def prior(self) -> tuple[FloatVector, FloatVector]:
        """Mean and variance of every model's labels, (n_models,) each."""

    @abstractmethod
    def labels_of(self, rows: np.ndarray) -> FloatMatrix:
        """Return the labels of rows that were found, also while others join."""

    @abstractmethod
    def nearest(self, query: FloatMatrix, k: int) -> np.ndarray:
        """Return the numbers of the `k` nearest rows of every query, (n_queries, k)."""

    @abstractmethod
    def with_rows(self, x: FloatMatrix, y: FloatMatrix) -> "Remembered":
        """Return what remembers these rows too; it may be the same, grown."""

    @abstractmethod
    def without(self, x: FloatMatrix) -> tuple["Remembered", int]:
        """Return what forgot all rows equal to one of `x`, and how many there were.

        Raises
        ------
        DataError
            If none would be left.
        """

    @abstractmethod
    def state(self) -> dict[str, np.ndarray]:
        """Return everything but the rows themselves as named arrays."""


@dataclass(frozen=True, slots=True, eq=False)
class Compared(Remembered):
    """Rows that are all compared, in full or on the axes of a shortlist first."""

    _x: FloatMatrix
    _y: FloatMatrix
    shortlist: Shortlist | None
    _prior: tuple[FloatVector, FloatVector]

    @classmethod
    def of(cls, x: FloatMatrix, y: FloatMatrix, shortlist: Shortlist | None = None) -> Self:
        """Remember rows of unit length."""
        mean = nan_mean(y, default=0.0)
        variance = nan_mean((y - mean) ** 2, default=0.0)
        return cls(x, y, shortlist, (mean.astype(np.float32), variance.astype(np.float32)))

    @property
    def x(self) -> FloatMatrix:
        return self._x

    @property
    def y(self) -> FloatMatrix:
        return self._y

    @property
    def n_live(self) -> int:
        return len(self._x)

    @property
    def n_compared(self) -> int:
        return len(self._x)

    @property
    def widths(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        return self._x.shape[1:], self._y.shape[1:]

    @property
    def prior(self) -> tuple[FloatVector, FloatVector]:
        return self._prior

    def labels_of(self, rows: np.ndarray) -> FloatMatrix:
        return np.asarray(self._y[rows])

    def nearest(self, query: FloatMatrix, k: int) -> np.ndarray:
        if self.shortlist is not None:
            return np.stack([self.shortlist.nearest(row, self._x, k) for row in query])
        similarity = query @ self._x.T
        if k >= len(self._x):
            return np.broadcast_to(np.arange(len(self._x)), similarity.shape)
        return np.stack([largest(row, k) for row in similarity])

    def with_rows(self, x: FloatMatrix, y: FloatMatrix) -> "Compared":
        return self._again(np.concatenate([self._x, x]), np.concatenate([self._y, y]))

    def without(self, x: FloatMatrix) -> tuple["Compared", int]:
        kept = ~equal_rows(self._x, x)
        if kept.all():
            return self, 0
        if not kept.any():
            raise DataError(_NONE_LEFT)
        return self._again(self._x[kept], self._y[kept]), int(np.count_nonzero(~kept))

    def _again(self, x: FloatMatrix, y: FloatMatrix) -> "Compared":
        shortlist = self.shortlist
        if shortlist is not None:
            enough = shortlist.n_candidates < len(x)
            shortlist = Shortlist.of(x, shortlist.axes, shortlist.n_candidates) if enough else None
        return Compared.of(x, y, shortlist)

    def state(self) -> dict[str, np.ndarray]:
        return {} if self.shortlist is None else self.shortlist.state()


class Linked(Remembered):
    """Rows in a graph, which further ones join where they are near.

    Labels lie in arrays with room for more: a row has its labels before a search can find it.
    """

    def __init__(self, graph: Graph, y: FloatMatrix, moments: "_Moments | None" = None) -> None:
        self.graph = graph
        self._labels = np.array(y, np.float32)
        moments = _Moments.of(y) if moments is None else moments
        self._moments, self._prior = moments, moments.prior
        self._changing = threading.Lock()

    @classmethod
    def tuned(
        cls, x: FloatMatrix, y: FloatMatrix, k: int, shape: Shape, *, ef: int, seed: int
    ) -> Self | None:
        """Link rows of unit length; None where too few of the `k` nearest would be found."""
        graph = Graph.built(x, shape, ef=ef, seed=seed)
        return cls(graph, y) if graph.tune(k) else None

    @property
    def x(self) -> FloatMatrix:
        return self.graph.rows

    @property
    def y(self) -> FloatMatrix:
        return self._labels[: len(self.graph)]

    @property
    def n_live(self) -> int:
        return self.graph.n_live

    @property
    def n_compared(self) -> int:
        return self.graph.ef

    @property
    def widths(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        return (self.graph.n_features,), self._labels.shape[1:]

    @property
    def prior(self) -> tuple[FloatVector, FloatVector]:
        return self._prior

    def nearest(self, query: FloatMatrix, k: int) -> np.ndarray:
        return self.graph.nearest(query, k)

    def labels_of(self, rows: np.ndarray) -> FloatMatrix:
        return np.asarray(self._labels[rows])

    def with_rows(self, x: FloatMatrix, y: FloatMatrix) -> "Linked":
        with self._changing:
            n = len(self.graph)
            if n + len(y) > len(self._labels):
                grown = np.full((n + max(n // 2, len(y)), y.shape[1]), np.nan, np.float32)
                grown[:n] = self._labels[:n]
                self._labels = grown
            self._labels[n : n + len(y)] = y
            self.graph.add(x)
            self._moments = self._moments.with_(y)
            self._prior = self._moments.prior
        return self

    def without(self, x: FloatMatrix) -> tuple["Linked", int]:
        with self._changing:
            found = self.graph.equal_to(x)
            if not len(found):
                return self, 0
            if len(found) == self.graph.n_live:
                raise DataError(_NONE_LEFT)
            moments = self._moments.without(self._labels[found])
            if self.graph.n_live - len(found) < (1 - _REBUILD_SHARE) * len(self.graph):
                kept = self.graph.live
                kept[found] = False
                graph = Graph.built(
                    self.graph.rows[kept],
                    self.graph.shape,
                    ef=self.graph.ef,
                    seed=self.graph.seed,
                )
                return Linked(graph, self.y[kept], moments), len(found)
            self.graph.delete(found)
            self._moments, self._prior = moments, moments.prior
        return self, len(found)

    def state(self) -> dict[str, np.ndarray]:
        return self.graph.state() | {"moments": self._moments.sums}

    @classmethod
    def restored(cls, state: State, x: FloatMatrix, y: FloatMatrix, shape: Shape) -> Self:
        """Remember what was saved.

        Raises
        ------
        KeyError, ValueError
            If an array is missing or does not match the rows.
        """
        sums = take(state, "moments", ndim=2)
        if sums.shape != (3, y.shape[1]) or (sums[::2] < 0).any():
            raise ValueError("the sums of labels do not match those that are remembered")
        return cls(Graph.restored(state, x, shape), y, _Moments(sums))


@dataclass(frozen=True, slots=True, eq=False)
class _Moments:
    """Sums that tell the mean and variance of every model's labels, and can be carried on."""

    sums: np.ndarray  # float64 (3, n_models): how many, their sum, the sum of their squares

    @classmethod
    def of(cls, y: FloatMatrix) -> Self:
        known = ~np.isnan(y)
        filled = np.where(known, y, 0).astype(np.float64)
        return cls(np.stack([known.sum(axis=0), filled.sum(axis=0), (filled**2).sum(axis=0)]))

    def with_(self, y: FloatMatrix) -> "_Moments":
        return replace(self, sums=self.sums + _Moments.of(y).sums)

    def without(self, y: FloatMatrix) -> "_Moments":
        sums = self.sums - _Moments.of(y).sums
        sums[::2] = np.maximum(sums[::2], 0)
        return replace(self, sums=sums)

    @property
    def prior(self) -> tuple[FloatVector, FloatVector]:
        n, total, square = self.sums
        mean = total / np.maximum(n, 1)
        variance = np.maximum(square / np.maximum(n, 1) - mean**2, 0)
        return mean.astype(np.float32), variance.astype(np.float32)
