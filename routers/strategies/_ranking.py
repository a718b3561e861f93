"""Routers that learn scores of models, and then what a score is worth as quality."""

# ruff: noqa: RUF009  (unfitted() declares a field)

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Protocol

import numpy as np
from pydantic import Field

from routers.base import Familiarity, FitContext, Labels, Newcomer, Router
from routers.estimators.answer_lengths import AnswerLengths, length_ratios, typical_log_length
from routers.heads.base import HeadConfig
from routers.numeric import clipped, nan_mean
from routers.options import State, prefixed, require_fitted, take, under, unfitted
from routers.strategies._axes import Axes
from routers.strategies._domains import DomainModel
from routers.strategies._novelty import Novelty
from routers.strategies._score_scale import ScoreScale
from routers.types import FloatMatrix, FloatVector, Predictions

_ROTATED = HeadConfig(kind="rotated")

_RESIDUAL_FOLDS = 5
_LEAST_KEPT_VARIANCE = 0.01
"""A signal that no training row had makes a query unlike them, and not infinitely so."""

_WIDEST = 0.5
"""Of a standard deviation of quality."""

_DOMAIN_WEIGHT = 0.9
"""Of the chance of a domain among the features of deviation one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """What a scorer learns from; rows are queries.

    Attributes
    ----------
    z
        float32 (n_queries, n_axes).
    labels
        What is known of them.
    expected
        float32 (n_queries, n_models): the quality that a query's likely domains let expect, by
        outcomes of other queries; None where no domains were learned.
    """

    z: FloatMatrix
    labels: Labels
    expected: FloatMatrix | None

    def rows(self, index: np.ndarray) -> "Lesson":
        """Return some of the queries."""
        expected = None if self.expected is None else self.expected[index]
        return Lesson(z=self.z[index], labels=self.labels.rows(index), expected=expected)


class Scorer(Protocol):
    """What a kind of router has learned: how good models look on a query, in units of its own."""

    def scores(self, z: FloatMatrix) -> FloatMatrix:
        """Return float32 (n_queries, n_models), higher where a model suits a query better."""
        ...

    def state(self) -> dict[str, np.ndarray]:
        """Return everything that was learned as plain arrays."""
        ...


@dataclass(kw_only=True)
class RankingRouter(Router):
    """Score models as a published router does; make quality of scores on rows it has not seen.

    A published router ends in an argmax. Here the score of every model is turned into its expected
    quality, by isotonic regression (a logistic curve below a thousand outcomes) on out-of-fold
    scores, so that the knob and least qualities mean what they mean for every other router.

    A kind writes `_learn` and `_scorer`; features come as principal axes.

    Parameters
    ----------
    n_axes
        How many principal axes of the features are read.
    domains
        Whether likely domains of a query (benchmark, subject), learned from the labels of the
        training queries, are among the features. Without labels nothing changes.
    shrink_unfamiliar
        Whether quality is drawn toward what the prompt's length alone tells of each model, on
        queries unlike the training data.
    scale_folds
        Folds of the out-of-fold scores.
    tokens_head
        The regression of output tokens, as in `carrot`.
    """

    whiten: ClassVar[float] = 0.0
    """How far the principal axes are brought to equal deviations."""
    n_kept: ClassVar[int] = 0
    """How many of the first columns the scorer alone reads, as they are, before the axes."""

    n_axes: Annotated[int, Field(ge=1, le=4096)] = 96
    domains: bool = True
    shrink_unfamiliar: bool = True
    scale_folds: Annotated[int, Field(ge=2, le=20)] = 3
    tokens_head: HeadConfig = _ROTATED
    right_above_zero: tuple[str, ...] = ()
    domains_: DomainModel | None = unfitted()
    axes_: Axes = unfitted()
    scorer_: Any = unfitted()
    scale_: ScoreScale = unfitted()
    lengths_: AnswerLengths = unfitted()
    novelty_: Novelty | None = unfitted()
    precision_: FloatVector = unfitted()  # (n_axes,), one over the variance along each
    error_: FloatVector = unfitted()  # (n_models,), out-of-fold error over the root of outcomes

    @abstractmethod
    def _learn(self, lesson: Lesson, *, rng: np.random.Generator) -> Scorer: ...

    @abstractmethod
    def _scorer(self, state: State, n_models: int) -> Scorer:
        """Read what the scorer's `state` returned."""

    def _fit(self, context: FitContext) -> None:
        labels, rng = self._counted(context.labels), context.rng
        kept, x = self._apart(context.x)
        self.novelty_ = self.domains_ = None
        if self.shrink_unfamiliar:
            self.novelty_ = Novelty().fit(
                context.x,
                labels.quality,
                groups=labels.groups,
                length_column=context.length_column,
                rng=rng,
            )
        expected: FloatMatrix | None = None
        if self.domains and DomainModel.usable(labels.groups):
            self.domains_, own = DomainModel().fit(x, labels.groups, labels.quality, rng=rng)
            expected = self.domains_.expected(own)
            x = np.hstack([x, self._chances(own)])
        expected = self._learn_expected(kept, labels, expected, rng=rng)
        self.axes_ = Axes.of(x, self.n_axes, whiten=self.whiten)
        z = self._joined(kept, self.axes_(x))
        lesson = Lesson(z=z, labels=labels, expected=expected)
        least = np.where(np.arange(z.shape[1]) < self.n_kept, _LEAST_KEPT_VARIANCE, 1e-12)
        self.precision_ = (1 / np.maximum(z.var(axis=0), least)).astype(np.float32)
        self._prepare(labels)
        scores, known, learners = self._out_of_fold(lesson, rng)
        told = None if expected is None else expected[known]
        self.scale_ = ScoreScale.fit(scores[known], labels.quality[known], told)
        missed = self.scale_.quality(scores[known], told) - labels.quality[known]
        seen = np.maximum((~np.isnan(labels.quality)).sum(axis=0), 1)
        self.error_ = np.sqrt(nan_mean(missed**2, default=0.25) / seen).astype(np.float32)
        self.scorer_ = self._learn(lesson, rng=rng)
        self._learn_lengths(lesson, learners, rng=rng)

    def _learn_expected(
        self,
        kept: FloatMatrix,
        labels: Labels,
        expected: FloatMatrix | None,
        *,
        rng: np.random.Generator,
    ) -> FloatMatrix | None:
        """Learn what is expected by the columns that are kept, too, and return it of each row.

        As `expected` that is by outcomes of other queries.
        """
        del kept, labels, rng  # most kinds keep none
        return expected

    def _expected(self, kept: FloatMatrix, expected: FloatMatrix | None) -> FloatMatrix | None:
        """Return what is expected of further rows in the end."""
        del kept
        return expected

    def _prepare(self, labels: Labels) -> None:
        """Learn what every fold has in common."""

    def _learn_lengths(
        self,
        lesson: Lesson,
        out_of_fold: list[tuple[np.ndarray, Any]],
        *,
        rng: np.random.Generator,
    ) -> None:
        """Learn the lengths of answers; `out_of_fold` are rows and scorers that saw others."""
        del out_of_fold
        self.lengths_ = AnswerLengths.learn(
            lesson.z, lesson.labels, self.tokens_head, folds=_RESIDUAL_FOLDS, rng=rng
        )

    def _lengths(self, z: FloatMatrix) -> tuple[FloatMatrix, FloatMatrix]:
        """Return expected and upper lengths of answers."""
        return self.lengths_.predict(z)

    def _lengths_state(self) -> dict[str, np.ndarray]:
        return self.lengths_.state()

    def _restore_lengths(self, state: State, n_models: int) -> None:
        self.lengths_ = AnswerLengths.restore(state, self.tokens_head)
        if len(self.lengths_.upper) != n_models:
            raise ValueError("scores and lengths are not of equally many models")

    def _counted(self, labels: Labels) -> Labels:
        """Return the labels with outcomes of `right_above_zero` as right or wrong."""
        named = set(self.right_above_zero)
        rows = [i for i, group in enumerate(labels.groups) if named.intersection(group.split("/"))]
        if not rows:
            return labels
        quality = labels.quality.copy()
        # What is not known is not above zero, and stays unknown.
        quality[rows] = np.where(quality[rows] > 0, 1, quality[rows])
        return replace(labels, quality=quality)

    def _chances(self, own: FloatMatrix) -> FloatMatrix:
        """Return the chances of the domains, without what they let expect of each model."""
        assert self.domains_ is not None  # noqa: S101
        return self.domains_.chances_of(own) * np.float32(_DOMAIN_WEIGHT)

    def _out_of_fold(
        self, lesson: Lesson, rng: np.random.Generator
    ) -> tuple[FloatMatrix, np.ndarray, list[tuple[np.ndarray, Scorer]]]:
        """Return scores by learners that had not seen the row, which rows have some, and those."""
        quality = lesson.labels.quality
        n, n_models = quality.shape
        scores = np.zeros((n, n_models), np.float32)
        done = np.zeros(n, bool)
        learners: list[tuple[np.ndarray, Scorer]] = []
        fold = rng.permutation(n) % self.scale_folds
        for held in range(self.scale_folds):
            train, test = np.flatnonzero(fold != held), np.flatnonzero(fold == held)
            if not len(test) or np.isnan(quality[train]).all(axis=0).any():
                continue
            scorer = self._learn(lesson.rows(train), rng=rng)
            scores[test] = scorer.scores(lesson.z[test])
            done[test] = True
            learners.append((test, scorer))
        if not done.any() or np.isnan(quality[done]).all(axis=0).any():
            # Of a model with a single outcome nothing can be held out.
            scorer, everything = self._learn(lesson, rng=rng), np.arange(n)
            return scorer.scores(lesson.z), np.ones(n, bool), [(everything, scorer)]
        return scores, done, learners

    def axes(self, x: FloatMatrix) -> tuple[FloatMatrix, FloatMatrix | None]:
        """Return what the scorer reads of feature rows, and what their domains let expect."""
        kept, x = self._apart(x)
        if self.domains_ is None:
            return self._joined(kept, self.axes_(x)), self._expected(kept, None)
        own = self.domains_.features(x)
        z = self.axes_(np.concatenate([x, self._chances(own)], axis=1))
        return self._joined(kept, z), self._expected(kept, self.domains_.expected(own))

    def _apart(self, x: FloatMatrix) -> tuple[FloatMatrix, FloatMatrix]:
        """Return the columns that the scorer alone reads, and all of them with zeros for these."""
        kept = np.zeros((len(x), self.n_kept), np.float32)
        if not self.n_kept:
            return kept, x
        width = min(self.n_kept, x.shape[1])
        kept[:, :width] = x[:, :width]
        x = x.copy()
        x[:, :width] = 0
        return kept, x

    def _joined(self, kept: FloatMatrix, z: FloatMatrix) -> FloatMatrix:
        return np.concatenate([kept, z], axis=1) if self.n_kept else z

    def _predict(self, x: FloatMatrix) -> Predictions:
        require_fitted(self, "scale_")
        z, expected = self.axes(x)
        quality = self.scale_.quality(self.scorer_.scores(z), expected)
        std = self._std(z) * self.error_
        if self.novelty_ is not None:
            quality, std = self.novelty_.shrink(x, quality, std)
        expected, upper = self._lengths(z)
        return Predictions(
            quality=clipped(quality, 0, 1),
            quality_std=clipped(std, 0, _WIDEST),
            output_tokens=expected,
            output_tokens_upper=upper,
        )

    def place(self, newcomer: Newcomer) -> dict[str, np.ndarray] | None:
        """Return what the kind's own rule makes of a further model."""
        require_fitted(self, "scale_")
        z, _ = self.axes(newcomer.x)
        placed = self._place(z, newcomer)
        if placed is None:
            return None
        typical = typical_log_length(self._lengths(z)[0])
        ratios = length_ratios(newcomer.output_tokens, typical)
        return {
            **placed,
            "lengths": np.asarray(ratios, np.float64),
            "seen": np.asarray([len(z)], np.int64),
        }

    def _place(self, z: FloatMatrix, newcomer: Newcomer) -> dict[str, np.ndarray] | None:
        """Return what scores a further model; None where the kind has no rule for that."""
        del z, newcomer
        return None

    def _scores_of(self, placed: State, z: FloatMatrix) -> FloatVector:
        """Return the scores of a further model, (n_queries,)."""
        raise NotImplementedError(f"{self.kind} has no rule for further models")

    def predict_placed(self, placed: State, x: FloatMatrix) -> Predictions:
        """Predict a further model: by its scores, and what those of all models were worth."""
        z, _ = self.axes(x)
        quality = self.scale_.quality_of_another(self._scores_of(placed, z))
        leverage = np.square(self._std(z))
        seen = float(take(placed, "seen", ndim=1)[0])
        std = _WIDEST * np.sqrt(leverage / (leverage + max(seen, 0.0)))
        expected, upper = self._lengths_of(placed, z)
        return Predictions(
            quality=clipped(quality, 0, 1),
            quality_std=np.asarray(std, np.float32),
            output_tokens=expected,
            output_tokens_upper=np.maximum(upper, expected),
        )

    def _lengths_of(self, placed: State, z: FloatMatrix) -> tuple[FloatMatrix, FloatMatrix]:
        """Return expected and upper lengths of a further model: in proportion to the others'."""
        typical = typical_log_length(self._lengths(z)[0])[:, None]
        ratio, upper = as_vector(placed, "lengths", 2).tolist()
        return (
            np.expm1(np.maximum(typical + ratio, 0)).astype(np.float32),
            np.expm1(np.maximum(typical + upper, 0)).astype(np.float32),
        )

    def _std(self, z: FloatMatrix) -> FloatMatrix:
        """Return (n_queries, 1): the root of what a query's leverage is among as many rows."""
        leverage = 1 + (z * z).dot(self.precision_)
        return np.asarray(np.sqrt(leverage)[:, None], np.float32)

    def familiarity(self, x: FloatMatrix) -> Familiarity | None:
        """Return how much feature rows are like those of training; None where it was not kept."""
        return None if self.novelty_ is None else self.novelty_.familiarity(x)

    def state(self) -> dict[str, np.ndarray]:
        """Return the scorer's arrays, and those of what makes quality of its scores."""
        require_fitted(self, "scale_")
        return {
            **prefixed("scorer.", self.scorer_.state()),
            **self.axes_.state(),
            **self.scale_.state(),
            **prefixed("lengths.", self._lengths_state()),
            **prefixed("novelty.", {} if self.novelty_ is None else self.novelty_.state()),
            **prefixed("domains.", {} if self.domains_ is None else self.domains_.state()),
            "precision": self.precision_,
            "error": self.error_,
        }

    def _restore(self, state: State) -> None:
        self.axes_ = Axes.restore(state)
        self.scale_ = ScoreScale.restore(state)
        novelty, domains = under("novelty.", state), under("domains.", state)
        self.novelty_ = Novelty().restore(novelty) if novelty else None
        self.domains_ = DomainModel().restore(domains) if domains else None
        self.precision_ = take(state, "precision", ndim=1)
        self.error_ = take(state, "error", ndim=1)
        n_models = len(self.error_)
        if len(self.scale_.low) != n_models + 1:
            raise ValueError("scores and their scales are not of equally many models")
        if len(self.precision_) != self.n_kept + self.axes_.components.shape[1]:
            raise ValueError("the axes of a router and their variances do not fit together")
        self.scorer_ = self._scorer(under("scorer.", state), n_models)
        self._restore_lengths(under("lengths.", state), n_models)

    def notes(self) -> dict[str, Any]:
        """Say where the token estimates come from."""
        return {"output_tokens": self.lengths_.note()}


def as_vector(state: State, name: str, length: int) -> FloatVector:
    """Return an array of one dimension and a given length.

    Raises
    ------
    KeyError, ValueError
        If it is absent or another one.
    """
    array = take(state, name, ndim=1)
    if len(array) != length:
        raise ValueError(f"array {name!r} has {len(array)} entries instead of {length}")
    return array
