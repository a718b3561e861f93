"""Nearest rows by walking a graph: time grows with the logarithm of how many there are.

The walks are faiss's, an extra; what is kept of a graph is ours. Faiss's own files are read by code
that believes them, and a number too high would read memory that is not the graph's. So a graph is
kept as plain arrays, and put together again only once every link was seen to lead to a row.
"""

import importlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from routers.errors import RoutingConfigError
from routers.heads._shortlist import largest, nearest_others
from routers.numeric import equal_rows
from routers.options import State, take
from routers.types import FloatMatrix

_RECALL = 0.985  # of the rows themselves; new queries then keep 0.98
_TUNING_ROWS = 256
_MOST_EF = 2048
_ROUNDING = 1e-6
_MAX_LEVELS = 32
_BLOCK_ROWS = 65_536
_FEW_ROWS = 256
"""Up to so many, telling the levels one by one is less work than copying those of all rows."""


def require_faiss() -> Any:
    """Return the library that builds and walks graphs.

    Raises
    ------
    RoutingConfigError
        If it is not installed; the message says how it is.
    """
    try:
        return importlib.import_module("faiss")
    except ImportError as error:
        raise RoutingConfigError(
            "the option 'search: hnsw' of a knn head needs an extra: pip install 'steelyard[hnsw]'"
        ) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """How a graph is laid out.

    Attributes
    ----------
    m
        Links of a row on every level; on the lowest at most twice as many.
    ef_construction
        Candidates among which the links of a new row are chosen.
    """

    m: int
    ef_construction: int


