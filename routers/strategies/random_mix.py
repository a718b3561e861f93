"""Baseline: random mixtures of single models, the ZeroRouter."""

# ruff: noqa: RUF009  (unfitted() declares a field)

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from routers.base import ROUTERS, FitContext
from routers.options import State, take, unfitted
from routers.strategies._constant import ConstantRouter
from routers.strategies._phases import Phases
from routers.types import FloatMatrix, Predictions


@ROUTERS.register("random-mix")
@dataclass(kw_only=True)
class RandomMixRouter(ConstantRouter):
    """Mix neighbours on the hull of single models, so that the knob moves along all of it.

    What a router has to beat: it knows every model's mean quality and nothing of the query. Each
    query scales all qualities by a factor of its own, drawn from 1 - spread to 1, which is as if
    the knob stood elsewhere by that factor. Where the knob passes from one model to the next, it
    does so for one query after the other, and in between the two are mixed at random.

    Parameters
    ----------
    spread
        Small against the ratio of the rates at which the knob changes models; else three models
        are mixed, which is still random but no longer on the hull.

    References
    ----------
    Hu et al. 2024, RouterBench, arXiv:2403.12031.
    """

    kind: ClassVar[str] = "random-mix"

    spread: Annotated[float, Field(gt=0, lt=1)] = 0.1
    phases_: Phases = unfitted()

    def _fit(self, context: FitContext) -> None:
        self.phases_ = Phases.learn(context.x, 1, rng=context.rng)
        super()._fit(context)

    def _predict(self, x: FloatMatrix) -> Predictions:
        means = super()._predict(x)
        factor = 1 - self.spread * self.phases_.draw(x)
        return Predictions(
            quality=(means.quality * factor).astype(np.float32),
            quality_std=means.quality_std,
            output_tokens=means.output_tokens,
            output_tokens_upper=means.output_tokens_upper,
        )

    def state(self) -> dict[str, np.ndarray]:
        """Return the means and the direction of the draws."""
        return {**super().state(), "directions": self.phases_.directions}

    def _restore(self, state: State) -> None:
        super()._restore(state)
        directions = take(state, "directions", ndim=2)
        if directions.shape[1] != 1:
            raise ValueError("the draws of a random mixture are one per query")
        self.phases_ = Phases(directions)
