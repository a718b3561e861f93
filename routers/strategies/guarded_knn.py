"""The best single model, left only where neighbours give evidence: kNN with a guard."""

# ruff: noqa: RUF009  (unfitted() declares a field)

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field

from routers.base import ROUTERS, FitContext, Labels, Router
from routers.errors import DataError
from routers.numeric import FloatArray, equal_rows, nan_mean, row_blocks, unit_rows
from routers.options import State, require_fitted, take, unfitted
from routers.strategies._lengths import Lengths
from routers.types import FloatMatrix, FloatVector, Predictions

_KEEPS = 1e-5
"""By how much the pinned model leads what nothing distinguishes from it: enough to win at the
position 1 of the knob, where equal qualities go to the cheaper one."""

_PRIOR_LENGTHS = 8.0
"""Answers of usual length that a neighbourhood's mean length is shrunk with."""


@ROUTERS.register("guarded-knn")
@dataclass(kw_only=True)
class GuardedKnnRouter(Router):
    """Pin the best single model; let others differ from it only as far as neighbours prove it.

    The neighbours of a query are the labelled ones above `relative_bar` times the `anchor`-th best
    similarity: many where much is alike, few where little is. On those that tried both, a model's
    quality is compared with the pinned one's *pair by pair*, so that hard neighbourhoods do not
    count against either. The pinned model is the one of best mean quality; of equals the cheaper.

    What is predicted of another model is the pinned one's quality plus a difference. Without
    evidence that is the models' difference over all rows, which is never positive. Evidence moves
    it toward the neighbours' mean difference, but by no more than what exceeds `z` standard errors
    (a soft threshold around the overall difference), and only if there are `min_pairs` pairs. Two
    things follow:

    - at the position 1 of the knob the pinned model is chosen, unless a mean difference over the
      neighbours is above zero by more than `z` standard errors: the published rule. Ties go to the
      pinned model;
    - at lower positions a cheaper model is taken at its overall difference, and sooner or later
      than that only where the same evidence says so. Without evidence anywhere the knob follows the
      hull of single models.

    Absolute qualities are the pinned model's, guarded by the same threshold around its mean.
    Lengths of answers are the neighbours' means, shrunk toward the model's.

    Parameters
    ----------
    anchor, relative_bar
        Which similarity the bar is relative to, and how near to it a neighbour has to come.
    z
        Standard errors that are not believed.
    dearer_factor
        What `z` is multiplied by where the evidence favours a model that was dearer than the
        pinned one in training. Where costs are not known every model counts as dearer.
    min_pairs
        Fewer pairs are no evidence.
    storage
        Precision in which the labelled queries are remembered, from the first on.

    Notes
    -----
    A standard error counts one observation of the overall variance beside the pairs, so that the
    agreement of a few is not taken for certainty.

    References
    ----------
    experientiallabs/experiential, pull requests 256, 259 and 263 (2026): of some 1,500
    configurations tried on nine models this was the one that survived validation, at z = 0.5. There
    neighbours are weighted by similarity and a candidate is either taken or not; here they count
    alike, and the size of what clears the guard is kept, which the other positions of the knob
    need. Donoho & Johnstone 1994, Ideal spatial adaptation by wavelet shrinkage (soft threshold).
    """

    kind: ClassVar[str] = "guarded-knn"

    anchor: Annotated[int, Field(ge=1)] = 50
    relative_bar: Annotated[float, Field(gt=0, le=1)] = 0.95
    z: Annotated[float, Field(ge=0)] = 0.5
    dearer_factor: Annotated[float, Field(ge=1)] = 2.0
    min_pairs: Annotated[int, Field(ge=2)] = 8
    storage: Literal["float16", "float32"] = "float16"
    x_: FloatMatrix = unfitted()  # (n_queries, n_features), unit rows
    y_: FloatMatrix = unfitted()  # (n_queries, n_models), NaN where a model was not tried
    tokens_: FloatMatrix | None = unfitted()  # the same; None where nothing is known
    pinned_: int = unfitted()
    dearer_: np.ndarray = unfitted()  # bool (n_models,), dearer than the pinned one, or unknown
    lengths_: Lengths = unfitted()
    overall_: "_Overall" = unfitted()
    levels_: "_Sums" = unfitted()  # of qualities
    pairs_: "_Sums" = unfitted()  # of qualities minus those of the pinned model
    sizes_: "_Sums" = unfitted()  # of output tokens

    def _fit(self, context: FitContext) -> None:
        x, labels = context.x, context.labels
        means = nan_mean(labels.quality, default=0.0)
        best = np.flatnonzero(means >= means.max())
        costs = labels.mean_cost_usd
        self.pinned_ = int(best[0] if costs is None else best[costs[best].argmin()])
        self.dearer_ = np.ones(len(means), bool) if costs is None else costs > costs[self.pinned_]
        self.lengths_ = Lengths.learn(labels)
        self.tokens_ = labels.output_tokens if self.lengths_.known else None
        self._remember(unit_rows(x).astype(self.storage), labels.quality)

    def _remember(self, x: np.ndarray, y: np.ndarray) -> None:
        self.x_ = x.astype(np.float32)
        self.y_ = np.asarray(y, np.float32)
        paired = self.y_ - self.y_[:, self.pinned_ : self.pinned_ + 1]
        self.overall_ = _Overall.of(self.y_, paired, self.pinned_, min_pairs=self.min_pairs)
        self.levels_, self.pairs_ = _Sums.of(self.y_), _Sums.of(paired)
        self.sizes_ = _Sums.of(
            np.full_like(self.y_, np.nan) if self.tokens_ is None else self.tokens_
        )

    def _predict(self, x: FloatMatrix) -> Predictions:
        shape = (len(x), self.y_.shape[1])
        quality, std = np.empty(shape, np.float32), np.empty(shape, np.float32)
        tokens, upper = self.lengths_.rows(len(x))
        query = unit_rows(x)
        for block in row_blocks(len(x), len(self.x_)):
            near = self._near(query[block])
            quality[block], std[block] = self._judge(near)
            if self.tokens_ is not None:
                usual = tokens[block].copy()
                tokens[block] = self.sizes_.shrunk_means(near, usual)
                upper[block] *= tokens[block] / np.maximum(usual, 1e-6)
        return Predictions(
            quality=quality,
            quality_std=std,
            output_tokens=tokens,
            output_tokens_upper=np.maximum(upper, tokens),
        )

    def _near(self, query: FloatMatrix) -> FloatMatrix:
        """Return float32 (n_queries, n_rows), 1 where a row is a neighbour."""
        similarity = query @ self.x_.T
        at = max(0, similarity.shape[1] - self.anchor)
        anchor = np.partition(similarity, at, axis=1)[:, at : at + 1]
        # Of a negative similarity too, the bar is below.
        bar = anchor - (1 - self.relative_bar) * np.abs(anchor)
        return (similarity >= bar).astype(np.float32)

    def _judge(self, near: FloatMatrix) -> tuple[FloatMatrix, FloatMatrix]:
        overall, pinned = self.overall_, self.pinned_
        difference, error, n_pairs = self.pairs_.means(near, overall.paired_variance)
        moved = difference - overall.difference
        z = np.where((moved > 0) & self.dearer_, self.dearer_factor * self.z, self.z)
        moved = np.where(n_pairs >= self.min_pairs, _beyond(moved, z * error), 0.0)
        relative = overall.difference + moved - _KEEPS
        relative[:, pinned] = 0.0
        level, level_error, n_known = self.levels_.means(near, overall.variance)
        above = _beyond(level[:, pinned] - overall.mean[pinned], self.z * level_error[:, pinned])
        enough = n_known[:, pinned] >= self.min_pairs
        base = overall.mean[pinned] + np.where(enough, above, 0.0)
        return _within_bounds(base, relative), level_error.astype(np.float32)

    @property
    def remembers_queries(self) -> bool:
        """It does nothing else."""
        return True

    def insert(self, x: FloatMatrix, labels: Labels) -> None:
        """Remember further queries; the pinned model, and who is dearer, stay the same."""
        if self.tokens_ is not None:
            tokens = labels.output_tokens
            further = np.full(labels.quality.shape, np.nan) if tokens is None else tokens
            self.tokens_ = np.concatenate([self.tokens_, np.asarray(further, np.float32)])
        self._remember(
            np.concatenate([self.x_, self._rounded(x)]),
            np.concatenate([self.y_, labels.quality]),
        )

    def forget(self, x: FloatMatrix) -> int:
        """Forget every remembered query that is one of `x`."""
        kept = ~equal_rows(self.x_, self._rounded(x))
        if not kept.any():
            raise DataError("none of the remembered queries would be left; fit again without them")
        if self.tokens_ is not None:
            self.tokens_ = self.tokens_[kept]
        self._remember(self.x_[kept], self.y_[kept])
        return int(np.count_nonzero(~kept))

    def _rounded(self, x: FloatMatrix) -> FloatMatrix:
        return unit_rows(np.asarray(x, np.float32)).astype(self.storage).astype(np.float32)

    def state(self) -> dict[str, np.ndarray]:
        """Return the remembered queries and their outcomes, and which model is pinned."""
        require_fitted(self, "lengths_")
        state = {
            **self.lengths_.state(),
            "x": self.x_.astype(self.storage),
            "y": self.y_,
            "pinned": np.asarray([self.pinned_]),
            "dearer": self.dearer_,
        }
        return state if self.tokens_ is None else {**state, "tokens": self.tokens_}

    def _restore(self, state: State) -> None:
        self.lengths_ = Lengths.restore(state)
        x, pinned = take(state, "x", ndim=2), take(state, "pinned", ndim=1)
        y = take(state, "y", ndim=2, unknown=True)
        self.dearer_ = take(state, "dearer", ndim=1).astype(bool)
        self.tokens_ = take(state, "tokens", ndim=2, unknown=True) if "tokens" in state else None
        n_models = len(self.lengths_.mean)
        if (
            len(x) != len(y)
            or not len(x)
            or y.shape[1] != n_models
            or len(self.dearer_) != n_models
            or len(pinned) != 1
            or not 0 <= int(pinned[0]) < n_models
            or (self.tokens_ is not None and self.tokens_.shape != y.shape)
        ):
            raise ValueError("the arrays of a guarded kNN router do not fit together")
        self.pinned_ = int(pinned[0])
        self._remember(x, y)

    def notes(self) -> dict[str, Any]:
        """Say which model is pinned, which count as dearer, and where lengths come from."""
        models = self.models_ or ()
        return {
            "pinned": models[self.pinned_] if models else None,
            "dearer": [model for model, is_so in zip(models, self.dearer_, strict=False) if is_so],
            "output_tokens": "learned" if self.tokens_ is not None else self.lengths_.note(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Overall:
    """What is believed without neighbours; arrays over models are float64 (n_models,)."""

    mean: FloatArray
    variance: FloatArray
    paired_variance: FloatArray
    difference: FloatArray  # never positive

    @classmethod
    def of(cls, y: FloatMatrix, paired: FloatMatrix, pinned: int, *, min_pairs: int) -> Self:
        mean = nan_mean(y, default=0.0)
        difference = nan_mean(paired, default=0.0)
        # Few pairs tell less than the means do, though these are of other queries.
        few = (~np.isnan(paired)).sum(axis=0) < min_pairs
        difference = np.where(few, mean - mean[pinned], difference)
        return cls(
            mean=mean,
            variance=nan_mean((y - mean) ** 2, default=0.0),
            paired_variance=nan_mean((paired - difference) ** 2, default=0.0),
            difference=np.minimum(difference, 0.0),
        )


@dataclass(frozen=True, slots=True)
class _Sums:
    """Values of labelled queries, laid out so that one product sums those of neighbours."""

    columns: FloatMatrix  # (n_queries, 3 * n_models): whether known, the value, its square

    @classmethod
    def of(cls, values: FloatMatrix) -> Self:
        known = ~np.isnan(values)
        filled = np.where(known, values, 0).astype(np.float32)
        return cls(np.hstack([known.astype(np.float32), filled, filled**2]))

    def means(
        self, near: FloatMatrix, prior_variance: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return the neighbours' mean, its standard error and the count of every model.

        Without a known neighbour the mean is 0 and its error that of a single observation.
        """
        count, total, square = np.split((near @ self.columns).astype(np.float64), 3, axis=1)
        n = np.maximum(count, 1)
        mean = total / n
        scatter = np.maximum(square - count * mean**2, 0.0)
        variance = (scatter + prior_variance) / (count + 1)
        return mean, np.sqrt(variance / n), count

    def shrunk_means(self, near: FloatMatrix, prior: FloatMatrix) -> FloatMatrix:
        count, total, _ = np.split(near @ self.columns, 3, axis=1)
        return np.asarray((total + _PRIOR_LENGTHS * prior) / (count + _PRIOR_LENGTHS), np.float32)


def _beyond(value: FloatArray, threshold: FloatArray) -> FloatArray:
    """Return what of a value exceeds a threshold, in either direction."""
    return np.asarray(np.sign(value) * np.maximum(np.abs(value) - threshold, 0.0))


def _within_bounds(base: FloatArray, relative: FloatArray) -> FloatMatrix:
    """Add differences to the pinned quality so that all stay in [0, 1] and none becomes a tie."""
    least, most = relative.min(axis=1), relative.max(axis=1)
    width = np.maximum(most - least, 1.0)
    least, most = least / width, most / width
    moved = np.minimum(np.maximum(base, -least), 1 - most)
    quality: FloatVector = (moved[:, None] + relative / width[:, None]).astype(np.float32)
    return np.clip(quality, 0, 1)
