"""A monotone correction of predicted quality, learned from fresh outcomes after training."""

import dataclasses
from dataclasses import dataclass
from typing import Self

import numpy as np

from routers.options import State, take
from routers.types import FloatMatrix, Predictions


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Correction:
    """Per model a strictly increasing, piecewise linear map of predicted quality.

    Attributes
    ----------
    at
        float32 (n_models, n_knots), predicted quality, strictly increasing from 0 to 1.
    to
        float32 (n_models, n_knots), corrected quality in [0, 1], non-decreasing.
    """

    at: FloatMatrix
    to: FloatMatrix

    def __post_init__(self) -> None:
        sound = (
            self.at.ndim == 2
            and self.at.shape == self.to.shape
            and self.at.shape[1] >= 2
            and bool((np.diff(self.at, axis=1) > 0).all())
            and bool((np.diff(self.to, axis=1) >= 0).all())
            and bool(((self.to >= 0) & (self.to <= 1)).all())
        )
        if not sound:
            raise ValueError("a correction must map quality to quality without reversing it")

    def quality(self, quality: FloatMatrix) -> FloatMatrix:
        """Return corrected quality, float32 (n_queries, n_models)."""
        columns = [
            np.interp(quality[:, model], at, to)
            for model, (at, to) in enumerate(zip(self.at, self.to, strict=True))
        ]
        return np.stack(columns, axis=1).astype(np.float32)

    def apply(self, predictions: Predictions) -> Predictions:
        """Correct the quality of predictions; everything else stays as it is."""
        return dataclasses.replace(predictions, quality=self.quality(predictions.quality))

    def state(self) -> dict[str, np.ndarray]:
        """Return the knots as plain arrays."""
        return {"at": self.at, "to": self.to}

    @classmethod
    def restore(cls, state: State) -> Self:
        """Read what `state` returned.

        Raises
        ------
        KeyError, ValueError
            If an array is missing or the map is not monotone.
        """
        return cls(at=take(state, "at", ndim=2), to=take(state, "to", ndim=2))
