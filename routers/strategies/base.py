"""A strategy in two methods: what most routers of one's own have to say is quality alone."""

# ruff: noqa: RUF009  (unfitted() declares a field)

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from routers.base import FitContext, Router
from routers.errors import DataError
from routers.numeric import FloatArray, nan_mean
from routers.options import State, prefixed, require_fitted, take, under, unfitted
from routers.strategies._lengths import Lengths
from routers.types import FloatMatrix, FloatVector, Predictions

_LEARNED = "learned."


@dataclass(kw_only=True)
class QualityRouter(Router):
    """Learn some arrays of the outcomes, and tell every model's quality from them.

    Derive from it, write `learn` and `quality`, and register the class under a name; its fields
    are options of recipes. Lengths of answers are every model's mean, whatever the query, and the
    uncertainty of quality that of the means: derive from `Router` to predict these, too.
    """

    learned_: dict[str, np.ndarray] = unfitted()
    error_: FloatVector = unfitted()  # (n_models,), standard error of the mean quality
    lengths_: Lengths = unfitted()

    @abstractmethod
    def learn(
        self, x: FloatMatrix, quality: FloatMatrix, *, rng: np.random.Generator
    ) -> Mapping[str, np.ndarray]:
        """Return what `quality` needs as named arrays of numbers; they are what is stored.

        Parameters
        ----------
        x
            float32 (n_queries, n_features).
        quality
            float32 (n_queries, n_models) in [0, 1]; NaN where a model was not tried.
        rng
            The only source of randomness: the same seed has to give the same router.
        """

    @abstractmethod
    def quality(self, x: FloatMatrix, learned: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return every model's expected quality, (n_queries, n_models); it is clipped to [0, 1].

        Parameters
        ----------
        x
            float32 (n_queries, n_features).
        learned
            What `learn` returned.
        """

    def _fit(self, context: FitContext) -> None:
        quality = context.labels.quality
        means: FloatArray = nan_mean(quality, default=0.0)
        variance = nan_mean((quality - means) ** 2, default=0.0)
        self.error_ = np.sqrt(variance / (~np.isnan(quality)).sum(axis=0)).astype(np.float32)
        self.lengths_ = Lengths.learn(context.labels)
        learned = self.learn(context.x, quality, rng=context.rng)
        self.learned_ = {name: np.asarray(array) for name, array in learned.items()}

    def _predict(self, x: FloatMatrix) -> Predictions:
        shape = (len(x), len(self.error_))
        quality = np.asarray(self.quality(x, self.learned_), np.float32)
        if quality.shape != shape or not np.isfinite(quality).all():
            returned = f"{quality.shape}"
            if quality.shape == shape:
                returned = f"{(~np.isfinite(quality)).sum()} that are NaN or infinite"
            raise DataError(
                f"{type(self).__name__}.quality has to return finite numbers of shape {shape}, "
                f"one row a query and one column a model; it returned {returned}"
            )
        expected, upper = self.lengths_.rows(len(x))
        return Predictions(
            quality=np.clip(quality, 0, 1),
            quality_std=np.broadcast_to(self.error_, shape).copy(),
            output_tokens=expected,
            output_tokens_upper=upper,
        )

    def state(self) -> dict[str, np.ndarray]:
        """Return what was learned."""
        require_fitted(self, "learned_")
        return {
            **self.lengths_.state(),
            "error": self.error_,
            **prefixed(_LEARNED, self.learned_),
        }

    def _restore(self, state: State) -> None:
        self.lengths_ = Lengths.restore(state)
        self.error_ = take(state, "error", ndim=1)
        self.learned_ = under(_LEARNED, state)
        if len(self.error_) != len(self.lengths_.mean):
            raise ValueError("the arrays of a router do not fit together")
