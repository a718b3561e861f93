"""Nearest rows without looking at all of every row: shortlist on a few axes, compare exactly."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from routers.numeric import row_blocks
from routers.options import State, take
from routers.types import FloatMatrix, FloatVector

_N_AXES = (16, 32, 48, 64, 96, 128, 192)
_CANDIDATES_PER_NEIGHBOUR = (2, 3, 4, 6, 8, 12, 16, 24, 32)
_MIN_CANDIDATES = 200
_RECALL = 0.985  # of the rows themselves; new queries then keep 0.98
_GATHERING = 6
"""What a number of a gathered row costs, in numbers of rows read in sequence (measured: 4 to 8)."""

_WIDENING = 4
_WIDENED_SHARE = 0.1

_GRAM_ROWS = 8192
_TUNING_ROWS = 256
_THRESHOLD_ROWS = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortlist:
    """The leading principal axes of unit rows, and how many candidates they have to leave.

    Embeddings use few of their directions fully, so cosines on the leading axes come near to the
    real ones. A search reads only these axes of every row, then compares the `n_candidates`
    best in full. An answer is approximate only in whom it leaves out: similarities are exact.

    A query that lies further off the axes than nine in ten rows do gets four times the candidates:
    there the axes tell less. New kinds of queries are mostly such.

    References
    ----------
    Jégou et al. 2010, Aggregating local descriptors into a compact image representation, CVPR
    (search on principal axes); Jégou et al. 2011, Searching in one billion vectors: re-rank with
    source coding, arXiv:1102.3828 (a shortlist is compared again on better vectors).
    """

    axes: FloatMatrix  # (n_axes, n_features), orthonormal rows
    n_candidates: int
    reduced: FloatMatrix  # (n_rows, n_axes)
    covered: float  # least squared length on the axes of a query that they cover well

    @classmethod
    def of(cls, x: FloatMatrix, axes: FloatMatrix, n_candidates: int) -> Self:
        """Project the rows `x`, (n_rows, n_features), on the `axes`."""
        reduced = x @ axes.T
        covered = float(np.quantile(_energy(reduced), _WIDENED_SHARE))
        return cls(axes=axes, n_candidates=n_candidates, reduced=reduced, covered=covered)

    @classmethod
    def tuned(cls, x: FloatMatrix, k: int) -> Self | None:
        """Find the cheapest shortlist that keeps at least 0.98 of the `k` nearest rows.

        Recall is measured on rows of `x` as queries: two standard errors below it have to be 0.985.
        Draws nothing at random: the same rows give the same shortlist.

        Returns
        -------
        Shortlist | None
            None where looking at all of every row is not at least twice as dear. Rows without
            structure have no leading axes.
        """
        n_rows, n_features = x.shape
        sizes = {max(_MIN_CANDIDATES, k * times) for times in _CANDIDATES_PER_NEIGHBOUR}
        usual = 1 + (_WIDENING - 1) * _WIDENED_SHARE
        costs = {
            (n_axes, n): n_rows * n_axes + _GATHERING * n * usual * n_features
            for n_axes in _N_AXES
            for n in sorted(sizes)
        }
        choices = [choice for choice in costs if costs[choice] <= n_rows * n_features / 2]
        if not choices:
            return None
        axes = _principal_axes(x)
        queries = np.linspace(0, n_rows - 1, min(_TUNING_ROWS, n_rows)).astype(np.intp)
        nearest = nearest_others(x, queries, k)
        limit = min(_WIDENING * max(n for _, n in choices), n_rows)
        trials: dict[int, tuple[Self, np.ndarray, np.ndarray]] = {}
        for n_axes, n_candidates in sorted(choices, key=costs.__getitem__):
            if n_axes not in trials:
                trial = cls.of(x, np.ascontiguousarray(axes[:n_axes]), n_candidates)
                ranks = _ranks(trial.reduced, queries, nearest, limit=limit)
                wide = np.where(_energy(trial.reduced[queries]) < trial.covered, _WIDENING, 1)
                trials[n_axes] = trial, ranks, wide[:, None]
            trial, ranks, wide = trials[n_axes]
            found = (ranks < n_candidates * wide).mean(axis=1)
            if found.mean() - 2 * found.std() / np.sqrt(len(found)) >= _RECALL:
                return replace(trial, n_candidates=n_candidates)
        return None

    def state(self) -> dict[str, np.ndarray]:
        """Return the axes and the number of candidates; the reduced rows follow from them."""
        return {"axes": self.axes, "n_candidates": np.asarray([self.n_candidates])}

    @classmethod
    def restored(cls, state: State, x: FloatMatrix, k: int) -> Self:
        """Make the shortlist of `state` for finding `k` of the rows `x` again.

        Raises
        ------
        KeyError, ValueError
            If an array is missing or does not match the rows.
        """
        axes, counts = take(state, "axes", ndim=2), take(state, "n_candidates", ndim=1)
        if not len(axes) or axes.shape[1] != x.shape[1] or len(counts) != 1:
            raise ValueError("the axes of a shortlist do not match its rows")
        if not 2 * k <= int(counts[0]) < len(x):
            raise ValueError(f"a shortlist of {int(counts[0])} candidates cannot find {k} rows")
        return cls.of(x, np.asarray(axes, np.float32), int(counts[0]))

    def nearest(self, query: FloatVector, x: FloatMatrix, k: int) -> np.ndarray:
        """Return the numbers of the `k` rows of `x` most similar to `query`, in no order."""
        candidates = self._candidates(query)
        similarity = x.take(candidates, axis=0) @ query
        return np.asarray(candidates[largest(similarity, k)])

    def _candidates(self, query: FloatVector) -> np.ndarray:
        on_axes = self.axes @ query
        similarity = self.reduced @ on_axes
        wanted = self.n_candidates
        if on_axes @ on_axes < self.covered:
            wanted = min(_WIDENING * wanted, len(similarity))
        # Where the best begin is read off every few rows: a fifth of the time of a partition of
        # all, and it does not matter whether there are a few more or less.
        step = max(1, len(similarity) // _THRESHOLD_ROWS)
        some = similarity[::step]
        at = len(some) - max(1, wanted // step)
        found = np.flatnonzero(similarity >= np.partition(some, at)[at])
        if wanted // 2 <= len(found) <= 2 * wanted:
            return found
        # Many equal rows, or an order of rows that recurs with the step.
        return largest(similarity, wanted)


_ROUNDING = 1e-6
"""By how much products of equal float32 rows may differ, relative to their energy."""


def _energy(rows: FloatMatrix) -> FloatVector:
    return np.asarray(np.einsum("ij,ij->i", rows, rows))


def largest(values: FloatVector, k: int) -> np.ndarray:
    """Return the positions of the `k` largest of (n,) values, in no order."""
    at = len(values) - k
    # Unlike `argpartition`, `partition` of float32 is vectorised: together a third of the time.
    found = np.flatnonzero(values >= np.partition(values, at)[at])
    return found if len(found) == k else np.argpartition(values, at)[at:]


def _principal_axes(x: FloatMatrix) -> FloatMatrix:
    """Return orthonormal rows, (n_features, n_features), those of most energy first."""
    some = x[:: max(1, len(x) // _GRAM_ROWS)].astype(np.float64)
    _, vectors = np.linalg.eigh(some.T @ some)
    return np.ascontiguousarray(vectors.T[::-1], dtype=np.float32)


def nearest_others(x: FloatMatrix, queries: np.ndarray, k: int) -> np.ndarray:
    """Return the `k` nearest rows of every row in `queries`, (n_queries, k), without itself."""
    nearest = np.empty((len(queries), k), np.intp)
    for block in row_blocks(len(queries), len(x)):
        similarity = x[queries[block]] @ x.T
        similarity[np.arange(len(similarity)), queries[block]] = -np.inf
        nearest[block] = [largest(row, k) for row in similarity]
    return nearest


def _ranks(
    reduced: FloatMatrix, queries: np.ndarray, nearest: np.ndarray, *, limit: int
) -> np.ndarray:
    """Return how many other rows are more similar than each of the `nearest`, (n_queries, k).

    From `limit` on they are not counted.
    """
    ranks = np.empty(nearest.shape, np.intp)
    for block in row_blocks(len(queries), len(reduced)):
        similarity = reduced[queries[block]] @ reduced.T
        similarity[np.arange(len(similarity)), queries[block]] = -np.inf
        bar = np.take_along_axis(similarity, nearest[block], axis=1)
        similarity.partition(len(reduced) - limit, axis=1)
        best = np.sort(similarity[:, -limit:], axis=1)
        # Equal rows differ in the last bits, by where they stand in the product.
        bar += _ROUNDING * _energy(reduced[queries[block]])[:, None]
        ranks[block] = [
            limit - np.searchsorted(row, values, side="right")
            for row, values in zip(best, bar, strict=True)
        ]
    return ranks
