"""What a position of the knob means for a policy of several calls."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from routers.decision.knob import KnobCurve
from routers.errors import ArtifactError
from routers.numeric import FloatArray, isotonic

MULTIPLES: FloatArray = np.concatenate([[0.0], np.geomspace(5e-4, 3e1, 28), [np.inf]])
"""Of what a dear answer costs: the exchange rates at which workflows are rehearsed."""

_WIDE, _MOST_BETWEEN = 0.03, 16
"""From what share of the gap on a step between two of them is looked into, and how many are."""

_POSITIONS, _SHARES = (0.0, 0.8, 0.9, 0.95, 1.0), (0.0, 0.8, 0.93, 0.975, 1.0)
"""What share positions of the knob aim at: towards the end, where quality is dear and steps are
wide, a little more than they promise."""


@dataclass(frozen=True, slots=True)
class WorkflowKnob:
    """A map from positions of the knob to exchange rates, in multiples of a dear answer's cost.

    t promises the share t of the quality between the ends of the knob, as it does for single
    choice; but an exchange rate recovers another share with several calls than with one. Rates are
    told in multiples of what the dearest candidate's answers usually cost, so that they follow
    prices and candidates.

    Attributes
    ----------
    multiples
        By share of the gap.
    """

    multiples: KnobCurve

    def usd_per_quality(self, t: float, dear_usd: float) -> float:
        """Return the exchange rate of position `t` in [0, 1]; 0 at 0.

        At 1 that is the rate beyond which further calls gained nothing, rather than infinity.

        Parameters
        ----------
        dear_usd
            What answers of the dearest candidate usually cost.
        """
        if t >= 1:
            return self.multiples.usd_per_quality[-1] * dear_usd
        share = float(np.interp(t, _POSITIONS, _SHARES))
        return self.multiples.usd_per_quality_for(share) * dear_usd

    def to_table(self) -> list[list[float]]:
        """Return the knots as plain pairs for a manifest."""
        return self.multiples.to_table()

    @classmethod
    def from_table(cls, table: Sequence[Sequence[float]]) -> Self:
        """Rebuild it from `to_table`.

        Raises
        ------
        ArtifactError
            If the table is no such map.
        """
        try:
            return cls(KnobCurve.from_table(table))
        except ArtifactError as error:
            raise ArtifactError(f"the knob of its workflow: {error}") from error

    @classmethod
    def fit(cls, multiples: FloatArray, quality: FloatArray) -> Self:
        """Find the least rate for every share of the gap.

        Parameters
        ----------
        multiples
            Increasing from 0 to infinity.
        quality
            What the workflow realised at each, on queries that it was not fitted on.
        """
        return cls(KnobCurve.of_levels(multiples, np.asarray(quality, np.float64)))


def between(multiples: FloatArray, quality: FloatArray) -> FloatArray:
    """Return the multiples to look at as well: between two that much of the gap lies between.

    Many queries may move at nearly the same rate: the steps of few rates would be coarse there.
    """
    level = isotonic(np.asarray(quality, np.float64))
    step = np.diff(level)[1:-1] / max(level[-1] - level[0], 1e-9)
    widest = np.argsort(-step, kind="stable")[:_MOST_BETWEEN]
    wide = np.sort(widest[step[widest] > _WIDE])
    inner = multiples[1:-1]
    return np.asarray(np.sqrt(inner[wide] * inner[wide + 1]))
