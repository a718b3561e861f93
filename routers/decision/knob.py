"""The cost-quality knob: what a position t in [0, 1] means in US dollars per unit of quality.

t promises the share t of the quality that lies between the cheapest candidate and the best that
the router can achieve, at the lowest cost. The promise is kept by calibration: for every
exchange rate the realised quality of the router's choices is measured on cross-fitted rows, made
monotone, and inverted.
"""

import itertools
import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from routers.decision.dominance import TIE, undominated
from routers.errors import ArtifactError
from routers.numeric import FloatArray, isotonic

_MAX_RATES = 400
"""Exchange rates at which the realised quality is evaluated."""

_MAX_KNOTS = 129

_NO_GAP = 1e-6
"""A quality gap smaller than this cannot be shared out; the knob then follows the costs."""


@dataclass(frozen=True, slots=True)
class KnobCurve:
    """A strictly increasing map from t in (0, 1) to US dollars per unit of quality.

    Between its knots the logarithm of the rate is linear in t. The ends are exact whatever the
    knots are: t = 0 is the rate 0 (cheapest), t = 1 is infinite (highest predicted quality).

    Attributes
    ----------
    cost_quality
        Knot positions in [0, 1], strictly increasing.
    usd_per_quality
        Positive finite rates at the knots, strictly increasing.
    """

    cost_quality: tuple[float, ...]
    usd_per_quality: tuple[float, ...]

    def __post_init__(self) -> None:
        t, rate = self.cost_quality, self.usd_per_quality
        sound = (
            len(t) == len(rate) >= 2
            and all(a < b for a, b in itertools.pairwise(t))
            and all(a < b for a, b in itertools.pairwise(rate))
            and t[0] == 0.0
            and t[-1] == 1.0
            and rate[0] > 0
            and math.isfinite(rate[-1])
        )
        if not sound:
            raise ArtifactError(
                "a knob table needs at least two knots, strictly increasing from t = 0 to t = 1, "
                "with positive finite rates; fit the artifact again"
            )

    def usd_per_quality_for(self, t: float) -> float:
        """Return the exchange rate of position `t` in [0, 1]; 0 at 0, infinite at 1."""
        if t <= 0:
            return 0.0
        if t >= 1:
            return math.inf
        right = bisect_right(self.cost_quality, t)
        t0, t1 = self.cost_quality[right - 1], self.cost_quality[right]
        low, high = self.usd_per_quality[right - 1], self.usd_per_quality[right]
        return low * math.exp((t - t0) / (t1 - t0) * math.log(high / low))

    def cost_quality_for(self, usd_per_quality: float) -> float:
        """Return the position whose exchange rate is `usd_per_quality`, the inverse map.

        Rates outside the table map to the nearer end.
        """
        rates = self.usd_per_quality
        if usd_per_quality <= rates[0]:
            return 0.0
        if usd_per_quality >= rates[-1]:
            return 1.0
        right = bisect_left(rates, usd_per_quality)
        t0, t1 = self.cost_quality[right - 1], self.cost_quality[right]
        low, high = rates[right - 1], rates[right]
        return t0 + (t1 - t0) * math.log(usd_per_quality / low) / math.log(high / low)

    def to_table(self) -> list[list[float]]:
        """Return the knots as plain [t, usd_per_quality] pairs for a manifest."""
        return [list(knot) for knot in zip(self.cost_quality, self.usd_per_quality, strict=True)]

    @classmethod
    def from_table(cls, table: Sequence[Sequence[float]]) -> Self:
        """Rebuild a curve from `to_table`.

        Raises
        ------
        ArtifactError
            If the table is no strictly increasing curve from t = 0 to t = 1.
        """
        try:
            knots = [(float(t), float(rate)) for t, rate in table]
        except (TypeError, ValueError) as error:
            raise ArtifactError("a knob table must be a list of pairs of numbers") from error
        return cls(tuple(t for t, _ in knots), tuple(rate for _, rate in knots))

    @classmethod
    def fit(
        cls,
        quality_predicted: NDArray[np.floating],
        cost_usd_predicted: NDArray[np.floating],
        quality_realised: NDArray[np.floating] | None = None,
    ) -> Self:
        """Calibrate the map on rows that the router has not learned from.

        Parameters
        ----------
        quality_predicted, cost_usd_predicted
            (n_queries, n_models), finite: cross-fitted predictions.
        quality_realised
            Same shape; NaN where a model was not tried, which counts as predicted.

        Notes
        -----
        Every row's choice as a function of the rate is its upper hull of quality over cost; the
        rates at which it moves are found exactly, so the realised quality is known at every rate
        for the price of a sort. Where there is nothing to share out (one model, or no measured
        gap) t spreads over the moves themselves: the knob then still runs from cheap to dear.
        """
        predicted = np.asarray(quality_predicted, dtype=np.float64)
        cost = np.asarray(cost_usd_predicted, dtype=np.float64)
        realised = predicted
        if quality_realised is not None:
            tried = ~np.isnan(quality_realised)
            realised = np.where(tried, quality_realised, predicted).astype(np.float64)
        rates, gains = _moves(predicted, cost, realised)
        if len(rates) == 0:
            return cls((0.0, 1.0), (1e-6, 1.0))
        order = np.argsort(rates, kind="stable")
        return cls(*_invert(rates[order], np.cumsum(gains[order])))

    @classmethod
    def of_levels(cls, rates: NDArray[np.floating], quality: NDArray[np.floating]) -> Self:
        """Calibrate the map on what was realised at some exchange rates.

        Parameters
        ----------
        rates, quality
            (n_rates,); rates increase from 0 to infinity, with finite ones between.
        """
        level = np.asarray(quality, np.float64)
        return cls(*_invert(np.asarray(rates, np.float64)[1:-1], level[1:-1] - level[0]))


