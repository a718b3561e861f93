"""Classify who wins between a strong and a weak model, from an encoder's features."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from routers.base import ROUTERS, Comparisons, Labels
from routers.errors import DataError, RoutingConfigError
from routers.numeric import FloatArray
from routers.strategies._bradley_terry import overall_strengths
from routers.strategies._comparison import comparisons_of
from routers.strategies._pair import PairOutcomes, PairRouter, Sides
from routers.strategies._tiers import tiers_of
from routers.types import FloatMatrix

_WIN, _TIE, _LOSE = 0, 1, 2
_STRONG_TIERS, _WEAK_TIER = 2, 2
"""The first two tiers are strong, the third (numbered 2) is weak."""


@ROUTERS.register("bert")
@dataclass(kw_only=True)
class BertRouter(PairRouter):
    """Predict win, tie or loss of the strong model; only a win makes it worth calling.

    P(strong wins) = 1 - (P(tie) + P(weak wins)). The encoder is whatever embedder the
    recipe names (`sentence-transformers` for a transformer, as it comes or fine-tuned before by
    `steelyard fine-tune`), and `head` is what is trained on it, one output per class, normalised
    to sum to one.

    Parameters
    ----------
    n_tiers
        Learn from the comparisons of many models instead, as published with 10: the models are
        ranked and grouped into so many tiers, those of the first two count as the strong model and
        those of the third as the weak one. Of a single pair an arena has next to no comparisons.
    pairs_per_query
        With tiers, how many random pairs of models compete on every query of outcomes.

    References
    ----------
    Ong et al. 2024, RouteLLM, arXiv:2406.18665, whose encoder is trained with the head.
    """

    kind: ClassVar[str] = "bert"

    n_tiers: Annotated[int, Field(ge=3)] | None = None
    pairs_per_query: Annotated[int, Field(ge=1)] = 10

    def _sides(self, labels: Labels, means: FloatArray, *, rng: np.random.Generator) -> Sides:
        if self.n_tiers is None:
            return super()._sides(labels, means, rng=rng)
        if self.strong is not None or self.weak is not None:
            raise RoutingConfigError(
                "with n_tiers the strong and the weak models are found: leave strong and weak out"
            )
        return sides_of_tiers(labels, self.n_tiers, pairs_per_query=self.pairs_per_query, rng=rng)

    def _learn(
        self, x: FloatMatrix, outcomes: PairOutcomes, *, rng: np.random.Generator
    ) -> tuple[float, float]:
        won, lost = outcomes.gain > 0, outcomes.loss > 0
        classes = np.stack([won, ~(won | lost), lost], axis=1).astype(np.float32)
        self.head_ = self.head.build().fit(x, classes, rng=rng)
        chance = self._classes(x).mean(axis=0)
        # Mean gains per predicted chance, so that the expected gap is right on average.
        return (
            float(outcomes.gain.mean() / chance[_WIN]),
            float(outcomes.loss.mean() / chance[_LOSE]),
        )

    def _classes(self, x: FloatMatrix) -> FloatArray:
        raw = np.clip(self.head_.predict_mean(x).astype(np.float64), 1e-6, 1)
        return np.asarray(raw / raw.sum(axis=1, keepdims=True))

    def _judge(self, x: FloatMatrix) -> tuple[FloatArray, FloatArray]:
        chance = self._classes(x)
        gap = self.gap_[1] * chance[:, _WIN] - self.gap_[2] * chance[:, _LOSE]
        return 1 - (chance[:, _TIE] + chance[:, _LOSE]), gap


def sides_of_tiers(
    labels: Labels, n_tiers: int, *, pairs_per_query: int, rng: np.random.Generator
) -> Sides:
    """Group the models into tiers, and take a comparison between two sides for one of the pair.

    Parameters
    ----------
    pairs_per_query
        How many random pairs of models compete on every query of outcomes.

    Raises
    ------
    DataError
        If the models make fewer than three tiers, or those of the two sides never met.
    """
    comparisons = comparisons_of(labels, pairs_per_query=pairs_per_query, rng=rng)
    return _of_tiers(comparisons, labels.models, n_tiers)


def _of_tiers(comparisons: Comparisons, models: Sequence[str], n_tiers: int) -> Sides:
    if len(comparisons) == 0:
        raise DataError(
            "there is nothing to compare: no query was answered by two models; add outcomes"
        )
    tier = tiers_of(overall_strengths(comparisons, len(models)), n_tiers)
    strong, weak = np.flatnonzero(tier < _STRONG_TIERS), np.flatnonzero(tier == _WEAK_TIER)
    if len(weak) == 0:
        raise DataError(
            f"{len(models)} models make {int(tier.max()) + 1} tiers; strong and weak ones take "
            "three: bring comparisons of more models, or leave n_tiers out"
        )
    a_strong = np.isin(comparisons.a, strong) & np.isin(comparisons.b, weak)
    b_strong = np.isin(comparisons.b, strong) & np.isin(comparisons.a, weak)
    met = a_strong | b_strong
    if not met.any():
        raise DataError("no model of the first two tiers ever met one of the third; add battles")
    quality = np.where(a_strong, comparisons.outcome, 1 - comparisons.outcome)[met]
    quality = quality.astype(np.float64)
    return Sides(
        strong=strong,
        weak=weak,
        row=comparisons.row[met],
        outcomes=PairOutcomes(
            strong=quality,
            weak=1 - quality,
            strong_samples=quality[:, None],
            weak_samples=1 - quality[:, None],
        ),
    )
