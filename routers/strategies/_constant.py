"""What strategies share that know every model's mean and nothing of the query."""

# ruff: noqa: RUF009  (unfitted() declares a field)

from dataclasses import dataclass
from typing import Any

import numpy as np

from routers.base import FitContext, Router
from routers.numeric import nan_mean
from routers.options import State, require_fitted, take, unfitted
from routers.strategies._lengths import Lengths
from routers.types import FloatMatrix, FloatVector, Predictions


@dataclass(kw_only=True)
class ConstantRouter(Router):
    """Predict the same quality for every query: `_score` of the training means."""

    quality_: FloatVector = unfitted()  # (n_models,), what is predicted
    error_: FloatVector = unfitted()  # (n_models,), standard error of the means
    lengths_: Lengths = unfitted()

    def _fit(self, context: FitContext) -> None:
        labels = context.labels
        means = nan_mean(labels.quality, default=0.0)
        variance = nan_mean((labels.quality - means) ** 2, default=0.0)
        known = (~np.isnan(labels.quality)).sum(axis=0)
        self.error_ = np.sqrt(variance / known).astype(np.float32)
        self.quality_ = np.clip(self._score(means), 0, 1).astype(np.float32)
        self.lengths_ = Lengths.learn(labels)

    def _score(self, means: np.ndarray) -> np.ndarray:
        """Return what is predicted of every model, given its mean quality."""
        return means

    def _predict(self, x: FloatMatrix) -> Predictions:
        shape = (len(x), len(self.quality_))
        expected, upper = self.lengths_.rows(len(x))
        return Predictions(
            quality=np.broadcast_to(self.quality_, shape).copy(),
            quality_std=np.broadcast_to(self.error_, shape).copy(),
            output_tokens=expected,
            output_tokens_upper=upper,
        )

    def state(self) -> dict[str, np.ndarray]:
        """Return what is predicted."""
        require_fitted(self, "lengths_")
        return {**self.lengths_.state(), "quality": self.quality_, "error": self.error_}

    def _restore(self, state: State) -> None:
        self.lengths_ = Lengths.restore(state)
        self.quality_, self.error_ = (take(state, name, ndim=1) for name in ("quality", "error"))
        if {len(self.quality_), len(self.error_)} != {len(self.lengths_.mean)}:
            raise ValueError("the arrays of a constant router do not fit together")

    def notes(self) -> dict[str, Any]:
        """Say where the lengths come from."""
        return {"output_tokens": self.lengths_.note()}
