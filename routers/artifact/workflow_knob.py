"""What a position of the knob means for a policy of several calls."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from routers.errors import ArtifactError
from routers.numeric import FloatArray, isotonic

_NO_GAP = 1e-6


@dataclass(frozen=True, slots=True)
class WorkflowKnob:
    """A map from positions of the knob to those that single choice has for the same exchange rate.

    t promises the share t of the quality between the ends of the knob. An exchange rate recovers
    another share with a workflow than with single choice, so the position is moved before it
    becomes a rate. It goes by positions rather than by rates: prices and candidates may change.

    Attributes
    ----------
    cost_quality
        Strictly increasing from 0 to 1.
    at
        Non-decreasing from 0 to 1.
    """

    cost_quality: tuple[float, ...]
    at: tuple[float, ...]

    def __post_init__(self) -> None:
        t, at = self.cost_quality, self.at
        sound = (
            len(t) == len(at) >= 2
            and (t[0], t[-1]) == (0.0, 1.0)
            and all(a < b for a, b in itertools.pairwise(t))
            and all(a <= b for a, b in itertools.pairwise(at))
            and at[0] >= 0
            and at[-1] <= 1
        )
        if not sound:
            raise ArtifactError(
                "the knob of a workflow has to lead from 0 to 1, and never back; fit it again"
            )

    def position(self, t: float) -> float:
        """Return where the knob of single choice has to stand; the ends stay where they are."""
        if t <= 0:
            return 0.0
        return 1.0 if t >= 1 else float(np.interp(t, self.cost_quality, self.at))

    def to_table(self) -> list[list[float]]:
        """Return the knots as plain pairs for a manifest."""
        return [list(knot) for knot in zip(self.cost_quality, self.at, strict=True)]

    @classmethod
    def from_table(cls, table: Sequence[Sequence[float]]) -> Self:
        """Rebuild it from `to_table`.

        Raises
        ------
        ArtifactError
            If the table is no such map.
        """
        try:
            knots = [(float(t), float(at)) for t, at in table]
        except (TypeError, ValueError) as error:
            raise ArtifactError("the knob of a workflow must be a list of pairs") from error
        return cls(tuple(t for t, _ in knots), tuple(at for _, at in knots))

    @classmethod
    def fit(cls, at: FloatArray, quality: FloatArray) -> Self:
        """Find the least position for every share of the gap.

        Parameters
        ----------
        at
            Positions of single choice's knob, increasing from 0 to 1.
        quality
            What the workflow realised at each, on queries that it was not fitted on.
        """
        found = np.array(quality, dtype=np.float64)
        # Beyond its maximum the realised curve only loses: nothing there may pull the rest down.
        found[found.argmax() :] = found.max()
        level = isotonic(found)
        gap = level[-1] - level[0]
        if gap <= _NO_GAP:
            return cls((0.0, 1.0), (0.0, 1.0))
        share, first = np.unique((level - level[0]) / gap, return_index=True)
        share[0], share[-1] = 0.0, 1.0
        return cls(tuple(share.tolist()), tuple(np.asarray(at, np.float64)[first].tolist()))