class Graph:
    """Rows of unit length, linked to some near ones (hierarchical navigable small world).

    Every row is on the lowest level, one in `m` also on the next, and so on, as in a skip list; a
    search walks from the few rows of the top level toward the query, and on the lowest level keeps
    the `ef` best it met. Of near rows those are linked that are nearer to the new one than to each
    other: without that, nothing leads from one cluster to the next.

    The levels of rows are drawn from `seed`, and links are made by one thread: the same rows in the
    same steps give the same graph. Rows may come and go while others search. What is deleted is
    still walked through but never returned.

    References
    ----------
    Malkov & Yashunin 2016, Efficient and robust approximate nearest neighbor search using
    Hierarchical Navigable Small World graphs, arXiv:1603.09320.
    """

    def __init__(self, n_features: int, shape: Shape, *, ef: int, seed: int) -> None:
        self._faiss = require_faiss()
        self.shape, self.seed = shape, seed
        self._index = self._faiss.IndexHNSWFlat(
            n_features, shape.m, self._faiss.METRIC_INNER_PRODUCT
        )
        self._index.hnsw.efConstruction = shape.ef_construction
        self._dead = np.zeros(0, bool)
        self._access = _Access()
        self._ef = ef
        self._params: Any = None
        self._selected: tuple[np.ndarray | None, Any] = (None, None)
        self._prepare()

    @classmethod
    def built(cls, x: FloatMatrix, shape: Shape, *, ef: int, seed: int) -> Self:
        """Link the rows of `x`, (n_rows, n_features)."""
        graph = cls(x.shape[1], shape, ef=ef, seed=seed)
        graph.add(x)
        return graph

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @property
    def n_features(self) -> int:
        """How wide rows are."""
        return int(self._index.d)

    @property
    def ef(self) -> int:
        """How many of the best rows that it meets a search keeps."""
        return self._ef

    @property
    def n_live(self) -> int:
        """How many rows may be returned."""
        return len(self) - int(np.count_nonzero(self._dead))

    @property
    def live(self) -> np.ndarray:
        """Return which rows may be returned, bool (n_rows,)."""
        return ~self._dead

    @property
    def rows(self) -> FloatMatrix:
        """Return a copy of all rows, deleted ones too."""
        with self._access.reading():
            return np.array(self._flat())

    @property
    def n_bytes(self) -> int:
        """How much memory rows and links take."""
        links = self._index.hnsw.neighbors.size() * 4
        return len(self) * (self.n_features * 4 + 4 + 8) + int(links)

    def add(self, x: FloatMatrix) -> None:
        """Link further rows; they get the next numbers."""
        x = np.ascontiguousarray(x, np.float32)
        with self._access.writing(), self._one_thread():
            n = len(self)
            held = self._index.hnsw.levels
            levels = _levels(len(x), self.shape.m, np.random.default_rng([self.seed, n]))
            if len(x) <= _FEW_ROWS:
                for level in levels.tolist():
                    held.push_back(level)
            else:
                whole = np.concatenate([self._faiss.vector_to_array(held), levels])
                self._faiss.copy_array_to_vector(whole, held)
            self._index.add(x)
            self._dead = np.concatenate([self._dead, np.zeros(len(x), bool)])
            self._prepare()

    def delete(self, rows: np.ndarray) -> None:
        """Return the rows of these numbers no more."""
        with self._access.writing():
            self._dead = self._dead.copy()
            self._dead[rows] = True
            self._prepare()

    def equal_to(self, x: FloatMatrix) -> np.ndarray:
        """Return the numbers of the rows that may be returned and are as good as one of `x`."""
        with self._access.reading():
            return np.flatnonzero(equal_rows(self._flat(), x) & ~self._dead)

    def nearest(self, query: FloatMatrix, k: int) -> np.ndarray:
        """Return the numbers of the `k` rows most similar to every query, (n_queries, k)."""
        query = np.ascontiguousarray(query, np.float32)
        with self._access.reading(), self._one_thread():
            k = min(k, self.n_live) if self._dead.any() else min(k, len(self))
            found = np.asarray(self._index.search(query, k, params=self._params)[1], np.intp)
            # Where most of what is near was deleted, a walk may come back with too few.
            for i in np.flatnonzero((found < 0).any(axis=1)):
                similarity = self._flat() @ query[i]
                similarity[self._dead] = -np.inf
                found[i] = largest(similarity, k)
        return found

    def tune(self, k: int) -> bool:
        """Double `ef` until at least 0.98 of the `k` nearest rows are found; say whether they are.

        Recall is measured on some of the rows as queries: two standard errors below it have to be
        0.985. Equally similar rows are as good as each other.
        """
        x = self._flat()
        queries = np.linspace(0, len(x) - 1, min(_TUNING_ROWS, len(x))).astype(np.intp)
        nearest = nearest_others(x, queries, k)
        own = x[queries]
        bar = _similarity(x, own, nearest).min(axis=1) - _ROUNDING
        # Who keeps a quarter of the rows compares nearly all.
        most = min(_MOST_EF, len(x) // 4)
        while True:
            found = self.nearest(own, k + 1)
            near = (_similarity(x, own, found) >= bar[:, None]) & (found != queries[:, None])
            recall = np.minimum(near.sum(axis=1) / k, 1)
            if recall.mean() - 2 * recall.std() / np.sqrt(len(recall)) >= _RECALL:
                return True
            if max(self._ef, k) >= most:
                return False
            self._ef = min(2 * max(self._ef, k), most)
            self._prepare()

    def state(self) -> dict[str, np.ndarray]:
        """Return levels, links, what is deleted, and where searches start; the rows apart."""
        hnsw, array_of = self._index.hnsw, self._faiss.vector_to_array
        with self._access.reading():
            start = [self._ef, self.seed, hnsw.entry_point]
            return {
                "levels": array_of(hnsw.levels).astype(np.int8),
                "links": array_of(hnsw.neighbors).astype(np.int32),
                "deleted": self._dead.copy(),
                "start": np.asarray(start, np.int64),
            }

    @classmethod
    def restored(cls, state: State, x: FloatMatrix, shape: Shape) -> Self:
        """Put a graph of the rows `x` together again; it answers as the one before did.

        Raises
        ------
        KeyError, ValueError
            If an array is missing, or a link would not lead to a row that has one back.
        RoutingConfigError
            If the library is not installed.
        """
        levels, links = take(state, "levels", ndim=1), take(state, "links", ndim=1)
        dead, start = take(state, "deleted", ndim=1), take(state, "start", ndim=1)
        if len(start) != 3 or dead.dtype != bool or not len(x) == len(levels) == len(dead):
            raise ValueError("the arrays of a graph do not match its rows")
        ef, seed, entry = (int(each) for each in start)
        if not 1 <= ef <= _MOST_EF or not 0 <= seed < 2**31 or not x.shape[1]:
            raise ValueError("the arrays of a graph do not match its rows")
        offsets = _checked_offsets(levels, links, entry, shape.m)
        graph = cls(x.shape[1], shape, ef=ef, seed=seed)
        index, fill = graph._index, graph._faiss.copy_array_to_vector
        for at in range(0, len(x), _BLOCK_ROWS):
            index.storage.add(np.ascontiguousarray(x[at : at + _BLOCK_ROWS], np.float32))
        index.ntotal = len(x)
        fill(levels.astype(np.int32), index.hnsw.levels)
        fill(offsets, index.hnsw.offsets)
        fill(links.astype(np.int32), index.hnsw.neighbors)
        index.hnsw.entry_point, index.hnsw.max_level = entry, int(levels[entry]) - 1
        graph._dead = dead.copy()
        graph._prepare()
        return graph

    def _flat(self) -> FloatMatrix:
        """Return the rows where they lie: valid until further ones are added."""
        n, width = len(self), self._index.d
        if n == 0:
            return np.empty((0, width), np.float32)
        lie = self._faiss.downcast_index(self._index.storage).get_xb()
        return np.asarray(self._faiss.rev_swig_ptr(lie, n * width).reshape(n, width))

    def _prepare(self) -> None:
        """Make what a search is told, once for all of them."""
        params = self._faiss.SearchParametersHNSW(efSearch=self._ef)
        bits = selector = None
        if self._dead.any():
            bits = np.packbits(~self._dead, bitorder="little")
            selector = self._faiss.IDSelectorBitmap(len(self._dead), self._faiss.swig_ptr(bits))
            params.sel = selector
        # The library keeps addresses alone: what stands there is kept here.
        self._params, self._selected = params, (bits, selector)

    @contextmanager
    def _one_thread(self) -> Iterator[None]:
        """Keep the library from threads of its own: links would depend on who is first."""
        before = self._faiss.omp_get_max_threads()
        if before == 1:
            yield
            return
        self._faiss.omp_set_num_threads(1)
        try:
            yield
        finally:
            self._faiss.omp_set_num_threads(before)


class _Access:
    """Many may read at once, or one write; who waits to write goes before new readers."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._n_reading = 0
        self._n_waiting = 0
        self._is_writing = False

    @contextmanager
    def reading(self) -> Iterator[None]:
        with self._changed:
            while self._is_writing or self._n_waiting:
                self._changed.wait()
            self._n_reading += 1
        try:
            yield
        finally:
            with self._changed:
                self._n_reading -= 1
                if self._n_reading == 0:
                    self._changed.notify_all()

    @contextmanager
    def writing(self) -> Iterator[None]:
        with self._changed:
            self._n_waiting += 1
            while self._is_writing or self._n_reading:
                self._changed.wait()
            self._n_waiting -= 1
            self._is_writing = True
        try:
            yield
        finally:
            with self._changed:
                self._is_writing = False
                self._changed.notify_all()


def _similarity(x: FloatMatrix, queries: FloatMatrix, rows: np.ndarray) -> FloatMatrix:
    """Return how similar each query is to the rows numbered for it, (n_queries, k)."""
    return np.stack([x[of] @ query for of, query in zip(rows, queries, strict=True)])


def _levels(n: int, m: int, rng: np.random.Generator) -> np.ndarray:
    """Draw on how many levels each row is: int32 (n,), from 1, one in `m` on one more."""
    drawn = np.floor(-np.log1p(-rng.random(n)) / np.log(m)).astype(np.int32) + 1
    return np.asarray(np.minimum(drawn, _MAX_LEVELS))


def _checked_offsets(levels: np.ndarray, links: np.ndarray, entry: int, m: int) -> np.ndarray:
    """Return where the links of each row begin, uint64 (n_rows + 1,), once all are sound.

    Raises
    ------
    ValueError
        If a link leads to no row, or to a row that is not on the link's level.
    """
    wrong = ValueError("the links of a graph do not lead to its rows")
    n = len(levels)
    if links.dtype.kind != "i" or levels.dtype.kind != "i" or not n or not 0 <= entry < n:
        raise wrong
    if levels.min() < 1 or levels.max() > _MAX_LEVELS or levels[entry] != levels.max():
        raise wrong
    sizes = (levels.astype(np.int64) + 1) * m  # 2 m on the lowest level, m on each above
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    if len(links) != offsets[-1] or links.min() < -1 or links.max() >= n:
        raise wrong
    for level in range(2, int(levels.max()) + 1):
        high = np.flatnonzero(levels >= level)
        slots = (offsets[high] + level * m)[:, None] + np.arange(m)
        leads_to = links[slots]
        if (levels[leads_to[leads_to >= 0]] < level).any():
            raise wrong
    return np.asarray(offsets.astype(np.uint64))
