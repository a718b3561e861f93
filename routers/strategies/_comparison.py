"""What strategies that learn from comparisons share: battles in, strengths out."""

# ruff: noqa: RUF009  (unfitted() declares a field)

from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from routers.base import Battles, FitContext, Router
from routers.decision.pairwise import win_rates
from routers.errors import DataError
from routers.options import State, require_fitted, take, unfitted
from routers.strategies._battles import battles_of, win_share_error
from routers.strategies._lengths import Lengths
from routers.types import FloatMatrix, FloatVector, Predictions


@dataclass(kw_only=True)
class ComparisonRouter(Router):
    """Learn every model's strength on a query from battles.

    The quality it predicts is a model's mean chance to beat each of the others: it ranks models
    and is no share of right answers. Output lengths are every model's mean.

    Parameters
    ----------
    pairs_per_query
        How many random pairs of models compete on every query where the data are outcomes; the
        higher quality wins, equal quality is a tie.
    """

    pairs_per_query: Annotated[int, Field(ge=1)] = 10
    lengths_: Lengths = unfitted()
    error_: FloatVector = unfitted()  # (n_models,), of the share of battles won
    n_battles_: int = unfitted()

    def _fit(self, context: FitContext) -> None:
        # Auxiliary outcomes are of other models: they say nothing about these.
        labels, rng = context.labels, context.rng
        battles = battles_of(labels, pairs_per_query=self.pairs_per_query, rng=rng)
        if len(battles) == 0:
            raise DataError(
                "there is nothing to compare: no query was answered by two models; add outcomes"
            )
        self.error_ = win_share_error(battles, len(labels.models))
        self.n_battles_ = len(battles)
        self._learn(context.x, battles, len(labels.models), rng=rng)
        self.lengths_ = Lengths.learn(labels)

    @abstractmethod
    def _learn(
        self, x: FloatMatrix, battles: Battles, n_models: int, *, rng: np.random.Generator
    ) -> None: ...

    @abstractmethod
    def _strengths(self, x: FloatMatrix) -> FloatMatrix:
        """Return float32 (n_queries, n_models)."""

    def _predict(self, x: FloatMatrix) -> Predictions:
        strength = self._strengths(x)
        expected, upper = self.lengths_.rows(len(x))
        return Predictions(
            quality=win_rates(strength),
            quality_std=np.broadcast_to(self.error_, strength.shape).copy(),
            output_tokens=expected,
            output_tokens_upper=upper,
            strength=strength,
        )

    def state(self) -> dict[str, np.ndarray]:
        """Return lengths, error and number of battles; strategies add what they learned."""
        require_fitted(self, "lengths_")
        return {
            **self.lengths_.state(),
            "error": self.error_,
            "n_battles": np.asarray([self.n_battles_]),
        }

    def _restore(self, state: State) -> None:
        self.lengths_ = Lengths.restore(state)
        self.error_ = take(state, "error", ndim=1)
        self.n_battles_ = int(take(state, "n_battles", ndim=1)[0])
        if len(self.error_) != len(self.lengths_.mean):
            raise ValueError("the arrays of a router from comparisons do not fit together")

    def notes(self) -> dict[str, Any]:
        """Say what quality means here, and what it was learned from."""
        return {
            "quality": "mean chance to beat each of the other models",
            "battles": self.n_battles_,
            "output_tokens": self.lengths_.note(),
        }
