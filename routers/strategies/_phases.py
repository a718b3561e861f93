"""Draws that look random but belong to a query: the same query, the same draw."""

from typing import Self

import numpy as np

from routers.numeric import FloatArray, row_blocks
from routers.types import FloatMatrix

_TURNS = 300.0
"""Standard deviation of a phase over the training queries, in turns.

So large that the fraction of a turn is uniform and unrelated for queries that differ at all, and
so small that rounding in the seventh digit of a feature, which depends on the size of a batch,
moves a draw by less than 1e-3: a digest of the bytes would change altogether.
"""


class Phases:
    """Fractions of random linear functions of the features.

    Parameters
    ----------
    directions
        float64 (n_features, n_draws).
    """

    def __init__(self, directions: FloatArray) -> None:
        self.directions = directions

    @classmethod
    def learn(cls, x: FloatMatrix, n_draws: int, *, rng: np.random.Generator) -> Self:
        """Choose directions at random, and their scale by how much queries differ."""
        directions = rng.standard_normal((x.shape[1], n_draws))
        spread = (x.astype(np.float64) @ directions).std(axis=0)
        return cls(directions * _TURNS / np.where(spread > 1e-9, spread, 1.0))

    def draw(self, x: FloatMatrix) -> FloatArray:
        """Return draws in (0, 1), (n_queries, n_draws); uniform over different queries."""
        out = np.empty((len(x), self.directions.shape[1]))
        for block in row_blocks(len(x), 2 * x.shape[1]):
            # Summed feature by feature: matrix products round differently for batches.
            out[block] = np.einsum("nd,dk->nk", x[block].astype(np.float64), self.directions)
        return np.clip(out % 1.0, 1e-12, 1 - 1e-12)
