"""Ordered cascades: which models to try, in which order, until one of them succeeds.

References
----------
Gai and Zhou 2018, Cost-aware cascading bandits, arXiv:1805.08638.
"""

import math
from collections.abc import Sequence


def best_order(
    chances: Sequence[float],
    costs_usd: Sequence[float],
    *,
    value_usd: float,
    max_stages: int | None = None,
) -> tuple[int, ...]:
    """Return the cascade that is worth the most: indices in the order of trying, maybe none.

    Sorting by chance / cost is best for whichever models are tried, and without a limit those
    are worth trying whose chance times value exceeds the cost. A limit asks for more than to keep
    the first ones: which models to leave out is found by looking at the rest of the cascade.

    Parameters
    ----------
    value_usd
        What a success is worth.
    max_stages
        How many models may be tried; None for all.
    """
    order = [
        index
        for index in sorted(
            range(len(chances)),
            key=lambda each: (
                -_ratio(chances[each], costs_usd[each]),
                costs_usd[each],
                -chances[each],
                each,
            ),
        )
        if chances[index] * value_usd > costs_usd[index]
    ]
    if max_stages is None or len(order) <= max_stages:
        return tuple(order)
    # worth[k]: of the best cascade of at most k of the models looked at, from the last one on.
    worth: list[tuple[float, tuple[int, ...]]] = [(0.0, ())] * (max_stages + 1)
    for index in reversed(order):
        chance, gain_usd = chances[index], chances[index] * value_usd - costs_usd[index]
        longer = list(worth)
        for k in range(1, max_stages + 1):
            after_usd, after = worth[k - 1]
            with_it = gain_usd + (1 - chance) * after_usd
            if with_it > worth[k][0]:
                longer[k] = (with_it, (index, *after))
        worth = longer
    return worth[max_stages][1]


def cascade_worth_usd(
    order: Sequence[int], chances: Sequence[float], costs_usd: Sequence[float], *, value_usd: float
) -> float:
    """Return what a cascade is worth: the value of a success less the cost of what is tried."""
    reached, worth_usd = 1.0, 0.0
    for index in order:
        worth_usd += reached * (chances[index] * value_usd - costs_usd[index])
        reached *= 1 - chances[index]
    return worth_usd


def _ratio(chance: float, cost_usd: float) -> float:
    if cost_usd <= 0:
        return math.inf
    return chance / cost_usd
