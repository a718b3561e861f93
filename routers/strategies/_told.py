"""What a written description of a model tells of the vector that was learned of it."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from routers.errors import DataError
from routers.numeric import FloatArray
from routers.options import State, take
from routers.types import FloatMatrix, FloatVector

_RIDGE = 1.0
"""Of kernel ridge regression on unit embeddings: some pool's models say little of others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """Ridge regression from embedded descriptions to vectors, in its dual form.

    A pool has fewer models than an embedding has columns: what is kept is one weight per model.

    Attributes
    ----------
    descriptions
        float32 (n_models, n_columns); no rows where none were given.
    dual
        float32 (n_models, n): weights of the centred descriptions.
    center, level
        (n_columns,) and (n,): means of descriptions and of vectors.
    """

    descriptions: FloatMatrix
    dual: FloatMatrix
    center: FloatVector
    level: FloatVector

    @classmethod
    def learn(cls, descriptions: FloatMatrix | None, vectors: FloatArray) -> Self:
        """Regress the vectors of models on their descriptions, where there are some."""
        level = np.asarray(vectors, np.float64).mean(axis=0)
        given = np.zeros((0, 0), np.float32) if descriptions is None else descriptions
        center = given.mean(axis=0) if len(given) else np.zeros(given.shape[1], np.float32)
        apart = np.asarray(given - center, np.float64)
        kernel = apart @ apart.T + _RIDGE * np.eye(len(apart))
        dual = np.linalg.solve(kernel, vectors - level) if len(apart) else np.zeros((0, len(level)))
        return cls(
            descriptions=np.asarray(given, np.float32),
            dual=dual.astype(np.float32),
            center=center.astype(np.float32),
            level=level.astype(np.float32),
        )

    @property
    def known(self) -> bool:
        """Whether there were descriptions to learn from."""
        return len(self.descriptions) > 0

    def mean(self, description: FloatVector | None, *, default: FloatArray) -> FloatArray:
        """Return what is expected of a model that is described so.

        Raises
        ------
        DataError
            If a description is given, and there were none in training.
        """
        if description is None:
            return default
        if not self.known:
            raise DataError(
                "the router was trained without descriptions of its models, so that one of another "
                "tells nothing; give some of its outcomes, or fit with --descriptions"
            )
        near = (self.descriptions - self.center) @ (description - self.center)
        return np.asarray(self.level + near @ self.dual, np.float64)

    def state(self) -> dict[str, np.ndarray]:
        """Return the arrays to store."""
        return {
            "told.descriptions": self.descriptions,
            "told.dual": self.dual,
            "told.center": self.center,
            "told.level": self.level,
        }

    @classmethod
    def restore(cls, state: State) -> Self:
        """Read what `state` returned.

        Raises
        ------
        KeyError, ValueError
            If an array is missing or has the wrong shape.
        """
        descriptions, dual = (take(state, f"told.{n}", ndim=2) for n in ("descriptions", "dual"))
        center, level = (take(state, f"told.{n}", ndim=1) for n in ("center", "level"))
        if (
            len(descriptions) != len(dual)
            or descriptions.shape[1] != len(center)
            or dual.shape[1] != len(level)
        ):
            raise ValueError("descriptions of models and what they tell do not fit together")
        return cls(descriptions=descriptions, dual=dual, center=center, level=level)
