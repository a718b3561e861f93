"""Labelled queries whose models are compared pair by pair with one of them, the pinned model."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from routers.numeric import FloatArray, equal_rows, nan_mean
from routers.types import FloatMatrix

_PRIOR_LENGTHS = 8.0
"""Answers of usual length that a neighbourhood's mean length is shrunk with."""


@dataclass(frozen=True, slots=True, eq=False)
class Sums:
    """Values of labelled queries, laid out so that one product sums those of neighbours."""

    columns: FloatMatrix  # (n_queries, 3 * n_models): whether known, the value, its square

    @classmethod
    def of(cls, values: FloatMatrix) -> Self:
        """Lay out values, (n_queries, n_models); NaN where one is not known."""
        known = ~np.isnan(values)
        filled = np.where(known, values, 0).astype(np.float32)
        return cls(np.hstack([known.astype(np.float32), filled, filled**2]))


@dataclass(frozen=True, slots=True, eq=False)
class PairedRows:
    """Labelled queries; arrays are float32 (n_queries, n_models), NaN for what is not known.

    Attributes
    ----------
    x
        (n_queries, n_features), unit rows.
    y
        Qualities.
    paired
        By how much a model was better than the pinned one.
    tokens
        Output tokens; None where none are learned.
    levels, pairs, sizes
        Of qualities, of `paired`, and of output tokens.
    """

    x: FloatMatrix
    y: FloatMatrix
    paired: FloatMatrix
    tokens: FloatMatrix | None
    levels: Sums
    pairs: Sums
    sizes: Sums

    @classmethod
    def of(
        cls, x: FloatMatrix, y: FloatMatrix, paired: FloatMatrix, tokens: FloatMatrix | None
    ) -> Self:
        """Hold such rows."""
        sizes = np.full_like(y, np.nan) if tokens is None else tokens
        return cls(x, y, paired, tokens, Sums.of(y), Sums.of(paired), Sums.of(sizes))

    def __len__(self) -> int:
        return len(self.x)

    def without(self, x: FloatMatrix) -> np.ndarray:
        """Return which rows are none of `x`, bool (n_queries,)."""
        return ~equal_rows(self.x, x)

    def pick(self, rows: np.ndarray) -> "PairedRows":
        """Return some of the rows, by a mask."""
        tokens = None if self.tokens is None else self.tokens[rows]
        return PairedRows.of(self.x[rows], self.y[rows], self.paired[rows], tokens)

    def then(self, further: "PairedRows") -> "PairedRows":
        """Return these rows and further ones."""

        def joined(a: np.ndarray, b: np.ndarray) -> np.ndarray:
            return np.concatenate([a, b])

        tokens = self.tokens
        if tokens is not None and further.tokens is not None:
            tokens = joined(tokens, further.tokens)
        return PairedRows(
            joined(self.x, further.x),
            joined(self.y, further.y),
            joined(self.paired, further.paired),
            tokens,
            Sums(joined(self.levels.columns, further.levels.columns)),
            Sums(joined(self.pairs.columns, further.pairs.columns)),
            Sums(joined(self.sizes.columns, further.sizes.columns)),
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Overall:
    """What is believed without neighbours; arrays over models are float64 (n_models,).

    Attributes
    ----------
    mean, variance
        Of qualities.
    paired_variance
        Of differences from the pinned model.
    difference
        Their mean, but never positive.
    """

    mean: FloatArray
    variance: FloatArray
    paired_variance: FloatArray
    difference: FloatArray

    @classmethod
    def of(cls, rows: PairedRows, pinned: int, *, min_pairs: int) -> Self:
        """Average over rows; fewer pairs than `min_pairs` are not believed."""
        y, paired = rows.y, rows.paired
        mean = nan_mean(y, default=0.0)
        difference = nan_mean(paired, default=0.0)
        # Few pairs tell less than the means do, though these are of other queries.
        few = (~np.isnan(paired)).sum(axis=0) < min_pairs
        difference = np.where(few, mean - mean[pinned], difference)
        return cls(
            mean=mean,
            variance=nan_mean((y - mean) ** 2, default=0.0),
            paired_variance=nan_mean((paired - difference) ** 2, default=0.0),
            difference=np.minimum(difference, 0.0),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Near:
    """Which rows are neighbours of queries.

    Attributes
    ----------
    parts
        Rows, and float32 (n_queries, n_rows): 1 where one is a neighbour.
    """

    parts: Sequence[tuple[PairedRows, FloatMatrix]]

    def levels(self, prior_variance: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return mean, its standard error and count of qualities, (n_queries, n_models) each.

        Without a known neighbour the mean is 0 and its error that of a single observation.
        """
        return _means(sum(near @ rows.levels.columns for rows, near in self.parts), prior_variance)

    def pairs(self, prior_variance: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return the same of differences from the pinned model."""
        return _means(sum(near @ rows.pairs.columns for rows, near in self.parts), prior_variance)

    def tokens(self, prior: FloatMatrix) -> FloatMatrix:
        """Return mean output tokens, shrunk toward `prior`; (n_queries, n_models) both."""
        sums = sum(near @ rows.sizes.columns for rows, near in self.parts)
        count, total, _ = np.split(np.asarray(sums), 3, axis=1)
        return np.asarray((total + _PRIOR_LENGTHS * prior) / (count + _PRIOR_LENGTHS), np.float32)


def _means(
    sums: FloatMatrix | int, prior_variance: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    count, total, square = np.split(np.asarray(sums, np.float64), 3, axis=1)
    n = np.maximum(count, 1)
    mean = total / n
    scatter = np.maximum(square - count * mean**2, 0.0)
    variance = (scatter + prior_variance) / (count + 1)
    return mean, np.sqrt(variance / n), count
