"""Plug-in routing: predict every model's quality and output length, then weigh by price."""

# ruff: noqa: RUF009  (unfitted() declares a field)

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from routers.base import ROUTERS, AuxiliarySet, Familiarity, FitContext, Labels, Router
from routers.estimators.answer_lengths import AnswerLengths
from routers.heads.base import Head, HeadConfig
from routers.heads.knn import KnnHead
from routers.numeric import clipped, nan_mean
from routers.options import State, prefixed, require_fitted, take, under, unfitted
from routers.strategies._domains import DomainModel
from routers.strategies._model_means import corrections
from routers.strategies._novelty import Novelty
from routers.types import FloatMatrix, FloatVector, Predictions

_BY_ROWS, _ROTATED = HeadConfig(kind="by-rows"), HeadConfig(kind="rotated")


@ROUTERS.register("carrot")
@dataclass(kw_only=True)
class CarrotRouter(Router):
    """Predict quality and output tokens per model; prices are applied when deciding.

    Parameters
    ----------
    quality_head, tokens_head
        The regressions to use. Tokens are regressed as log(1 + tokens): lengths scatter by
        factors, and what makes answers long is much the same for all models, so that by default
        it is learned of all together, and apart from it what tells them apart. The mean of lengths
        is the exponential of that, times one factor per model that brings it to the mean of
        held-out queries. A second regression predicts how much lengths scatter, for the upper
        estimate alone: its noise would be multiplied into every cost.
    domains
        Whether domain labels of the training queries (benchmark, subject) are learned: a query's
        likely domains are features for the heads. Without labels nothing changes.
    residuals
        Whether a head that can starts from the quality that the domains let expect, and learns
        what differs within them.
    shrink_unfamiliar
        Whether quality is drawn toward what the prompt's length alone tells of each model, on
        queries unlike the training data.
    residual_folds
        Folds of the held-out residuals behind the mean and the upper estimate of tokens.
    plain_tokens
        Whether expected tokens are regressed as they are, as published, and not by logarithms.
    correct_luck
        Whether means are corrected for luck: with few outcomes the model that looks best was
        mostly lucky (`routers.strategies._model_means`), and costs tell what to expect.

    Notes
    -----
    The published estimators are the recipe `carrot-knn-published`.

    Auxiliary sets are learned along by heads that share something between models (`mlp`, `by-rows`:
    the hidden layer) and by the domains; their models are then forgotten.

    References
    ----------
    Somerstep et al. 2025, CARROT, arXiv:2502.03261. The upper estimate is split-conformal: the
    `UPPER_QUANTILE` of held-out residuals over their predicted spread, per model (Lei et al.
    2018, Distribution-free predictive inference for regression, arXiv:1604.04173).
    """

    kind: ClassVar[str] = "carrot"

    quality_head: HeadConfig = _BY_ROWS
    tokens_head: HeadConfig = _ROTATED
    shrink_unfamiliar: bool = True
    residual_folds: Annotated[int, Field(ge=2, le=20)] = 5
    domains: bool = True
    residuals: bool = True
    plain_tokens: bool = False
    correct_luck: bool = True
    novelty_: Novelty | None = unfitted()
    domains_: DomainModel | None = unfitted()
    quality_: Head = unfitted()
    luck_: FloatVector = unfitted()  # (n_models,), added to quality: what few outcomes overrate
    lengths_: AnswerLengths = unfitted()

    def _fit(self, context: FitContext) -> None:
        x, labels, rng = context.x, context.labels, context.rng
        auxiliary = context.auxiliary
        self.novelty_ = None
        self.luck_ = np.zeros(len(labels.models), np.float32)
        if self.correct_luck:
            self.luck_ = corrections(labels.quality, labels.mean_cost_usd)
        if self.shrink_unfamiliar:
            self.novelty_ = Novelty().fit(
                x,
                labels.quality,
                groups=labels.groups,
                length_column=context.length_column,
                rng=rng,
            )
            self.novelty_.prior_ = self.novelty_.prior_ + self.luck_
        everything = _join(x, labels, auxiliary)
        self.domains_ = None
        start: FloatMatrix | None = None
        if self.domains and DomainModel.usable(everything.groups):
            own_quality = everything.quality[:, : len(labels.models)]
            self.domains_, own = DomainModel().fit(
                everything.x, everything.groups, own_quality, rng=rng
            )
            everything = replace(everything, x=np.hstack([everything.x, own]))
            start = self.domains_.expected(own)
        x = everything.x[: len(x)]
        self.quality_ = self.quality_head.build()
        if not self._learns_residuals():
            start = None
        if auxiliary and self.quality_.shares_between_models:
            if start is not None:
                start = _with_means_of_others(start, everything.quality)
            self.quality_.fit(everything.x, everything.quality, rng=rng, start=start)
            self.quality_.narrow(len(labels.models))
        else:
            start = None if start is None else start[: len(x)]
            self.quality_.fit(x, labels.quality, rng=rng, start=start)
        self.lengths_ = AnswerLengths.learn(
            x,
            labels,
            self.tokens_head,
            folds=self.residual_folds,
            rng=rng,
            plain=self.plain_tokens,
        )

    def _learns_residuals(self) -> bool:
        return self.residuals and self.quality_.learns_residuals

    def _predict(self, x: FloatMatrix) -> Predictions:
        plain = x
        if self.domains_ is None:
            quality, std = self.quality_.predict(x)
        else:
            own = self.domains_.features(x)
            x = np.concatenate([x, own], axis=1)
            if self._learns_residuals():
                quality, std = self.quality_.predict_residual(x, self.domains_.expected(own))
            else:
                quality, std = self.quality_.predict(x)
        quality = quality + self.luck_
        if self.novelty_ is not None:
            quality, std = self.novelty_.shrink(plain, quality, std)
        expected, upper = self.lengths_.predict(x)
        return Predictions(
            quality=clipped(quality, 0, 1),
            quality_std=std,
            output_tokens=expected,
            output_tokens_upper=upper,
        )

    @property
    def remembers_queries(self) -> bool:
        """Whether the head for quality does."""
        return isinstance(self.quality_head.build(), KnnHead)

    @property
    def grows_while_asked(self) -> bool:
        """As its heads do: each of them is asked about one state of what it remembers."""
        return self.remembers_queries

    def insert(self, x: FloatMatrix, labels: Labels) -> None:
        """Have the heads that remember queries remember further ones.

        How far answers' lengths scatter is told by what was predicted of them before. What else was
        learned stays: domains, familiarity, corrections of means, heads of other kinds.
        """
        if not isinstance(self.quality_, KnnHead):
            raise self.by_fitting_alone()
        own = self._with_domains(x)
        self.lengths_.insert(own, labels)
        self.quality_.insert(own, labels.quality)

    def forget(self, x: FloatMatrix) -> int:
        """Have the heads that remember queries forget these."""
        if not isinstance(self.quality_, KnnHead):
            raise self.by_fitting_alone()
        own = self._with_domains(x)
        n = self.quality_.forget(own)
        self.lengths_.forget(own)
        return n

    def _with_domains(self, x: FloatMatrix) -> FloatMatrix:
        if self.domains_ is None:
            return x
        return np.concatenate([x, self.domains_.features(x)], axis=1)

    def familiarity(self, x: FloatMatrix) -> Familiarity | None:
        """Return how much feature rows are like those of training; None where it was not kept."""
        return None if self.novelty_ is None else self.novelty_.familiarity(x)

    def state(self) -> dict[str, np.ndarray]:
        """Return the arrays of both heads and the corrections of the token estimates."""
        require_fitted(self, "quality_")
        state = prefixed("quality.", self.quality_.state())
        if self.novelty_ is not None:
            state |= prefixed("novelty.", self.novelty_.state())
        if self.domains_ is not None:
            state |= prefixed("domains.", self.domains_.state())
        return state | self.lengths_.state() | {"luck": self.luck_}

    def _restore(self, state: State) -> None:
        self.quality_ = self.quality_head.build().restore(under("quality.", state))
        novelty = under("novelty.", state)
        self.novelty_ = Novelty().restore(novelty) if novelty else None
        domains = under("domains.", state)
        self.domains_ = DomainModel().restore(domains) if domains else None
        self.lengths_ = AnswerLengths.restore(state, self.tokens_head)
        # Earlier builds knew no such correction.
        n_models = len(self.lengths_.upper)
        self.luck_ = take(state, "luck", ndim=1) if "luck" in state else np.zeros(n_models, "f4")
        if len(self.luck_) != n_models:
            raise ValueError("there are not as many corrections of means as models")

    def notes(self) -> dict[str, Any]:
        """Say where the token estimates come from."""
        return {"output_tokens": self.lengths_.note()}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Everything:
    """The training queries, then those of the auxiliary sets, with a column for every model."""

    x: FloatMatrix
    quality: FloatMatrix
    groups: tuple[str, ...]


def _join(x: FloatMatrix, labels: Labels, auxiliary: Sequence[AuxiliarySet]) -> _Everything:
    """Stack all sets; a model of an auxiliary set is another one than its namesakes.

    Its quality was measured by other people in another way, and an outcome that one set calls 0.5
    need not be what another calls so.
    """
    sets = [(x, labels), *((each.x, each.labels) for each in auxiliary)]
    n_models = sum(len(each.models) for _, each in sets)
    parts, column = [], 0
    for _, each in sets:
        quality = np.full((len(each), n_models), np.nan, np.float32)
        quality[:, column : column + len(each.models)] = each.quality
        column += len(each.models)
        parts.append(quality)
    return _Everything(
        x=np.vstack([features for features, _ in sets]),
        quality=np.vstack(parts),
        groups=tuple(g for _, each in sets for g in (each.groups or ("",) * len(each))),
    )


def _with_means_of_others(start: FloatMatrix, quality: FloatMatrix) -> FloatMatrix:
    """Append what to start from for the models of auxiliary sets: their means."""
    means = nan_mean(quality[:, start.shape[1] :], default=0.5).astype(np.float32)
    return np.hstack([start, np.broadcast_to(means, (len(start), len(means)))])
