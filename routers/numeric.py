"""Array helpers shared by heads, knob and metrics; numpy only."""

from collections.abc import Iterator
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
_Float = TypeVar("_Float", bound=np.floating[Any])

_BLOCK_FLOATS = 4_000_000
"""Largest temporary (rows x reference rows) that blocked operations make: 16 MB of float32."""

_SAME = 4e-6
"""Squared distance up to which unit rows are of the same query: half precision is finer."""


def row_blocks(n_rows: int, width: int) -> Iterator[slice]:
    """Cut `n_rows` rows so that a block times `width` columns stays within bounded memory."""
    step = max(1, _BLOCK_FLOATS // max(1, width))
    for start in range(0, n_rows, step):
        yield slice(start, min(start + step, n_rows))


def clipped(
    x: NDArray[_Float], low: float | np.floating, high: float | np.floating
) -> NDArray[_Float]:
    """Return `x` within [low, high]: what `np.clip` does, without its cost on few values."""
    return np.asarray(np.minimum(np.maximum(x, low), high), x.dtype)


def unit_rows(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale every row to length one; rows of zeros stay zero."""
    norms = np.linalg.norm(x, axis=1, keepdims=True)
    return np.asarray(x / np.where(norms > 0, norms, 1), dtype=np.float32)


def equal_rows(held: NDArray[np.float32], x: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return which rows are equal to one of `x` but for rounding, bool (n_rows,)."""
    found = np.zeros(len(held), bool)
    sizes = np.einsum("ij,ij->i", x, x)
    for block in row_blocks(len(held), len(x)):
        rows = held[block]
        apart = np.einsum("ij,ij->i", rows, rows)[:, None] + sizes - 2 * rows @ x.T
        found[block] = (apart <= _SAME).any(axis=1)
    return found


def nan_mean(y: NDArray[np.floating], *, default: float) -> FloatArray:
    """Average every column over its known values; `default` where a column has none."""
    known = ~np.isnan(y)
    count = known.sum(axis=0)
    total = np.where(known, y, 0).sum(axis=0, dtype=np.float64)
    return np.where(count > 0, total / np.maximum(count, 1), default)


def isotonic(y: FloatArray, weight: FloatArray | None = None) -> FloatArray:
    """Return the non-decreasing sequence nearest to `y` in (weighted) least squares.

    Pool adjacent violators, in one pass with a stack of blocks.

    References
    ----------
    Barlow et al. 1972, Statistical Inference under Order Restrictions.
    """
    values: list[float] = []
    weights: list[float] = []
    counts: list[int] = []
    w = np.ones(len(y)) if weight is None else weight
    for value, mass in zip(y.tolist(), w.tolist(), strict=True):
        values.append(value)
        weights.append(mass)
        counts.append(1)
        while len(values) > 1 and values[-2] >= values[-1]:
            total = weights[-2] + weights[-1]
            values[-2] = (values[-2] * weights[-2] + values[-1] * weights[-1]) / total
            weights[-2] = total
            counts[-2] += counts[-1]
            values.pop()
            weights.pop()
            counts.pop()
    return np.repeat(np.asarray(values), counts)


def sigmoid(logit: NDArray[np.floating]) -> FloatArray:
    """Return 1 / (1 + exp(-logit)) without overflow, in double precision."""
    return np.asarray(0.5 * (1 + np.tanh(np.asarray(logit, np.float64) / 2)))


def upper_hull(cost: FloatArray, quality: FloatArray) -> NDArray[np.intp]:
    """Return which points are on the upper concave, non-decreasing hull, by ascending cost."""
    order = np.lexsort((-quality, cost))
    kept: list[tuple[float, float]] = []
    at: list[int] = []
    for i, x, y in zip(order.tolist(), cost[order].tolist(), quality[order].tolist(), strict=True):
        if kept and y <= kept[-1][1]:
            continue
        while len(kept) > 1 and _above(kept[-2], kept[-1], (x, y)):
            kept.pop()
            at.pop()
        kept.append((x, y))
        at.append(i)
    return np.asarray(at, np.intp)


def _above(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> bool:
    """Whether the chord from a to c passes over b."""
    return (b[1] - a[1]) * (c[0] - a[0]) <= (c[1] - a[1]) * (b[0] - a[0])
