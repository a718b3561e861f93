"""Rank models by the comparisons made on similar queries."""

# ruff: noqa: RUF009  (unfitted() declares a field)

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from routers.base import ROUTERS, Comparisons
from routers.numeric import FloatArray, row_blocks, unit_rows
from routers.options import State, take, unfitted
from routers.strategies._bradley_terry import bradley_terry, count_wins
from routers.strategies._comparison import ComparisonRouter
from routers.strategies._tiers import tiers_of
from routers.types import FloatMatrix, FloatVector


@dataclass(frozen=True, slots=True, kw_only=True)
class _TierComparisons:
    """Comparisons between tiers; arrays (n_comparisons,) as in the router, which keeps all."""

    row: np.ndarray
    pair: np.ndarray
    share: FloatVector


@ROUTERS.register("sw-ranking")
@dataclass(kw_only=True)
class SimilarityWeightedRouter(ComparisonRouter):
    """Fit a Bradley-Terry ranking for every query, on comparisons weighted by similarity.

    Comparison i weighs gamma^(1 + S_i), S_i = cos(x, x_i) / max_j cos(x, x_j). A tie is half a win
    for each. Strengths are natural log-odds, not Elo points (400 / ln 10 as many).

    Parameters
    ----------
    gamma
        How much more the most similar comparisons count.
    max_battles
        More are drawn down to so many at random when fitting; None keeps all.
    n_nearest
        Only so many of the most similar comparisons count; None counts all. Every request costs
        time in proportion.
    n_tiers
        Group the models by overall strength into at most so many tiers and rank the tiers, as
        published with 10: comparisons of many models are few per pair. None ranks the models.
    within_tiers
        Whether models of one tier keep their overall differences; published: they are equal.
    prior
        The weight of the ranking by all comparisons, equally weighted, behind that of a query; a
        near comparison weighs gamma squared, and gamma at right angles. Published: 0.
    storage
        Precision in which the queries are remembered.

    Notes
    -----
    With `n_nearest` and `max_battles` None, ten tiers, no prior and no differences within tiers it
    is the published ranking (`configs/training/sw-ranking-published.yaml`). By default models that
    never met nearby keep their overall order.

    References
    ----------
    Ong et al. 2024, RouteLLM, arXiv:2406.18665; Bradley and Terry 1952.
    """

    kind: ClassVar[str] = "sw-ranking"

    gamma: Annotated[float, Field(gt=1)] = 10.0
    max_battles: Annotated[int, Field(ge=1)] | None = 10_000
    n_nearest: Annotated[int, Field(ge=1)] | None = 500
    n_tiers: Annotated[int, Field(ge=2)] | None = None
    within_tiers: bool = True
    prior: Annotated[float, Field(ge=0)] = 1.0
    storage: Literal["float16", "float32"] = "float16"
    x_: FloatMatrix = unfitted()  # (n_queries, n_features), unit rows, those with comparisons
    row_: np.ndarray = unfitted()  # (n_comparisons,)
    pair_: np.ndarray = unfitted()  # (n_comparisons,), winner n_models + loser
    share_: FloatVector = unfitted()  # (n_comparisons,), weight; half of it for each side of a tie
    tier_: np.ndarray = unfitted()  # (n_models,), 0 for the strongest; every model its own without
    within_: FloatArray = unfitted()  # (n_models,), strength above the mean of its tier
    overall_: FloatArray = unfitted()  # (n_tiers,), strengths of all comparisons
    _comparisons: _TierComparisons = unfitted()

    def _learn(
        self, x: FloatMatrix, comparisons: Comparisons, n_models: int, *, rng: np.random.Generator
    ) -> None:
        if self.max_battles is not None and len(comparisons) > self.max_battles:
            kept = rng.choice(len(comparisons), self.max_battles, replace=False)
            comparisons = comparisons.pick(np.sort(kept))
        tie = comparisons.outcome == 0.5
        a_won = tie | (comparisons.outcome > 0.5)
        winner = np.where(a_won, comparisons.a, comparisons.b)
        loser = np.where(a_won, comparisons.b, comparisons.a)
        rows, row = np.unique(comparisons.row, return_inverse=True)
        self._remember(
            unit_rows(x[rows]).astype(self.storage),
            row=np.concatenate([row, row[tie]]).astype(np.int32),
            pair=np.concatenate(
                [winner * n_models + loser, (loser * n_models + winner)[tie]]
            ).astype(np.int32),
            share=np.concatenate(
                [np.where(tie, 0.5, 1.0) * comparisons.weights, 0.5 * comparisons.weights[tie]]
            ).astype(np.float32),
            n_models=n_models,
        )

    def _remember(
        self,
        x: np.ndarray,
        *,
        row: np.ndarray,
        pair: np.ndarray,
        share: FloatVector,
        n_models: int,
    ) -> None:
        self.x_, self.row_, self.pair_, self.share_ = x.astype(np.float32), row, pair, share
        wins = count_wins(pair, share.astype(np.float64), n_models)
        strength = bradley_terry(wins[None], np.zeros(n_models), prior=self.prior)[0]
        self.tier_ = np.arange(n_models)
        if self.n_tiers is not None:
            self.tier_ = tiers_of(strength, self.n_tiers)
        n_tiers = int(self.tier_.max()) + 1
        self.overall_ = np.bincount(self.tier_, strength) / np.bincount(self.tier_)
        self.within_ = (strength - self.overall_[self.tier_]) * self.within_tiers
        winner, loser = self.tier_[pair // n_models], self.tier_[pair % n_models]
        # Comparisons within a tier say nothing about the order of tiers.
        apart = winner != loser
        self._comparisons = _TierComparisons(
            row=row[apart], pair=(winner * n_tiers + loser)[apart], share=share[apart]
        )

    def _strengths(self, x: FloatMatrix) -> FloatMatrix:
        n_tiers = len(self.overall_)
        out = np.empty((len(x), len(self.tier_)), np.float32)
        query = unit_rows(x)
        for block in row_blocks(len(x), max(len(self.row_), 2 * n_tiers**2)):
            similarity = query[block] @ self.x_.T
            wins = np.stack([self._wins(each) for each in similarity])
            ranked = bradley_terry(wins, self.overall_, prior=self.prior)
            out[block] = ranked[:, self.tier_] + self.within_
        return out

    def _wins(self, similarity: FloatVector) -> FloatArray:
        """Return the weighted wins of every tier over every other, (n_tiers, n_tiers)."""
        n_tiers = len(self.overall_)
        pair, share = self._comparisons.pair, self._comparisons.share
        near = similarity[self._comparisons.row]
        best = similarity.max(initial=0)
        if self.n_nearest is not None and self.n_nearest < len(near):
            kept = np.argpartition(near, -self.n_nearest)[-self.n_nearest :]
            near, pair, share = near[kept], pair[kept], share[kept]
        weight = similarity_weights(near, best=best, gamma=self.gamma) * share
        return count_wins(pair, weight, n_tiers)

    def state(self) -> dict[str, np.ndarray]:
        """Return the comparisons and what all routers from comparisons keep."""
        return {
            **super().state(),
            "x": self.x_.astype(self.storage),
            "row": self.row_,
            "pair": self.pair_,
            "share": self.share_,
        }

    def _restore(self, state: State) -> None:
        super()._restore(state)
        n_models = len(self.error_)
        x = take(state, "x", ndim=2)
        row, pair, share = (take(state, name, ndim=1) for name in ("row", "pair", "share"))
        if not len(row) == len(pair) == len(share) > 0:
            raise ValueError("the comparisons of a ranking do not fit together")
        for array, bound in ((row, len(x)), (pair, n_models**2)):
            if array.min() < 0 or array.max() >= bound:
                raise ValueError("a comparison of a ranking is between models that are not known")
        self._remember(x, row=row, pair=pair, share=share, n_models=n_models)


def similarity_weights(
    similarity: NDArray[np.floating], *, best: float, gamma: float
) -> FloatArray:
    """Return gamma^(1 + S), S = similarity / best; S is 0 where nothing points the same way."""
    if best <= 0:
        return np.full(len(similarity), gamma)
    return np.asarray(gamma ** (1 + np.asarray(similarity, np.float64) / best))
