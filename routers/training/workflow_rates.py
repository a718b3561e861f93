"""At which exchange rates a workflow is measured, and what the knob then means for it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from routers.artifact.workflow_knob import MULTIPLES, WorkflowKnob, between
from routers.evaluation.frame import kept_rows
from routers.evaluation.scene import Position
from routers.numeric import FloatArray, nan_mean

_ROUNDS = 2
"""How often it is looked between rates."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """How a workflow went at ascending exchange rates.

    Attributes
    ----------
    rates
        In US dollars per unit of quality, from 0 to infinity.
    positions
        One per rate.
    knob
        What positions of the knob come down to.
    """

    rates: FloatArray
    positions: list[Position]
    knob: WorkflowKnob

    def at(self, rate: float) -> Position:
        """Return how it went at the nearest rate, by their ratio."""
        if rate <= 0:
            return self.positions[0]
        apart = np.abs(np.log(self.rates[1:-1] / rate))
        return self.positions[1 + int(apart.argmin())]


def measure(
    go: Callable[[Sequence[float]], list[Position]], outcomes: FloatArray, dear_usd: float
) -> Measured:
    """Have a workflow answer queries at exchange rates, more of them where its quality moves.

    Parameters
    ----------
    go
        Returns how it goes at each of some rates, on queries that it was not fitted on.
    outcomes
        Of the candidates, (n_queries, n_candidates).
    dear_usd
        What answers of the dearest candidate usually cost.
    """
    kept = kept_rows(outcomes)

    def quality_of(positions: Sequence[Position]) -> FloatArray:
        each = np.stack([position.quality(outcomes) for position in positions])
        return nan_mean(each[:, kept].T, default=np.nan)

    multiples, positions = MULTIPLES, go((MULTIPLES * dear_usd).tolist())
    for _ in range(_ROUNDS):
        further = between(multiples, quality_of(positions))
        if not len(further):
            break
        multiples = np.concatenate([multiples, further])
        positions = [*positions, *go((further * dear_usd).tolist())]
        order = np.argsort(multiples)
        multiples, positions = multiples[order], [positions[i] for i in order]
    return Measured(
        rates=multiples * dear_usd,
        positions=positions,
        knob=WorkflowKnob.fit(multiples, quality_of(positions)),
    )
