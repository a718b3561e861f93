"""What strategies for two models share: outcomes of the pair, a head, the gap it implies."""

# ruff: noqa: RUF009  (unfitted() declares a field)

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from routers.base import FitContext, Labels, Router
from routers.decision.pairwise import logit
from routers.errors import DataError, RoutingConfigError
from routers.heads.base import Head, HeadConfig
from routers.numeric import FloatArray, nan_mean
from routers.options import State, prefixed, require_fitted, take, under, unfitted
from routers.strategies._lengths import Lengths
from routers.types import FloatMatrix, FloatVector, Predictions

_LOGISTIC = HeadConfig(kind="logistic")
_NO_GAP = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class PairOutcomes:
    """What came of the queries that both models answered.

    Attributes
    ----------
    strong, weak
        (n_queries,), mean qualities.
    strong_samples, weak_samples
        (n_queries, n_samples), the single answers; one column where models answered once.
    """

    strong: FloatArray
    weak: FloatArray
    strong_samples: FloatArray
    weak_samples: FloatArray

    @property
    def gain(self) -> FloatArray:
        """How much better the strong model was; 0 where it was not."""
        return np.asarray(np.maximum(self.strong - self.weak, 0))

    @property
    def loss(self) -> FloatArray:
        """How much worse the strong model was; 0 where it was not."""
        return np.asarray(np.maximum(self.weak - self.strong, 0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Sides:
    """Who is strong and who is weak, and what came of it where they met.

    Attributes
    ----------
    strong, weak
        Columns of the models of either side.
    row
        (n,), the queries of `outcomes`; one may stand there several times.
    """

    strong: np.ndarray
    weak: np.ndarray
    row: np.ndarray
    outcomes: PairOutcomes


@dataclass(kw_only=True)
class PairRouter(Router):
    """Predict, from the query, whether a strong model is needed or a weak one will do.

    Quality is every model's mean, corrected so that the two models of the pair differ by the gap
    that is expected on the query. The other models of the pool stand between (or beyond) the two
    in proportion to their mean quality, in quality and in strength: nothing is learned of them.

    Parameters
    ----------
    strong, weak
        Names of the two models; by default those of highest and lowest mean quality.
    head
        The classifier on the features.
    """

    strong: str | None = None
    weak: str | None = None
    head: HeadConfig = _LOGISTIC
    lengths_: Lengths = unfitted()
    head_: Head = unfitted()
    means_: FloatVector = unfitted()  # (n_models,)
    error_: FloatVector = unfitted()  # (n_models,), of the means
    place_: FloatVector = unfitted()  # (n_models,): 0 for the weak model, 1 for the strong one
    gap_: FloatVector = unfitted()  # (3,): mean gap, and what turns chances into gaps
    pair_: tuple[str, str] = unfitted()

    def _fit(self, context: FitContext) -> None:
        # Auxiliary outcomes are of other models: they say nothing about this pair.
        labels = context.labels
        means = nan_mean(labels.quality, default=0.0)
        sides = self._sides(labels, means, rng=context.rng)
        slopes = self._learn(context.x[sides.row], sides.outcomes, rng=context.rng)
        mean_gap = float((sides.outcomes.strong - sides.outcomes.weak).mean())
        self.gap_ = np.asarray([mean_gap, *slopes], np.float32)
        self.means_ = means.astype(np.float32)
        variance = nan_mean((labels.quality - means) ** 2, default=0.0)
        n_known = (~np.isnan(labels.quality)).sum(axis=0)
        self.error_ = np.sqrt((variance + 0.25) / (n_known + 1)).astype(np.float32)
        low = means[sides.weak].mean()
        apart = means[sides.strong].mean() - low
        place = np.full(len(means), 0.5) if abs(apart) < _NO_GAP else (means - low) / apart
        place[sides.strong], place[sides.weak] = 1, 0
        self.place_ = place.astype(np.float32)
        names = (", ".join(labels.models[i] for i in each) for each in (sides.strong, sides.weak))
        self.pair_ = (next(names), next(names))
        self.lengths_ = Lengths.learn(labels)

    def _sides(self, labels: Labels, means: FloatArray, *, rng: np.random.Generator) -> Sides:
        """Return the pair, and the queries that both answered."""
        del rng
        strong, weak = self._columns(labels.models, means)
        known = ~np.isnan(labels.quality)
        both = np.flatnonzero(known[:, strong] & known[:, weak])
        if len(both) == 0:
            names = f"{labels.models[strong]} and {labels.models[weak]}"
            raise DataError(f"no query was answered by both {names}; add outcomes, or name others")
        return Sides(
            strong=np.asarray([strong]),
            weak=np.asarray([weak]),
            row=both,
            outcomes=_outcomes(labels, both, strong, weak),
        )

    def _columns(self, models: Sequence[str], means: FloatArray) -> tuple[int, int]:
        columns = []
        for name, default in ((self.strong, means.argmax()), (self.weak, means.argmin())):
            if name is not None and name not in models:
                known = ", ".join(models)
                raise RoutingConfigError(f"there are no outcomes of {name!r}; known: {known}")
            columns.append(int(default) if name is None else list(models).index(name))
        if columns[0] == columns[1]:
            raise RoutingConfigError(
                f"the strong and the weak model are both {models[columns[0]]!r}; name two"
            )
        return columns[0], columns[1]

    @abstractmethod
    def _learn(
        self, x: FloatMatrix, outcomes: PairOutcomes, *, rng: np.random.Generator
    ) -> tuple[float, float]:
        """Fit `head_`; return how `_judge` turns chances into gaps."""

    @abstractmethod
    def _judge(self, x: FloatMatrix) -> tuple[FloatArray, FloatArray]:
        """Return the chance that the strong model is needed and the expected gap, (n,) each."""

    def _predict(self, x: FloatMatrix) -> Predictions:
        needed, gap = self._judge(x)
        # Half of what the gap exceeds its mean by raises the strong model, half lowers the weak.
        beyond = (gap - self.gap_[0])[:, None] * (self.place_ - 0.5)
        expected, upper = self.lengths_.rows(len(x))
        quality = np.clip(self.means_ + beyond, 0, 1).astype(np.float32)
        return Predictions(
            quality=quality,
            quality_std=np.broadcast_to(self.error_, quality.shape).copy(),
            output_tokens=expected,
            output_tokens_upper=upper,
            strength=(logit(needed)[:, None] * self.place_).astype(np.float32),
        )

    def state(self) -> dict[str, np.ndarray]:
        """Return the head's arrays and what all routers of two models keep."""
        require_fitted(self, "lengths_")
        return {
            **self.lengths_.state(),
            **prefixed("head.", self.head_.state()),
            "means": self.means_,
            "error": self.error_,
            "place": self.place_,
            "gap": self.gap_,
        }

    def _restore(self, state: State) -> None:
        self.lengths_ = Lengths.restore(state)
        self.means_, self.error_, self.place_, self.gap_ = (
            take(state, name, ndim=1) for name in ("means", "error", "place", "gap")
        )
        sizes = {len(array) for array in (self.means_, self.error_, self.place_)}
        if sizes != {len(self.lengths_.mean)} or len(self.gap_) != 3:
            raise ValueError("the arrays of a router of two models do not fit together")
        self.head_ = self.head.build().restore(under("head.", state))

    def notes(self) -> dict[str, Any]:
        """Say which models the pair is, and where the lengths come from."""
        note: dict[str, Any] = {"output_tokens": self.lengths_.note()}
        if self.pair_ is not None:
            note |= {"strong": self.pair_[0], "weak": self.pair_[1]}
        return note


def _outcomes(labels: Labels, rows: np.ndarray, strong: int, weak: int) -> PairOutcomes:
    quality = labels.quality[rows].astype(np.float64)
    samples = quality[:, :, None] if labels.samples is None else labels.samples[rows]
    # A query may tell its mean without telling the answers behind it.
    samples = np.where(np.isnan(samples).all(axis=2)[..., None], quality[:, :, None], samples)
    return PairOutcomes(
        strong=quality[:, strong],
        weak=quality[:, weak],
        strong_samples=samples[:, strong].astype(np.float64),
        weak_samples=samples[:, weak].astype(np.float64),
    )
