"""Plug-in routing: predict every model's quality and output length, then weigh by price."""

# ruff: noqa: RUF009  (unfitted() declares a field)

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from routers.base import (
    DEFAULT_OUTPUT_TOKENS,
    DEFAULT_UPPER_FACTOR,
    ROUTERS,
    AuxiliarySet,
    Familiarity,
    FitContext,
    Labels,
    Router,
)
from routers.heads.base import Head, HeadConfig
from routers.numeric import clipped, nan_mean
from routers.options import State, prefixed, require_fitted, take, under, unfitted
from routers.strategies._domains import DomainModel
from routers.strategies._model_means import corrections
from routers.strategies._novelty import Novelty
from routers.types import UPPER_QUANTILE, FloatMatrix, FloatVector, Predictions

_FACTORS = (1 / 3, 10.0)
"""Bounds of the mean length over the exponential of the mean log length."""

_LEAST_RESIDUAL = 0.03
_MEAN_LOG_OF_HALF_NORMAL = 0.635
_LOG_SPREAD = (math.log(0.05), math.log(2.0))
"""Bounds of the spread of log tokens: from all but certain to a factor of seven."""

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

    Notes
    -----
    With few outcomes the model that looks best was mostly lucky: means are corrected for that
    (`routers.strategies._model_means`), toward what the models' costs let expect.

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
    novelty_: Novelty | None = unfitted()
    domains_: DomainModel | None = unfitted()
    quality_: Head = unfitted()
    luck_: FloatVector = unfitted()  # (n_models,), added to quality: what few outcomes overrate
    tokens_: Head | None = unfitted()
    spread_: Head | None = unfitted()
    scattered_: bool = unfitted()  # whether every query's scatter is in its mean: earlier builds
    factor_: FloatVector = unfitted()  # (n_models,), mean length over the exponential of mean logs
    upper_: FloatVector = unfitted()  # (n_models,), upper quantile of residuals over their spread
    both_: Callable[[FloatMatrix], FloatMatrix] | None = unfitted()  # log tokens, log spread
    least_: FloatVector = unfitted()  # (2 * n_models,), bounds of the two
    most_: FloatVector = unfitted()

    def _fit(self, context: FitContext) -> None:
        x, labels, rng = context.x, context.labels, context.rng
        auxiliary = context.auxiliary
        self.novelty_, self.scattered_ = None, False
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
        n_models = len(labels.models)
        log_tokens = _log_tokens(labels)
        if log_tokens is None:
            self.tokens_ = self.spread_ = None
            self.factor_ = np.full(n_models, 1.0, np.float32)
            self.upper_ = np.full(n_models, np.log(DEFAULT_UPPER_FACTOR), np.float32)
            self._ready()
            return
        residuals = self._held_out_residuals(x, log_tokens, rng)
        # Lengths of short answers scatter little, those of essays and code a lot.
        self.spread_ = self.tokens_head.build().fit(x, _log_size(residuals), rng=rng)
        log_spread = clipped(self.spread_.predict_mean(x), *_LOG_SPREAD)
        spread = np.asarray(np.exp(log_spread), np.float32)
        self.upper_ = _upper_quantiles(residuals / spread)
        self.tokens_ = self.tokens_head.build().fit(x, log_tokens, rng=rng)
        guess = np.exp(log_tokens - residuals)
        ratio = nan_mean(np.exp(log_tokens), default=1.0) / nan_mean(guess, default=1.0)
        self.factor_ = np.clip(ratio, *_FACTORS).astype(np.float32)
        self._ready()

    def _learns_residuals(self) -> bool:
        return self.residuals and self.quality_.learns_residuals

    def _log_lengths(self, x: FloatMatrix) -> tuple[FloatMatrix, FloatMatrix]:
        """Return log(1 + tokens) as regressed, and its standard deviation."""
        n_models = len(self.upper_)
        if self.both_ is None:
            shape = (len(x), n_models)
            assumed = np.full(shape, math.log1p(DEFAULT_OUTPUT_TOKENS), np.float32)
            return assumed, np.ones(shape, np.float32)
        # Nothing was seen beyond some length: a head that extrapolates must not price it.
        both = self.both_(x)
        np.maximum(both, self.least_, out=both)
        np.minimum(both, self.most_, out=both)
        return both[:, :n_models], np.exp(both[:, n_models:])

    def _ready(self) -> None:
        """Prepare to predict lengths and their spread in one go."""
        self.both_ = None
        if self.tokens_ is not None and self.spread_ is not None:
            self.both_ = self.tokens_.means_beside(self.spread_)
        bounds = np.array([(0.0, _MAX_LOG_TOKENS), _LOG_SPREAD], np.float32)
        self.least_, self.most_ = np.repeat(bounds, len(self.upper_), axis=0).T.copy()

    def _held_out_residuals(
        self, x: FloatMatrix, log_tokens: FloatMatrix, rng: np.random.Generator
    ) -> FloatMatrix:
        residuals = np.full_like(log_tokens, np.nan)
        fold = rng.permutation(len(x)) % self.residual_folds
        for held in range(self.residual_folds):
            train, test = fold != held, fold == held
            known = ~np.isnan(log_tokens[train]).all(axis=0)
            if not test.any() or not known.any():
                continue
            head = self.tokens_head.build()
            head.fit(x[train], log_tokens[train][:, known], rng=rng)
            mean = head.predict_mean(x[test])
            residuals[np.ix_(test, known)] = log_tokens[np.ix_(test, known)] - mean
        return residuals

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
        log_tokens, spread = self._log_lengths(x)
        upper = self.upper_ * spread
        upper += log_tokens
        np.exp(upper, out=upper)
        upper -= 1
        if self.scattered_:
            log_tokens += spread**2 / 2
        expected = np.exp(log_tokens)
        expected *= self.factor_
        expected -= 1
        np.maximum(expected, 0, out=expected)
        return Predictions(
            quality=clipped(quality, 0, 1),
            quality_std=std,
            output_tokens=expected,
            output_tokens_upper=np.maximum(upper, expected, out=upper),
        )

    def familiarity(self, x: FloatMatrix) -> Familiarity | None:
        """Return how much feature rows are like those of training; None where it was not kept."""
        return None if self.novelty_ is None else self.novelty_.familiarity(x)

    def state(self) -> dict[str, np.ndarray]:
        """Return the arrays of both heads and the corrections of the token estimates."""
        require_fitted(self, "quality_")
        state = prefixed("quality.", self.quality_.state())
        if self.tokens_ is not None:
            state |= prefixed("tokens.", self.tokens_.state())
        if self.spread_ is not None:
            state |= prefixed("spread.", self.spread_.state())
        if self.novelty_ is not None:
            state |= prefixed("novelty.", self.novelty_.state())
        if self.domains_ is not None:
            state |= prefixed("domains.", self.domains_.state())
        return state | {
            "smear" if self.scattered_ else "factor": self.factor_,
            "upper": self.upper_,
            "luck": self.luck_,
        }

    def _restore(self, state: State) -> None:
        self.quality_ = self.quality_head.build().restore(under("quality.", state))
        novelty = under("novelty.", state)
        self.novelty_ = Novelty().restore(novelty) if novelty else None
        domains = under("domains.", state)
        self.domains_ = DomainModel().restore(domains) if domains else None
        tokens = under("tokens.", state)
        self.tokens_ = self.tokens_head.build().restore(tokens) if tokens else None
        spread = under("spread.", state)
        self.spread_ = self.tokens_head.build().restore(spread) if spread else None
        if (self.tokens_ is None) != (self.spread_ is None):
            raise ValueError("lengths of answers and their spread are only known together")
        self.upper_ = take(state, "upper", ndim=1)
        # Earlier builds knew no such correction.
        self.luck_ = take(state, "luck", ndim=1) if "luck" in state else 0 * self.upper_
        if len(self.luck_) != len(self.upper_):
            raise ValueError("there are not as many corrections of means as models")
        self._ready()
        self.scattered_ = "smear" in state
        self.factor_ = take(state, "smear" if self.scattered_ else "factor", ndim=1)

    def notes(self) -> dict[str, Any]:
        """Say where the token estimates come from."""
        if self.tokens_ is None:
            return {"output_tokens": f"assumed to be {DEFAULT_OUTPUT_TOKENS:.0f}: none were given"}
        return {"output_tokens": "learned"}


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


