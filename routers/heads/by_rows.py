"""Two heads, one for few outcomes and one for many, weighed by how many there are."""

# ruff: noqa: RUF009  (unfitted() declares a field)

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar, Self

import numpy as np
from pydantic import Field

from routers.heads._base import HEADS, Head, HeadConfig
from routers.options import State, require_fitted, unfitted
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

    Parameters
    ----------
    few, many
        The two heads.
    all_until, none_from
        Mean number of outcomes per model.

    Notes
    -----
    The uncertainty is that of the head for many outcomes, widened by how far the two disagree.
    """

    kind: ClassVar[str] = "by-rows"

    few: HeadConfig = HeadConfig(kind="rotated")
    many: HeadConfig = HeadConfig(kind="mlp")
    all_until: Annotated[float, Field(gt=0)] = 500
    none_from: Annotated[float, Field(gt=0)] = 4000
    weight_: FloatVector = unfitted()  # (1,), of the head for few outcomes
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

    def _weight(self, y: FloatMatrix) -> float:
        n = (~np.isnan(y)).sum() / y.shape[1]
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
        weight = self._weight(y)
        self.weight_ = np.array([weight], np.float32)
        self.many_ = self.many.build().fit(x, y, rng=rng, start=start)
        self.few_ = self.few.build().fit(x, y, rng=rng) if weight > 0 else None

    def predict(self, x: FloatMatrix) -> tuple[FloatMatrix, FloatMatrix]:
        """Return the weighted mean of both heads, and how far it may be off."""
        require_fitted(self, "many_")
        return self._together(x, *self.many_.predict(x))

    def predict_residual(
        self, x: FloatMatrix, start: FloatMatrix
    ) -> tuple[FloatMatrix, FloatMatrix]:
        """Return the same of heads that were fitted with a start."""
        require_fitted(self, "many_")
        return self._together(x, *self.many_.predict_residual(x, start))

    def _together(
        self, x: FloatMatrix, mean: FloatMatrix, std: FloatMatrix
    ) -> tuple[FloatMatrix, FloatMatrix]:
        if self.few_ is None:
            return mean, std
        (weight,) = self.weight_
        apart = self.few_.predict_mean(x) - mean
        return mean + weight * apart, np.hypot(std, np.sqrt(weight * (1 - weight)) * apart)

    def narrow(self, n_models: int) -> None:
        """Forget all but the first models."""
        require_fitted(self, "many_")
        self.many_.narrow(n_models)
        if self.few_ is not None:
            self.few_.narrow(n_models)

    def state(self) -> dict[str, np.ndarray]:
        """Return the weight and the arrays of the heads that have any."""
        require_fitted(self, "many_")
        parts = {"many": self.many_, "few": self.few_}
        return {"weight": self.weight_} | {
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
        self.weight_ = np.asarray(state["weight"], np.float32)
        if self.weight_.shape != (1,) or not 0 <= self.weight_[0] <= 1:
            raise ValueError("the weight of a by-rows head is not one number from 0 to 1")
        if (self.weight_[0] > 0) != bool(parts["few"]):
            raise ValueError("a by-rows head has a second head where it has a weight")
        self.many_ = self.many.build().restore(parts["many"])
        self.few_ = self.few.build().restore(parts["few"]) if parts["few"] else None
        return self
