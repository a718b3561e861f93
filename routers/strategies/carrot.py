"""Plug-in routing: predict every model's quality and output length, then weigh by price."""

# ruff: noqa: RUF009  (unfitted() declares a field)

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from routers.base import ROUTERS, AuxiliarySet, Labels, Router
from routers.heads._base import Head, HeadConfig
from routers.numeric import nan_mean
from routers.options import State, require_fitted, take, unfitted
from routers.types import UPPER_QUANTILE, FloatMatrix, FloatVector, Predictions

DEFAULT_OUTPUT_TOKENS = 256.0
"""Assumed output length of every model where no outcome tells it."""

DEFAULT_UPPER_FACTOR = 4.0
"""How much longer than assumed an unknown output may be."""

_MAX_SMEAR = 3.0

_MLP, _LINEAR = HeadConfig(kind="mlp"), HeadConfig(kind="linear")


@ROUTERS.register("carrot")
@dataclass(kw_only=True)
class CarrotRouter(Router):
    """Predict quality and output tokens per model; prices are applied when deciding.

    Parameters
    ----------
    quality_head, tokens_head
        The regressions to use. Tokens are regressed as log(1 + tokens): lengths scatter by
        factors. Their mean is brought back by the smearing factor of held-out residuals.
    residual_folds
        Folds of the held-out residuals behind the mean and the upper estimate of tokens.

    References
    ----------
    Somerstep et al. 2025, CARROT, arXiv:2502.03261. Duan 1983, Smearing estimate. The upper
    estimate is split-conformal: the `UPPER_QUANTILE` of held-out residuals, per model.
    """

    kind: ClassVar[str] = "carrot"

    quality_head: HeadConfig = _MLP
    tokens_head: HeadConfig = _LINEAR
    residual_folds: Annotated[int, Field(ge=2, le=20)] = 5
    quality_: Head = unfitted()
    tokens_: Head | None = unfitted()
    smear_: FloatVector = unfitted()  # (n_models,), mean of exp(residual)
    upper_: FloatVector = unfitted()  # (n_models,), upper quantile of residuals, in logs

    def _fit(
        self,
        x: FloatMatrix,
        labels: Labels,
        *,
        rng: np.random.Generator,
        auxiliary: Sequence[AuxiliarySet],
    ) -> None:
        del auxiliary  # nothing is shared between models here
        self.quality_ = self.quality_head.build().fit(x, labels.quality, rng=rng)
        n_models = len(labels.models)
        log_tokens = _log_tokens(labels)
        if log_tokens is None:
            self.tokens_ = None
            self.smear_ = np.full(n_models, 1.0, np.float32)
            self.upper_ = np.full(n_models, np.log(DEFAULT_UPPER_FACTOR), np.float32)
            return
        residuals = self._held_out_residuals(x, log_tokens, rng)
        smear = nan_mean(np.exp(residuals), default=1.0)
        self.smear_ = np.clip(smear, 1.0, _MAX_SMEAR).astype(np.float32)
        self.upper_ = _upper_offsets(residuals)
        self.tokens_ = self.tokens_head.build().fit(x, log_tokens, rng=rng)

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
        quality, std = self.quality_.predict(x)
        if self.tokens_ is None:
            shape = (len(x), len(self.smear_))
            log_tokens = np.full(shape, np.log1p(DEFAULT_OUTPUT_TOKENS), np.float32)
        else:
            log_tokens = self.tokens_.predict_mean(x)
        # Nothing was ever seen beyond some length: a head that extrapolates must not price it.
        length = np.exp(np.clip(log_tokens, 0.0, _MAX_LOG_TOKENS))
        expected = np.maximum(length * self.smear_ - 1, 0).astype(np.float32)
        upper = np.maximum(length * np.exp(self.upper_) - 1, expected).astype(np.float32)
        return Predictions(
            quality=np.clip(quality, 0, 1),
            quality_std=std,
            output_tokens=expected,
            output_tokens_upper=upper,
        )

    def state(self) -> dict[str, np.ndarray]:
        """Return the arrays of both heads and the corrections of the token estimates."""
        require_fitted(self, "quality_")
        state = {f"quality.{name}": array for name, array in self.quality_.state().items()}
        if self.tokens_ is not None:
            state |= {f"tokens.{name}": array for name, array in self.tokens_.state().items()}
        return state | {"smear": self.smear_, "upper": self.upper_}

    def _restore(self, state: State) -> None:
        self.quality_ = self.quality_head.build().restore(_under("quality.", state))
        tokens = _under("tokens.", state)
        self.tokens_ = self.tokens_head.build().restore(tokens) if tokens else None
        self.smear_ = take(state, "smear", ndim=1)
        self.upper_ = take(state, "upper", ndim=1)

    def notes(self) -> dict[str, Any]:
        """Say where the token estimates come from."""
        if self.tokens_ is None:
            return {"output_tokens": f"assumed to be {DEFAULT_OUTPUT_TOKENS:.0f}: none were given"}
        return {"output_tokens": "learned"}


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


def _upper_offsets(residuals: FloatMatrix) -> FloatVector:
    """Return the conformal quantile of every model's residuals: rank ceil((n + 1) q) of n."""
    offsets = np.zeros(residuals.shape[1], np.float32)
    for model in range(residuals.shape[1]):
        known = np.sort(residuals[:, model][~np.isnan(residuals[:, model])])
        if len(known) == 0:
            offsets[model] = np.log(DEFAULT_UPPER_FACTOR)
            continue
        rank = int(np.ceil((len(known) + 1) * UPPER_QUANTILE))
        offsets[model] = known[min(rank, len(known)) - 1]
    return offsets


def _under(prefix: str, state: State) -> dict[str, np.ndarray]:
    return {
        name.removeprefix(prefix): array for name, array in state.items() if name.startswith(prefix)
    }