_MAX_LOG_TOKENS = float(np.log(1e6))


def _log_tokens(labels: Labels) -> FloatMatrix | None:
    """Return log(1 + tokens); models without any are given the mean of the others."""
    if labels.output_tokens is None or np.isnan(labels.output_tokens).all():
        return None
    log_tokens = np.log1p(np.maximum(labels.output_tokens, 0)).astype(np.float32)
    silent = np.isnan(log_tokens).all(axis=0)
    if silent.any():
        known = ~np.isnan(log_tokens)
        count = known.sum(axis=1)
        mean = np.nansum(log_tokens, axis=1) / np.maximum(count, 1)
        log_tokens[:, silent] = np.where(count > 0, mean, np.nan)[:, None]
    return log_tokens


def _log_size(residuals: FloatMatrix) -> FloatMatrix:
    """Return what the spread head learns: the logarithm of how far off each length was.

    The shift makes the mean of the logarithm of |N(0, s)| that of s.
    """
    size = np.log(np.abs(residuals) + _LEAST_RESIDUAL) + _MEAN_LOG_OF_HALF_NORMAL
    return np.asarray(size, np.float32)


def _upper_quantiles(z: FloatMatrix) -> FloatVector:
    """Return the conformal quantile of every model's residuals: rank ceil((n + 1) q) of n."""
    quantiles = np.zeros(z.shape[1], np.float32)
    for model in range(z.shape[1]):
        known = np.sort(z[:, model][~np.isnan(z[:, model])])
        if len(known) == 0:
            quantiles[model] = np.log(DEFAULT_UPPER_FACTOR)
            continue
        rank = int(np.ceil((len(known) + 1) * UPPER_QUANTILE))
        quantiles[model] = known[min(rank, len(known)) - 1]
    return quantiles
