"""What the knob promised and kept: shares of the quality gap, and how sure they are."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from routers.evaluation.bootstrap import Interval
from routers.numeric import FloatArray

_NO_GAP = 1e-6
"""A smaller difference of quality between the ends of the knob cannot be shared out."""

ONE_CANDIDATE = "there is one candidate only: nothing to route"
CHEAPEST_IS_BEST = "the cheapest candidate is already the best: nothing to route, no gap to share"

KEPT, LESS, MORE = "within noise", "less than promised", "more than promised"


@dataclass(frozen=True, slots=True, kw_only=True)
class Promises:
    """The shares that positions of the knob recovered of the gap between its ends.

    Attributes
    ----------
    gap
        Quality at the dear end minus quality at the cheap one.
    shares
        One per position; None where there is no gap to share.
    no_share
        Why there are no shares, in a sentence; None where there are.
    """

    gap: Interval
    shares: tuple[Interval, ...] | None
    no_share: str | None

    @classmethod
    def of(cls, quality: FloatArray, draws: FloatArray, *, n_models: int) -> "Promises":
        """Compare positions of the knob.

        Parameters
        ----------
        quality
            (n_positions,), mean realised quality from the cheap end to the dear one.
        draws
            (n_draws, n_positions), the same under resampling of the queries.

        Notes
        -----
        A share of a gap that may be none is a number without meaning, however large: where the 95 %
        interval of the gap reaches zero, no share is told.
        """
        gap = Interval.of(float(quality[-1] - quality[0]), draws[:, -1] - draws[:, 0])
        why: str | None = None
        if n_models < 2:
            why = ONE_CANDIDATE
        elif gap.value <= _NO_GAP:
            why = CHEAPEST_IS_BEST
        elif not gap.low > 0:
            why = (
                f"the gap between the ends of the knob, {gap.value:+.4f} [{gap.low:+.4f}, "
                f"{gap.high:+.4f}], is within noise: no share of it can be told"
            )
        if why is not None:
            return cls(gap=gap, shares=None, no_share=why)
        width = draws[:, -1:] - draws[:, :1]
        shares = (draws - draws[:, :1]) / np.where(width > 0, width, np.nan)
        share = (quality - quality[0]) / gap.value
        return cls(
            gap=gap,
            shares=tuple(Interval.of(float(v), shares[:, i]) for i, v in enumerate(share)),
            no_share=None,
        )


def verdict(promised: float, share: Interval | None) -> str | None:
    """Say whether a deviation from a promise is noise; None where no share is told.

    The ends of the knob are what shares are measured by: there is nothing to keep.
    """
    if share is None or not 0 < promised < 1 or not np.isfinite([share.low, share.high]).all():
        return None
    if share.high < promised:
        return LESS
    return MORE if share.low > promised else KEPT


def knob_lines(steps: Sequence[dict[str, Any]], no_share: str | None) -> list[str]:
    """Return what a terminal is told of the knob, a line for each position.

    Parameters
    ----------
    steps
        As `routers.evaluation.assess.knob_record` returns them.
    """
    if any(step["quality"] is None for step in steps):
        return ["knob: no query tells the quality at all of its positions"]
    lines = [f"knob, on {steps[0]['n']} queries that it was not calibrated on:"]
    for step in steps:
        line = f"  {step['cost_quality']:.1f}: quality {step['quality']:.3f}"
        share = step["share_of_gap"]
        if share is not None:
            low, high = step["share_of_gap_interval"]
            line += f", {share:.2f} [{low:.2f}, {high:.2f}] of the gap"
        if step["promise"] is not None:
            line += f": {step['promise']}"
        lines.append(line)
    return lines if no_share is None else [*lines, f"  {no_share}"]
