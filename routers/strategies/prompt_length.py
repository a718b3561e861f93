"""Baseline: the length of the prompt and nothing else."""

# ruff: noqa: RUF009  (unfitted() declares a field)

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from routers.base import ROUTERS, FitContext, Router
from routers.errors import RoutingConfigError
from routers.heads.base import Head, HeadConfig
from routers.options import State, prefixed, require_fitted, under, unfitted
from routers.strategies._lengths import Lengths
from routers.types import FloatMatrix, Predictions

_LOGISTIC = HeadConfig(kind="logistic")


@ROUTERS.register("prompt-length")
@dataclass(kw_only=True)
class PromptLengthRouter(Router):
    """Predict every model's quality from one column of the features.

    On many benchmarks that alone separates easy from hard, and a learned router that does not
    beat it has learned little else.

    Parameters
    ----------
    column
        Which feature is the length. With `blocks: [lexical]` in the recipe it is column 0, the
        logarithm of the number of characters.
    head
        The regression on it; `logistic` can only rise or fall with the length.
    """

    kind: ClassVar[str] = "prompt-length"

    column: Annotated[int, Field(ge=0)] = 0
    head: HeadConfig = _LOGISTIC
    head_: Head = unfitted()
    lengths_: Lengths = unfitted()

    def _fit(self, context: FitContext) -> None:
        x, labels = context.x, context.labels
        if self.column >= x.shape[1]:
            raise RoutingConfigError(
                f"option 'column' is {self.column}, but there are {x.shape[1]} features"
            )
        self.head_ = self.head.build().fit(self._length(x), labels.quality, rng=context.rng)
        self.lengths_ = Lengths.learn(labels)

    def _length(self, x: FloatMatrix) -> FloatMatrix:
        return x[:, self.column : self.column + 1]

    def _predict(self, x: FloatMatrix) -> Predictions:
        quality, std = self.head_.predict(self._length(x))
        expected, upper = self.lengths_.rows(len(x))
        return Predictions(
            quality=np.clip(quality, 0, 1),
            quality_std=std,
            output_tokens=expected,
            output_tokens_upper=upper,
        )

    def state(self) -> dict[str, np.ndarray]:
        """Return the head's arrays and the lengths of answers."""
        require_fitted(self, "lengths_")
        return {**self.lengths_.state(), **prefixed("head.", self.head_.state())}

    def _restore(self, state: State) -> None:
        self.lengths_ = Lengths.restore(state)
        self.head_ = self.head.build().restore(under("head.", state))

    def notes(self) -> dict[str, Any]:
        """Say which column was read, and where the lengths of answers come from."""
        return {"column": self.column, "output_tokens": self.lengths_.note()}
