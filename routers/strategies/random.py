"""Baseline: a coin that is weighted by the threshold."""

# ruff: noqa: RUF009  (unfitted() declares a field)

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from routers.base import ROUTERS, FitContext
from routers.options import State, take, unfitted
from routers.strategies._constant import ConstantRouter
from routers.strategies._phases import Phases
from routers.types import FloatMatrix, Predictions


@ROUTERS.register("random")
@dataclass(kw_only=True)
class RandomRouter(ConstantRouter):
    """Draw the chance that one model beats another uniformly from (0, 1), query by query.

    Under a threshold of 1 - p the share p of all queries goes to the strong model, whichever two
    models are named: every model draws its strength from a Gumbel distribution, and the
    difference of two such is logistic. The draw belongs to the query: asked again, it gets the
    same model.

    Quality is every model's mean on the training data, as for `best-single`: a knob, which
    follows quality, is not random. `random-mix` is.

    References
    ----------
    Ong et al. 2024, RouteLLM, arXiv:2406.18665.
    """

    kind: ClassVar[str] = "random"

    phases_: Phases = unfitted()

    def _fit(self, context: FitContext) -> None:
        self.phases_ = Phases.learn(context.x, len(context.labels.models), rng=context.rng)
        super()._fit(context)

    def _predict(self, x: FloatMatrix) -> Predictions:
        means = super()._predict(x)
        return Predictions(
            quality=means.quality,
            quality_std=means.quality_std,
            output_tokens=means.output_tokens,
            output_tokens_upper=means.output_tokens_upper,
            strength=-np.log(-np.log(self.phases_.draw(x))).astype(np.float32),
        )

    def state(self) -> dict[str, np.ndarray]:
        """Return the means and the directions of the draws."""
        return {**super().state(), "directions": self.phases_.directions}

    def _restore(self, state: State) -> None:
        super()._restore(state)
        directions = take(state, "directions", ndim=2)
        if directions.shape[1] != len(self.quality_):
            raise ValueError("the draws of a random router do not fit its models")
        self.phases_ = Phases(directions)
