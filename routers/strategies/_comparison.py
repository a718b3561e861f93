"""What strategies that learn from comparisons share: comparisons in, strengths out."""

# ruff: noqa: RUF009  (unfitted() declares a field)

from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from routers.base import Comparisons, FitContext, Labels, Router
from routers.decision.pairwise import win_rates
from routers.errors import DataError
from routers.numeric import row_blocks
from routers.options import State, require_fitted, take, unfitted
from routers.strategies._lengths import Lengths
from routers.types import FloatMatrix, FloatVector, Predictions


@dataclass(kw_only=True)
class ComparisonRouter(Router):
    """Learn every model's strength on a query from comparisons.

    The quality it predicts is a model's mean chance to beat each of the others: it ranks models
    and is no share of right answers. Output lengths are every model's mean.

    Parameters
    ----------
    pairs_per_query
        How many random pairs of models compete on every query where the data are outcomes; the
        higher quality wins, equal quality is a tie.
    outcome_weight
        What such a comparison counts beside a given one, where the data hold both; published: 1.
    """

    pairs_per_query: Annotated[int, Field(ge=1)] = 10
    outcome_weight: Annotated[float, Field(gt=0)] = 1.0
    lengths_: Lengths = unfitted()
    error_: FloatVector = unfitted()  # (n_models,), of the share of comparisons won
    n_comparisons_: int = unfitted()

    def _fit(self, context: FitContext) -> None:
        # Auxiliary outcomes are of other models: they say nothing about these.
        labels, rng = context.labels, context.rng
        comparisons = comparisons_of(
            labels,
            pairs_per_query=self.pairs_per_query,
            outcome_weight=self.outcome_weight,
            rng=rng,
        )
        if len(comparisons) == 0:
            raise DataError(
                "there is nothing to compare: no query was answered by two models; add outcomes"
            )
        self.error_ = win_share_error(comparisons, len(labels.models))
        self.n_comparisons_ = len(comparisons)
        self._learn(context.x, comparisons, len(labels.models), rng=rng)
        self.lengths_ = Lengths.learn(labels)

    @abstractmethod
    def _learn(
        self, x: FloatMatrix, comparisons: Comparisons, n_models: int, *, rng: np.random.Generator
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
        """Return lengths, error and number of comparisons; strategies add what they learned."""
        require_fitted(self, "lengths_")
        return {
            **self.lengths_.state(),
            "error": self.error_,
            "n_battles": np.asarray([self.n_comparisons_]),
        }

    def _restore(self, state: State) -> None:
        self.lengths_ = Lengths.restore(state)
        self.error_ = take(state, "error", ndim=1)
        self.n_comparisons_ = int(take(state, "n_battles", ndim=1)[0])
        if len(self.error_) != len(self.lengths_.mean):
            raise ValueError("the arrays of a router from comparisons do not fit together")

    def notes(self) -> dict[str, Any]:
        """Say what quality means here, and what it was learned from."""
        return {
            "quality": "mean chance to beat each of the other models",
            "battles": self.n_comparisons_,
            "output_tokens": self.lengths_.note(),
        }


def comparisons_of(
    labels: Labels,
    *,
    pairs_per_query: int,
    outcome_weight: float = 1.0,
    rng: np.random.Generator,
) -> Comparisons:
    """Return the comparisons that the labels carry, and those that their outcomes imply.

    Parameters
    ----------
    pairs_per_query
        Of queries that carry none: how many pairs of models are drawn.
    outcome_weight
        What one of these counts beside one that is carried.

    References
    ----------
    Ong et al. 2024, RouteLLM, arXiv:2406.18665: preferences, augmented by graded answers.
    """
    given = labels.comparisons
    if given is None:
        return from_outcomes(labels.quality, pairs_per_query=pairs_per_query, rng=rng)
    graded = np.ones(len(labels), bool)
    graded[given.row] = False
    if not graded.any():
        return given
    quality = np.where(graded[:, None], labels.quality, np.nan)
    drawn = from_outcomes(quality, pairs_per_query=pairs_per_query, rng=rng)
    if len(drawn) == 0:
        return given
    return Comparisons(
        row=np.concatenate([given.row, drawn.row]),
        a=np.concatenate([given.a, drawn.a]),
        b=np.concatenate([given.b, drawn.b]),
        outcome=np.concatenate([given.outcome, drawn.outcome]),
        weight=np.concatenate(
            [given.weights, np.full(len(drawn), outcome_weight, np.float32)], dtype=np.float32
        ),
    )


def from_outcomes(
    quality: FloatMatrix, *, pairs_per_query: int, rng: np.random.Generator
) -> Comparisons:
    """Let random pairs of models compete on every query: the higher quality wins.

    Parameters
    ----------
    quality
        (n_queries, n_models); NaN where a model was not tried.
    pairs_per_query
        At most so many different pairs are drawn from those that were both tried.
    """
    n_models = quality.shape[1]
    first, second = np.triu_indices(n_models, 1)
    k = min(pairs_per_query, len(first))
    rows, pairs = [np.empty(0, np.intp)], [np.empty(0, np.intp)]
    for block in row_blocks(len(quality), len(first)):
        known = ~np.isnan(quality[block])
        key = rng.random((len(known), len(first)))
        key[~(known[:, first] & known[:, second])] = np.inf
        drawn = np.argpartition(key, k - 1, axis=1)[:, :k] if k else np.empty((len(known), 0), int)
        at, place = np.nonzero(np.isfinite(np.take_along_axis(key, drawn, axis=1)))
        rows.append(at + block.start)
        pairs.append(drawn[at, place])
    row, pair = np.concatenate(rows), np.concatenate(pairs)
    # Which of the two stands first is drawn too, so that nothing can be learned from it.
    swap = rng.random(len(row)) < 0.5
    a = np.where(swap, second[pair], first[pair])
    b = np.where(swap, first[pair], second[pair])
    outcome = (np.sign(quality[row, a] - quality[row, b]) + 1) / 2
    return Comparisons(row=row, a=a, b=b, outcome=outcome.astype(np.float32))


def win_share_error(comparisons: Comparisons, n_models: int) -> FloatVector:
    """Return the standard error of every model's share of comparisons won, (n_models,)."""
    compared = np.bincount(comparisons.a, minlength=n_models) + np.bincount(
        comparisons.b, minlength=n_models
    )
    won = np.bincount(comparisons.a, comparisons.outcome, minlength=n_models)
    won = won + np.bincount(comparisons.b, 1 - comparisons.outcome, minlength=n_models)
    # One more win and one more loss: nobody is certain after a few comparisons.
    share = (won + 1) / (compared + 2)
    return np.asarray(np.sqrt(share * (1 - share) / (compared + 2)), np.float32)