def _moves(
    predicted: FloatArray, cost: FloatArray, realised: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return every rate at which some row changes its choice, and the quality it gains."""
    n, m = predicted.shape
    if n == 0 or m < 2:
        return np.empty(0), np.empty(0)
    rows = np.arange(n)
    sound = undominated(predicted, cost)
    predicted, cost = np.where(sound, predicted, -np.inf), np.where(sound, cost, np.inf)
    cheapest = cost == cost.min(axis=1, keepdims=True)
    at = np.where(cheapest, predicted, -np.inf).argmax(axis=1)
    all_rates: list[FloatArray] = []
    all_gains: list[FloatArray] = []
    for _ in range(m - 1):
        q_at, c_at = predicted[rows, at], cost[rows, at]
        rise = predicted[rows] - q_at[:, None]
        better = rise > TIE
        rate = np.full(rise.shape, np.inf)
        np.divide(cost[rows] - c_at[:, None], rise, out=rate, where=better)
        to = rate.argmin(axis=1)
        local = np.arange(len(rows))
        step = rate[local, to]
        moving = np.isfinite(step)
        if not moving.any():
            break
        rows, at, to, step = rows[moving], at[moving], to[moving], step[moving]
        all_rates.append(step)
        all_gains.append((realised[rows, to] - realised[rows, at]) / n)
        at = to
    if not all_rates:
        return np.empty(0), np.empty(0)
    rates, gains = np.concatenate(all_rates), np.concatenate(all_gains)
    # A rate of zero cannot happen (equal cost and better quality starts the hull), but a
    # difference of costs below the smallest float can.
    return np.maximum(rates, 1e-15), gains


def _invert(
    rates: FloatArray, recovered: FloatArray
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Turn what ascending rates recover into knots: shares of the gap, and their rates."""
    # Evaluate at quantiles of the moves: dense where choices change, bounded in number.
    at = np.unique(np.linspace(0, len(rates) - 1, min(len(rates), _MAX_RATES)).round().astype(int))
    log_rate = np.log(rates[at])
    found = np.concatenate([[0.0], recovered[at]])
    # Beyond its maximum the realised curve only loses: nothing there may pull the rest down.
    found[found.argmax() :] = found.max()
    level = np.maximum(isotonic(found)[1:], 0.0)
    gap = level[-1]
    share = level / gap if gap > _NO_GAP else (at + 1) / len(rates)

    # One knot per level; in the middle of each plateau, but at the start of the last one (the
    # lowest cost that recovers everything) and at the end of the first one.
    # What differs by rounding alone is one level.
    knots_t, first, counts = np.unique(share.round(12), return_index=True, return_counts=True)
    last = first + counts - 1
    middle = (log_rate[first] + log_rate[last]) / 2
    middle[-1] = log_rate[first[-1]]
    low = log_rate[0]
    if knots_t[0] <= 0:
        low = middle[0] = log_rate[last[0]]
        knots_t[0] = 0.0
    else:
        knots_t = np.concatenate([[0.0], knots_t])
        middle = np.concatenate([[low], middle])
    knots_t[-1] = 1.0
    keep = np.unique(np.linspace(0, len(knots_t) - 1, min(len(knots_t), _MAX_KNOTS)).round())
    picked = keep.astype(int)
    return _strictly_increasing(knots_t[picked], middle[picked])


def _strictly_increasing(
    t: FloatArray, log_rate: FloatArray
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Nudge rates apart and drop positions that floating point cannot tell apart."""
    kept_t: list[float] = []
    kept_rate: list[float] = []
    for position, value in zip(t.tolist(), np.exp(log_rate).tolist(), strict=True):
        if kept_t and position - kept_t[-1] < 1e-9:
            continue
        floor = kept_rate[-1] * (1 + 1e-9) if kept_rate else 0.0
        kept_t.append(position)
        kept_rate.append(max(value, floor))
    if len(kept_t) == 1:
        kept_t, kept_rate = [0.0, 1.0], [kept_rate[0], kept_rate[0] * (1 + 1e-6)]
    kept_t[-1] = 1.0
    return tuple(kept_t), tuple(kept_rate)
