"""Two heads, one for few outcomes and one for many, weighed by how many there are."""

# ruff: noqa: RUF009  (unfitted() declares a field)

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar, Self

import numpy as np
from pydantic import Field

from routers.heads.base import HEADS, Head, HeadConfig
from routers.numeric import nan_mean
from routers.options import State, require_fitted, take, unfitted
from routers.types import FloatMatrix, FloatVector

_MOST = 0.5
"""Weight of the head for few outcomes where there are few: the two err in different places."""


@HEADS.register("by-rows")
@dataclass(kw_only=True)
class ByRowsHead(Head):
    """Average a head for few outcomes with one for many; the former's weight falls with the rows.

    A regression with two penalties is steady on some hundred outcomes, and on many thousand it
    misses what a network sees: half and half up to `all_until` outcomes per model, the network
    alone from `none_from` on, and between them by the logarithm of their number. What has no
    weight is neither fitted nor stored.

    With fewest outcomes even the average tells models apart by noise. Of the differences between
    models that a query is said to make, the share n^2 / (n^2 + half_at^2) is kept for n outcomes
    per model: with 50 hardly more than the models' means is left, moved together.

    Parameters
    ----------
    few, many
        The two heads.
    all_until, none_from, half_at
        Mean number of outcomes per model.

    Notes
    -----
    The uncertainty is that of the head for many outcomes, widened by how far the two disagree.
    """

    kind: ClassVar[str] = "by-rows"

    few: HeadConfig = HeadConfig(kind="rotated")
    many: HeadConfig = HeadConfig(kind="mlp")
    all_until: Annotated[float, Field(gt=0)] = 150
    none_from: Annotated[float, Field(gt=0)] = 2000
    half_at: Annotated[float, Field(ge=0)] = 150
    weight_: FloatVector = unfitted()  # (1,), of the head for few outcomes
    kept_: FloatVector = unfitted()  # (1,), share of the differences between models
    mean_: FloatVector = unfitted()  # (n_models,)
    few_: Head | None = unfitted()
    many_: Head = unfitted()

    @property
    def shares_between_models(self) -> bool:  # type: ignore[override]
        """Whether the head for many outcomes does."""
        return self.many.build().shares_between_models

    @property
    def learns_residuals(self) -> bool:
        """Whether the head for many outcomes does; the other has no use for a start."""
        return self.many.build().learns_residuals

    def _weight(self, n: float) -> float:
        share = math.log(self.none_from / n) / math.log(self.none_from / self.all_until)
        return _MOST * min(max(share, 0.0), 1.0)

    def _fit(self, x: FloatMatrix, y: FloatMatrix, *, rng: np.random.Generator) -> None:
        self._learn(x, y, None, rng)

    def _fit_residual(
        self, x: FloatMatrix, y: FloatMatrix, start: FloatMatrix, *, rng: np.random.Generator
    ) -> None:
        self._learn(x, y, start, rng)

    def _learn(
        self, x: FloatMatrix, y: FloatMatrix, start: FloatMatrix | None, rng: np.random.Generator
    ) -> None:
        n = float((~np.isnan(y)).sum() / y.shape[1])
        self.mean_ = nan_mean(y, default=0.0).astype(np.float32)
        self.kept_ = np.array([n**2 / (n**2 + self.half_at**2)], np.float32)
        self.weight_ = np.array([self._weight(n)], np.float32)
        self.many_ = self.many.build().fit(x, y, rng=rng, start=start)
        self.few_ = self.few.build().fit(x, y, rng=rng) if self.weight_[0] > 0 else None

    def predict(self, x: FloatMatrix) -> tuple[FloatMatrix, FloatMatrix]:
        """Return the weighted mean of both heads, and how far it may be off."""
        require_fitted(self, "many_")
        return self._shrunk(*self._average(x, None))

    def predict_residual(
        self, x: FloatMatrix, start: FloatMatrix
    ) -> tuple[FloatMatrix, FloatMatrix]:
        """Return the same of heads that were fitted with a start."""
        require_fitted(self, "many_")
        return self._shrunk(*self._average(x, start))

    def _average(
        self, x: FloatMatrix, start: FloatMatrix | None
    ) -> tuple[FloatMatrix, FloatMatrix]:
        mean, std = (
            self.many_.predict(x) if start is None else self.many_.predict_residual(x, start)
        )
        if self.few_ is None:
            return mean, std
        (weight,) = self.weight_
        apart = self.few_.predict_mean(x) - mean
        return mean + weight * apart, np.hypot(std, np.sqrt(weight * (1 - weight)) * apart)

    def _shrunk(self, mean: FloatMatrix, std: FloatMatrix) -> tuple[FloatMatrix, FloatMatrix]:
        """Keep as much of the differences between models as so many outcomes can tell."""
        (kept,) = self.kept_
        above = mean - self.mean_
        doubted = (1 - kept) * (above - above.mean(axis=1, keepdims=True))
        return mean - doubted, np.hypot(std, doubted)

    def narrow(self, n_models: int) -> None:
        """Forget all but the first models."""
        require_fitted(self, "many_")
        self.many_.narrow(n_models)
        self.mean_ = self.mean_[:n_models]
        if self.few_ is not None:
            self.few_.narrow(n_models)

    def state(self) -> dict[str, np.ndarray]:
        """Return weight, share, means, and the arrays of the heads that have a weight."""
        require_fitted(self, "many_")
        parts = {"many": self.many_, "few": self.few_}
        own = {"weight": self.weight_, "kept": self.kept_, "mean": self.mean_}
        return own | {
            f"{part}.{name}": array
            for part, head in parts.items()
            if head is not None
            for name, array in head.state().items()
        }

    def restore(self, state: State) -> Self:
        """Take over what `state` returned."""
        parts: dict[str, dict[str, np.ndarray]] = {"many": {}, "few": {}}
        for key, array in state.items():
            part, _, name = key.partition(".")
            if name and part in parts:
                parts[part][name] = array
        self.weight_, self.kept_ = take(state, "weight", ndim=1), take(state, "kept", ndim=1)
        self.mean_ = take(state, "mean", ndim=1)
        for share in (self.weight_, self.kept_):
            if share.shape != (1,) or not 0 <= share[0] <= 1:
                raise ValueError("the weights of a by-rows head are not one number from 0 to 1")
        if (self.weight_[0] > 0) != bool(parts["few"]):
            raise ValueError("a by-rows head has a second head where it has a weight")
        self.many_ = self.many.build().restore(parts["many"])
        self.few_ = self.few.build().restore(parts["few"]) if parts["few"] else None
        return self
