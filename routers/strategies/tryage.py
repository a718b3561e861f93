"""Of every model the loss that it is predicted to have; goals are weighed when deciding."""

# ruff: noqa: RUF009  (unfitted() declares a field)

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from routers.base import ROUTERS, FitContext, Router
from routers.estimators.answer_lengths import AnswerLengths
from routers.heads.base import Head, HeadConfig
from routers.numeric import clipped
from routers.options import State, prefixed, require_fitted, under, unfitted
from routers.types import FloatMatrix, Predictions

_LINEAR, _ROTATED = HeadConfig(kind="linear"), HeadConfig(kind="rotated")


@ROUTERS.register("tryage")
@dataclass(kw_only=True)
class TryageRouter(Router):
    """Regress every model's loss on the query, by squared error, and nothing else.

    The loss of an outcome is 1 - quality; pairs of query and model may be missing anywhere. What
    the paper adds to the loss, constraints under flags, is weighed when deciding, whatever the
    router (`routers.decision.goals`): with `x-cost-quality: 1` the decision is the paper's.

    Parameters
    ----------
    loss_head
        The regression of losses: one per model (`linear`), or one network for all of them, as
        published (`kind: mlp, options: {loss: squared}`).
    tokens_head, residual_folds
        Of output tokens, as in `carrot`.

    References
    ----------
    Hari and Thomson 2023, Tryage: real-time, intelligent routing of user prompts to large language
    models, arXiv:2308.11601.
    """

    kind: ClassVar[str] = "tryage"

    loss_head: HeadConfig = _LINEAR
    tokens_head: HeadConfig = _ROTATED
    residual_folds: Annotated[int, Field(ge=2, le=20)] = 5
    loss_: Head = unfitted()
    lengths_: AnswerLengths = unfitted()

    def _fit(self, context: FitContext) -> None:
        x, labels, rng = context.x, context.labels, context.rng
        self.loss_ = self.loss_head.build().fit(x, 1 - labels.quality, rng=rng)
        self.lengths_ = AnswerLengths.learn(
            x, labels, self.tokens_head, folds=self.residual_folds, rng=rng
        )

    def _predict(self, x: FloatMatrix) -> Predictions:
        loss, std = self.loss_.predict(x)
        expected, upper = self.lengths_.predict(x)
        return Predictions(
            quality=clipped(1 - loss, 0, 1),
            quality_std=std,
            output_tokens=expected,
            output_tokens_upper=upper,
        )

    def state(self) -> dict[str, np.ndarray]:
        """Return the arrays of both heads."""
        require_fitted(self, "loss_")
        return prefixed("loss.", self.loss_.state()) | self.lengths_.state()

    def _restore(self, state: State) -> None:
        self.loss_ = self.loss_head.build().restore(under("loss.", state))
        self.lengths_ = AnswerLengths.restore(state, self.tokens_head)

    def notes(self) -> dict[str, Any]:
        """Say where the token estimates come from."""
        return {"output_tokens": self.lengths_.note()}
