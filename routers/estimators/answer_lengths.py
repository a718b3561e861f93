"""Output lengths that depend on the query: expected, and what they rarely exceed."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

import numpy as np

from routers.base import DEFAULT_OUTPUT_TOKENS, DEFAULT_UPPER_FACTOR, Labels
from routers.heads.base import Head, HeadConfig
from routers.heads.knn import KnnHead
from routers.numeric import FloatArray, clipped, nan_mean
from routers.options import State, prefixed, take, under
from routers.types import UPPER_QUANTILE, FloatMatrix, FloatVector

_FACTORS = (1 / 3, 10.0)
"""Bounds of the mean length over the exponential of the mean log length."""

_LEAST_RESIDUAL = 0.03
_MEAN_LOG_OF_HALF_NORMAL = 0.635
_LOG_SPREAD = (math.log(0.05), math.log(2.0))
"""Bounds of the spread of log tokens: from all but certain to a factor of seven."""

_MAX_TOKENS = 1e6
_MAX_LOG_TOKENS = math.log(_MAX_TOKENS)
_MAX_SMEAR = 3.0


@dataclass(kw_only=True)
class AnswerLengths:
    """Regress the logarithm of output tokens, and how far single answers scatter around it.

    Lengths scatter by factors, and what makes answers long is much the same for all models, so that
    a head that learns of all together is the one to use. The mean of lengths is the exponential of
    that, times one factor per model that brings it to the mean of held-out queries. A second
    regression predicts how much lengths scatter, for the upper estimate alone: its noise would be
    multiplied into every cost.

    Attributes
    ----------
    tokens, spread
        The fitted heads; None where no length is known.
    factor
        (n_models,), mean length over the exponential of mean logs.
    upper
        (n_models,), upper quantile of residuals over their predicted spread.
    scattered
        Whether every query's scatter is in its mean: earlier builds.
    plain
        A head that was fitted to tokens as they are, where expected lengths come from one.

    References
    ----------
    Lei et al. 2018, Distribution-free predictive inference for regression, arXiv:1604.04173: the
    upper estimate is split-conformal, the `UPPER_QUANTILE` of held-out residuals over their
    predicted spread, per model.
    """

    tokens: Head | None
    spread: Head | None
    factor: FloatVector
    upper: FloatVector
    scattered: bool = False
    plain: Head | None = None
    _both: Callable[[FloatMatrix], FloatMatrix] | None = field(init=False, default=None)
    _least: FloatVector = field(init=False)  # (2 * n_models,), bounds of log tokens, log spread
    _most: FloatVector = field(init=False)

    def __post_init__(self) -> None:
        """Prepare to predict lengths and their spread in one go."""
        if self.tokens is not None and self.spread is not None:
            self._both = self.tokens.means_beside(self.spread)
        bounds = np.array([(0.0, _MAX_LOG_TOKENS), _LOG_SPREAD], np.float32)
        self._least, self._most = np.repeat(bounds, len(self.upper), axis=0).T.copy()

    @classmethod
    def learn(
        cls,
        x: FloatMatrix,
        labels: Labels,
        head: HeadConfig,
        *,
        folds: int,
        rng: np.random.Generator,
        plain: bool = False,
    ) -> Self:
        """Fit the regressions.

        Parameters
        ----------
        folds
            Of the held-out residuals behind the mean and the upper estimate.
        plain
            Whether expected lengths are regressed as they are, and not as logarithms.
        """
        n_models = len(labels.models)
        log_tokens = _log_tokens(labels)
        if log_tokens is None:
            return cls(
                tokens=None,
                spread=None,
                factor=np.full(n_models, 1.0, np.float32),
                upper=np.full(n_models, np.log(DEFAULT_UPPER_FACTOR), np.float32),
            )
        residuals = _held_out_residuals(x, log_tokens, head, folds, rng)
        # Lengths of short answers scatter little, those of essays and code a lot.
        spread = head.build().fit(x, _log_size(residuals), rng=rng)
        log_spread = clipped(spread.predict_mean(x), *_LOG_SPREAD)
        around = np.asarray(np.exp(log_spread), np.float32)
        upper = _upper_quantiles(residuals / around)
        tokens = head.build().fit(x, log_tokens, rng=rng)
        guess = np.exp(log_tokens - residuals)
        ratio = nan_mean(np.exp(log_tokens), default=1.0) / nan_mean(guess, default=1.0)
        factor = np.clip(ratio, *_FACTORS).astype(np.float32)
        as_they_are = None
        if plain:
            as_they_are = head.build().fit(x, np.expm1(log_tokens), rng=rng)
        return cls(tokens=tokens, spread=spread, factor=factor, upper=upper, plain=as_they_are)

    @property
    def known(self) -> bool:
        """Whether lengths were learned; a documented one is assumed otherwise."""
        return self.tokens is not None

    def predict(self, x: FloatMatrix) -> tuple[FloatMatrix, FloatMatrix]:
        """Return expected and upper output tokens, (n_queries, n_models) each."""
        log_tokens, spread = self._log_lengths(x)
        upper = self.upper * spread
        upper += log_tokens
        np.exp(upper, out=upper)
        upper -= 1
        if self.scattered:
            log_tokens += spread**2 / 2
        if self.plain is not None:
            expected = np.minimum(self.plain.predict_mean(x), np.float32(_MAX_TOKENS))
        else:
            expected = np.exp(log_tokens)
            expected *= self.factor
            expected -= 1
        np.maximum(expected, 0, out=expected)
        return expected, np.maximum(upper, expected, out=upper)

    def _log_lengths(self, x: FloatMatrix) -> tuple[FloatMatrix, FloatMatrix]:
        """Return log(1 + tokens) as regressed, and its standard deviation."""
        n_models = len(self.upper)
        if self._both is None:
            shape = (len(x), n_models)
            assumed = np.full(shape, math.log1p(DEFAULT_OUTPUT_TOKENS), np.float32)
            return assumed, np.ones(shape, np.float32)
        # Nothing was seen beyond some length: a head that extrapolates must not price it.
        both = self._both(x)
        np.maximum(both, self._least, out=both)
        np.minimum(both, self._most, out=both)
        return both[:, :n_models], np.exp(both[:, n_models:])

    def insert(self, x: FloatMatrix, labels: Labels) -> None:
        """Have heads that remember queries remember further ones, where their lengths are known."""
        log_tokens = _log_tokens(labels)
        if log_tokens is None or self.tokens is None:
            return
        known = ~np.isnan(log_tokens).all(axis=1)
        x, log_tokens = x[known], log_tokens[known]
        if isinstance(self.spread, KnnHead) and len(x):
            self.spread.insert(x, _log_size(log_tokens - self._log_lengths(x)[0]))
        if isinstance(self.tokens, KnnHead):
            self.tokens.insert(x, log_tokens)

    def forget(self, x: FloatMatrix) -> None:
        """Have heads that remember queries forget these."""
        for head in (self.tokens, self.spread):
            if isinstance(head, KnnHead):
                head.forget(x)

    def state(self) -> dict[str, np.ndarray]:
        """Return the arrays of both heads and the corrections of their estimates."""
        state: dict[str, np.ndarray] = {}
        if self.tokens is not None:
            state |= prefixed("tokens.", self.tokens.state())
        if self.spread is not None:
            state |= prefixed("spread.", self.spread.state())
        if self.plain is not None:
            state |= prefixed("plain.", self.plain.state())
        return state | {"smear" if self.scattered else "factor": self.factor, "upper": self.upper}

    @classmethod
    def restore(cls, state: State, head: HeadConfig) -> Self:
        """Read what `state` returned.

        Raises
        ------
        KeyError, ValueError
            If an array is missing or has the wrong shape.
        """
        tokens, spread = under("tokens.", state), under("spread.", state)
        if bool(tokens) != bool(spread):
            raise ValueError("lengths of answers and their spread are only known together")
        plain = under("plain.", state)
        scattered = "smear" in state
        return cls(
            tokens=head.build().restore(tokens) if tokens else None,
            spread=head.build().restore(spread) if spread else None,
            factor=take(state, "smear" if scattered else "factor", ndim=1),
            upper=take(state, "upper", ndim=1),
            scattered=scattered,
            plain=head.build().restore(plain) if plain else None,
        )

    def note(self) -> str:
        """Say where the lengths come from."""
        if self.known:
            return "learned"
        return f"assumed to be {DEFAULT_OUTPUT_TOKENS:.0f}: none were given"


def typical_log_length(output_tokens: FloatMatrix) -> FloatArray:
    """Return the mean of log(1 + predicted tokens) over models: (n,)."""
    return np.asarray(np.log1p(np.asarray(output_tokens, np.float64)).mean(axis=1))


def length_ratios(output_tokens: FloatArray, typical: FloatArray) -> tuple[float, float]:
    """Return the logarithms of a model's expected and upper length over the typical one.

    Parameters
    ----------
    output_tokens
        (n,), NaN where unknown.
    typical
        (n,), `typical_log_length` of the same queries.
    """
    known = ~np.isnan(output_tokens)
    if not known.any():
        return 0.0, float(np.log(DEFAULT_UPPER_FACTOR))
    residual = np.sort(np.log1p(np.maximum(output_tokens[known], 0)) - typical[known])
    center = float(residual.mean())
    smear = float(np.clip(np.exp(residual - center).mean(), 1.0, _MAX_SMEAR))
    rank = int(np.ceil((len(residual) + 1) * UPPER_QUANTILE))
    return center + float(np.log(smear)), float(residual[min(rank, len(residual)) - 1])


def _held_out_residuals(
    x: FloatMatrix,
    log_tokens: FloatMatrix,
    config: HeadConfig,
    folds: int,
    rng: np.random.Generator,
) -> FloatMatrix:
    residuals = np.full_like(log_tokens, np.nan)
    fold = rng.permutation(len(x)) % folds
    for held in range(folds):
        train, test = fold != held, fold == held
        known = ~np.isnan(log_tokens[train]).all(axis=0)
        if not test.any() or not known.any():
            continue
        head = config.build()
        head.fit(x[train], log_tokens[train][:, known], rng=rng)
        mean = head.predict_mean(x[test])
        residuals[np.ix_(test, known)] = log_tokens[np.ix_(test, known)] - mean
    return residuals


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
