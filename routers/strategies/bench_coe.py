"""Experts by benchmark results: a table of subjects, a regression of outcomes, or both weighed."""

# ruff: noqa: RUF009  (unfitted() declares a field)

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np

from routers.base import ROUTERS, FitContext
from routers.errors import RoutingConfigError
from routers.heads.base import Head, HeadConfig
from routers.numeric import FloatArray, clipped, nan_mean
from routers.options import State, prefixed, take, under, unfitted
from routers.strategies._category_router import CategoryRouter
from routers.types import FloatMatrix, Predictions

_LINEAR = HeadConfig(kind="linear")
_WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)
_FOLDS = 3

_ALARM_GAIN, _ALARM_SHARE = 0.02, 0.5
"""From which gain on the training rows themselves on it is an alarm that less than which share of
it is left on rows that were not learned."""

_NO_TRUST = 0.15
"""What the novelty of a query leaves of trust at least."""


@ROUTERS.register("bench-coe")
@dataclass(kw_only=True)
class BenchCoeRouter(CategoryRouter):
    """Choose by benchmark results: of the subject that a query is of, or query by query.

    Parameters
    ----------
    level
        `subject`: the model of the best results on the query's subject. `query`: a regression of
        every model's outcomes. `blend`: both, weighed; the less a query is like the training data,
        the less the regression counts, and where no subject is identified it counts nothing.
    query_head
        The regression, for `query` and `blend`.
    categories, experts, budget, facts, uncertain_below, z
        As of `composition`, for `subject` and `blend`; there is nothing to map at the other levels.

    Notes
    -----
    The weight of `blend` is the best of five on held-out folds, half of them folds of rows and half
    of whole benchmarks (subjects, where the data are of one benchmark). With a regression the fit
    also says by how much what it gains on the training rows exceeds what it gains on held-out ones,
    and raises an alarm where less than half is left.

    References
    ----------
    Wang et al. 2024, Bench-CoE: a framework for collaboration of experts from benchmark,
    arXiv:2412.04167. The authors fine-tune an encoder at either level.
    """

    kind: ClassVar[str] = "bench-coe"

    level: Literal["subject", "query", "blend"] = "subject"
    query_head: HeadConfig = _LINEAR
    query_: Head | None = unfitted()
    weight_: FloatArray = unfitted()  # (1,), of the regression where queries are familiar
    gains_: FloatArray = unfitted()  # (2,), over the best single model: on training rows, held out

    def _fit(self, context: FitContext) -> None:
        super()._fit(context)
        self.query_, self.weight_, self.gains_ = None, np.zeros(1), np.zeros(2)
        if self.level == "subject":
            return
        x, quality = context.x, context.labels.quality
        self.query_ = self.query_head.build().fit(x, quality, rng=context.rng)
        by_row = context.rng.permutation(len(x)) % _FOLDS
        held_out, weights = self._held_out(context, by_row)
        single = _realised(np.tile(nan_mean(quality, default=0.0), (len(x), 1)), quality)
        in_sample = _realised(self.query_.predict(x)[0], quality)
        self.gains_ = np.array([in_sample - single, held_out[-1] - single])
        self.weight_ = np.ones(1)
        if self.level == "blend":
            apart, _ = self._held_out(context, self._benchmark_folds(context))
            self.weight_ = np.array([weights[int((held_out + apart).argmax())]])

    def _held_out(self, context: FitContext, fold: np.ndarray) -> tuple[FloatArray, list[float]]:
        """Return what each weight is worth on folds that were not learned."""
        x, labels = context.x, context.labels
        weights = list(_WEIGHTS) if self.level == "blend" else [1.0]
        predicted = np.zeros((len(weights), *labels.quality.shape), np.float32)
        for held in np.unique(fold).tolist():
            train, test = np.flatnonzero(fold != held), np.flatnonzero(fold == held)
            part = replace(context, x=x[train], labels=labels.rows(train))
            if np.isnan(part.labels.quality).all(axis=0).any():
                continue
            head = self.query_head.build().fit(part.x, part.labels.quality, rng=context.rng)
            by_query = head.predict(x[test])[0]
            if self.level == "query":
                predicted[0, test] = by_query
                continue
            subject = BenchCoeRouter(
                categories=self.categories, uncertain_below=self.uncertain_below, z=self.z
            )
            CategoryRouter._fit(subject, part)  # noqa: SLF001  (the subject's part of itself)
            by_subject = super(BenchCoeRouter, subject)._predict(x[test])
            trusted = subject.trusted(x[test], by_subject)
            for i, weight in enumerate(weights):
                share = weight * trusted
                predicted[i, test] = share * by_query + (1 - share) * by_subject.quality
        return np.array([_realised(each, labels.quality) for each in predicted]), weights

    def _benchmark_folds(self, context: FitContext) -> np.ndarray:
        """Return folds of whole benchmarks, else of whole subjects, else of rows."""
        groups = context.labels.groups
        for depth in (2, 3):
            names = ["/".join(group.split("/")[:depth]) for group in groups]
            numbers = np.unique(names, return_inverse=True)[1] if names else np.zeros(0, int)
            n = int(numbers.max(initial=-1)) + 1
            if n > 1:
                return np.asarray((context.rng.permutation(n) % min(n, _FOLDS))[numbers])
        return np.asarray(context.rng.permutation(len(context.x)) % _FOLDS)

    def trusted(self, x: FloatMatrix, by_subject: Predictions) -> FloatMatrix:
        """Return (n_queries, 1) in [0, 1]: how familiar queries are, 0 of no identified subject.

        A regression has favourites among queries of benchmarks that it has never seen, too, and
        most of these are near to something that was learned.
        """
        trust = np.ones(len(x), np.float32)
        if self.model_.novelty_ is not None:
            trust = self.model_.novelty_.trust(x)
        familiar = (trust - _NO_TRUST) / (1 - _NO_TRUST)
        if by_subject.categories is not None:
            familiar = familiar * (by_subject.categories.first >= 0)
        return np.asarray(familiar[:, None], np.float32)

    def _predict(self, x: FloatMatrix) -> Predictions:
        by_subject = super()._predict(x)
        if self.query_ is None:
            return by_subject
        quality, std = self.query_.predict(x)
        weight = np.float32(self.weight_[0])
        if self.level == "blend":
            share = weight * self.trusted(x, by_subject)
            quality = share * quality + (1 - share) * by_subject.quality
            std = share * std + (1 - share) * by_subject.quality_std
        return replace(
            by_subject,
            quality=clipped(quality.astype(np.float32), 0, 1),
            quality_std=std.astype(np.float32),
            categories=None if self.level == "query" else by_subject.categories,
        )

    def check_mapping(self) -> None:
        """Refuse to map where no mapping decides.

        Raises
        ------
        RoutingConfigError
            If the level is not `subject`.
        """
        if self.level != "subject":
            raise RoutingConfigError(
                f"at level {self.level} no mapping from subjects to experts decides; "
                "fit with level: subject"
            )

    def state(self) -> dict[str, np.ndarray]:
        """Return what is stored of the table, and of the regression if there is one."""
        state = super().state()
        if self.query_ is not None:
            state |= prefixed("query.", self.query_.state())
            state |= {"weight": self.weight_, "gains": self.gains_}
        return state

    def _restore(self, state: State) -> None:
        super()._restore(state)
        self.query_, self.weight_, self.gains_ = None, np.zeros(1), np.zeros(2)
        query = under("query.", state)
        if (self.level == "subject") != (not query):
            raise ValueError("a regression of outcomes belongs to the levels query and blend")
        if query:
            self.query_ = self.query_head.build().restore(query)
            self.weight_ = take(state, "weight", ndim=1)
            self.gains_ = take(state, "gains", ndim=1)

    @property
    def over_fitted(self) -> bool:
        """Whether most of what the regression gains on its own rows is not there on others."""
        own, held_out = self.gains_.tolist()
        return bool(own > _ALARM_GAIN and held_out < _ALARM_SHARE * own)

    def notes(self) -> dict[str, Any]:
        """Say who answers what, how much the regression counts, and whether it is over-fitted."""
        if self.query_ is None:
            return super().notes()
        told = {
            "query_weight": float(self.weight_[0]),
            "gain_on_training_rows": round(float(self.gains_[0]), 4),
            "gain_held_out": round(float(self.gains_[1]), 4),
            "over_fitted": self.over_fitted,
        }
        return told if self.level == "query" else super().notes() | told


def _realised(predicted: np.ndarray, quality: FloatMatrix) -> float:
    """Return the mean outcome of the models that are predicted best, of those that were tried."""
    known = ~np.isnan(quality)
    rows = np.flatnonzero(known.any(axis=1))
    best = np.where(known, predicted, -np.inf)[rows].argmax(axis=1)
    return float(quality[rows, best].mean())
