"""Latent semantics: counts of many terms, weighted by rarity and reduced to a few directions."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from routers.options import take
from routers.types import FloatMatrix, FloatVector

Counted: TypeAlias = tuple[np.ndarray, np.ndarray]
"""Columns of the terms in a text, and their damped counts."""

_SMALL_SET = 20
"""Columns are at most the number of training queries over this: more would be noise."""


@dataclass(frozen=True, slots=True)
class Directions:
    """Directions as int8 with a scale per term, the term's rarity folded into the scale.

    Attributes
    ----------
    table
        int8 (n_terms, n_directions).
    scales
        float32 (n_terms,).

    References
    ----------
    Deerwester et al. 1990, Indexing by latent semantic analysis.
    """

    table: np.ndarray
    scales: FloatVector

    @classmethod
    def none(cls, n_terms: int = 0) -> "Directions":
        """Return no direction of so many terms."""
        return cls(np.zeros((n_terms, 0), np.int8), np.zeros(n_terms, np.float32))

    @classmethod
    def learn(
        cls, rows: Sequence[Counted], frequency: np.ndarray, *, most: int, seed: int
    ) -> "Directions":
        """Find the directions along which texts differ most.

        Parameters
        ----------
        rows
            The training texts.
        frequency
            (n_terms,), in how many of them each term occurs.
        most
            How many directions there are at most.
        """
        from scipy.sparse import csr_matrix  # noqa: PLC0415  (training only)
        from sklearn.utils.extmath import randomized_svd  # noqa: PLC0415

        n_texts, n_terms = len(rows), len(frequency)
        rarity = np.log((1 + n_texts) / (1 + frequency)) + 1
        indptr = np.cumsum([0, *(len(columns) for columns, _ in rows)])
        data = np.concatenate([values for _, values in rows] or [np.zeros(0)])
        columns = np.concatenate([columns for columns, _ in rows] or [np.zeros(0, int)])
        matrix = csr_matrix((data * rarity[columns], columns, indptr), (n_texts, n_terms))
        norms = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1))).ravel()
        matrix = csr_matrix(matrix.multiply(1 / np.where(norms > 0, norms, 1)[:, None]))
        n = min(most, n_texts // _SMALL_SET, n_terms - 1)
        if n < 1:
            return cls.none(n_terms)
        _, _, directions = randomized_svd(matrix, n, random_state=seed)
        weighted = directions.T * rarity[:, None]
        largest = np.abs(weighted).max(axis=1)
        scales = (np.where(largest > 0, largest, 1) / 127).astype(np.float32)
        return cls(np.round(weighted / scales[:, None]).astype(np.int8), scales)

    @property
    def n(self) -> int:
        """How many there are."""
        return int(self.table.shape[1])

    def project(self, texts: Iterator[Counted], n_texts: int) -> FloatMatrix:
        """Return float32 (n_texts, n), rows of unit norm, or zero where no term is known."""
        out = np.zeros((n_texts, self.n), np.float32)
        for row, (columns, values) in enumerate(texts):
            if len(columns) == 0 or self.n == 0:
                continue
            scaled = values * self.scales.take(columns)
            vector = scaled.dot(self.table.take(columns, axis=0).astype(np.float32))
            norm = math.sqrt(vector.dot(vector))
            if norm > 0:
                np.divide(vector, norm, out=out[row])
        return out

    def state(self) -> dict[str, np.ndarray]:
        """Return the arrays to store."""
        return {"table": self.table, "scales": self.scales}

    @classmethod
    def restore(cls, state: Mapping[str, np.ndarray], n_terms: int) -> "Directions":
        """Read what `state` returned.

        Raises
        ------
        KeyError, ValueError
            If an array is missing or there are not as many rows as terms.
        """
        table, scales = take(state, "table", ndim=2), take(state, "scales", ndim=1)
        if not n_terms == len(table) == len(scales):
            raise ValueError("terms, directions and scales are not equally many")
        return cls(table, scales)


def damped(n: int) -> FloatVector:
    """Return 1 + ln(count) for the counts from 0 to n; nothing asks for that of 0."""
    return 1 + np.log(np.maximum(np.arange(n + 1, dtype=np.float32), 1))
