"""A policy of several calls against single choice that may spend as much."""

from dataclasses import dataclass

import numpy as np

from routers.evaluation.bootstrap import Interval, weighted_means
from routers.evaluation.frame import Frame, hull_settings
from routers.numeric import FloatArray

_SPLITS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Gains:
    """How much better a policy is than single choice.

    Attributes
    ----------
    area
        Difference of the areas under quality over cost: on average over all costs. Where a policy
        does not get as cheap as the cheapest model, it shares the queries with that one.
    positions
        Difference of quality at the cost of each position. Where a position costs less than the
        cheapest single choice, or more than the dearest, against that one.
    """

    area: Interval
    positions: tuple[Interval, ...]


def gains(
    frame: Frame,
    cost: FloatArray,
    quality: FloatArray,
    single_cost: FloatArray,
    single_quality: FloatArray,
    *,
    steered: bool = True,
) -> Gains:
    """Compare what the positions of a policy realised with what single choice did.

    Parameters
    ----------
    cost, quality
        Of each position on every query of the frame, (n_positions, n_queries).
    single_cost, single_quality
        Of each setting of single choice, likewise: every exchange rate of a router, every model
        by itself. What lies between two settings is had by mixing them.
    steered
        Whether the knob steers the policy. One that it does not steer is one setting: its area is
        that of single choice with the policy at hand.

    Notes
    -----
    The settings of single choice that are compared with are chosen on one half of the queries and
    measured on the other, both ways, for several splits: chosen where they are measured they
    would be flattered by their number. Intervals are of a paired bootstrap over prompts.
    """
    settings = with_cheapest(frame, cost, quality)
    if not steered:
        settings = beside_singles(cost, quality, single_cost, single_quality)
    mine = frame.fair_area_of(*settings)
    other = frame.fair_area_of(single_cost, single_quality)
    draws = mine[1] - other[1]
    differences = _at_equal_cost(frame, cost, quality, single_cost, single_quality)
    return Gains(
        area=Interval.of(mine[0] - other[0], draws),
        positions=tuple(Interval.of(float(each[0]), each[1:]) for each in differences.T),
    )


def with_cheapest(
    frame: Frame, cost: FloatArray, quality: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return settings, (n_settings, n_queries), and below them the cheapest model by itself."""
    column = int(np.nanargmin(frame.singles[0]))
    rows = frame.rows
    return np.vstack([cost, rows.cost_usd[:, column]]), np.vstack(
        [quality, rows.quality[:, column]]
    )


def beside_singles(
    cost: FloatArray, quality: FloatArray, single_cost: FloatArray, single_quality: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return the one setting of a policy that the knob does not steer, above single choice."""
    return np.vstack([cost[:1], single_cost]), np.vstack([quality[:1], single_quality])


def _at_equal_cost(
    frame: Frame,
    cost: FloatArray,
    quality: FloatArray,
    single_cost: FloatArray,
    single_quality: FloatArray,
) -> FloatArray:
    """Return the differences, (1 + n_draws, n_positions): of all queries, then of every draw."""
    rng = np.random.default_rng(frame.seed)
    n = len(frame.rows)
    weights = np.vstack([np.ones((1, n)), frame.weights])
    found = []
    for _ in range(_SPLITS):
        half = rng.permutation(n) % 2 == 0
        for chosen_on in (half, ~half):
            on = hull_settings(single_cost[:, chosen_on], single_quality[:, chosen_on])
            of_half = weights[:, ~chosen_on]
            policy = [weighted_means(each[:, ~chosen_on], of_half) for each in (cost, quality)]
            single = [
                weighted_means(each[on][:, ~chosen_on], of_half)
                for each in (single_cost, single_quality)
            ]
            found.append(
                [
                    q - np.interp(c, single_c[order], single_q[order])
                    for c, q, single_c, single_q in zip(*policy, *single, strict=True)
                    for order in (np.argsort(single_c),)
                ]
            )
    return np.asarray(np.mean(found, axis=0))
