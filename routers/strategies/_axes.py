"""The principal axes of features, on which small models learn faster than on all columns."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from routers.options import State, take
from routers.types import FloatMatrix, FloatVector

_LEAST_EIGENVALUE = 1e-6
"""Of the largest one: below that an axis is rounding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Axes:
    """Principal components of standardised features.

    Columns that hardly vary are the noisy ones of an embedding: they are not blown up. The axes
    are scaled by `scale`, so that the first has a deviation of one.

    Attributes
    ----------
    center, components
        float32 (n_features,) and (n_features, n_axes).
    """

    center: FloatVector
    components: FloatMatrix

    @classmethod
    def of(cls, x: FloatMatrix, n_axes: int, *, whiten: float = 1.0) -> Self:
        """Learn the axes.

        Parameters
        ----------
        whiten
            1: every axis has a deviation of one. 0: they keep the proportions of the features.
        """
        wide = np.asarray(x, np.float64)
        center = wide.mean(axis=0)
        spread = wide.std(axis=0)
        scale = np.maximum(spread, np.sqrt((spread**2).mean()))
        scale = np.where(scale > 1e-8, scale, 1.0)
        z = (wide - center) / scale
        values, vectors = np.linalg.eigh(z.T @ z / len(z))
        order = np.argsort(-values)[:n_axes]
        kept = order[values[order] > _LEAST_EIGENVALUE * max(float(values.max()), 1e-12)]
        if not len(kept):
            kept = order[:1]
        deviation = np.sqrt(np.maximum(values[kept], 1e-12))
        shrink = deviation[0] ** (whiten - 1) / deviation**whiten
        vectors = vectors[:, kept] * np.sign(vectors[np.abs(vectors[:, kept]).argmax(axis=0), kept])
        components = vectors * shrink / scale[:, None]
        return cls(center=center.astype(np.float32), components=components.astype(np.float32))

    def __call__(self, x: FloatMatrix) -> FloatMatrix:
        """Return float32 (n_queries, n_axes)."""
        return np.asarray((x - self.center).dot(self.components), np.float32)

    def state(self) -> dict[str, np.ndarray]:
        """Return the arrays to store."""
        return {"axes.center": self.center, "axes.components": self.components}

    @classmethod
    def restore(cls, state: State) -> Self:
        """Read what `state` returned.

        Raises
        ------
        KeyError, ValueError
            If an array is missing or has the wrong shape.
        """
        center = take(state, "axes.center", ndim=1)
        components = take(state, "axes.components", ndim=2)
        if len(center) != len(components):
            raise ValueError("the axes of a router do not fit its features")
        return cls(center=center, components=components)
