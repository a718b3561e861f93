"""Which candidates are worth considering at all, however little quality is worth."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

TIE = 1e-9
"""Qualities (and utilities in quality units) closer than this count as equal."""

NEAR_COST = 1.1
"""A candidate that costs at most this many times as much costs about the same."""

WORTH = 0.02
"""How much better it has to be for the cheaper one to be out of the question."""

SEEN = 0.01
"""A smaller gain in quality is not seen by anybody, and so not paid for."""


def undominated(quality: NDArray[np.floating], cost_usd: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Return which candidates are worth considering, whatever the exchange rate; row by row.

    No one pays a tenth less for an answer that is worse by more than .02: a candidate is left out
    where another costs at most 1.1 times as much and is that much better. And no one pays more
    for what nobody sees: from the cheapest up, where a candidate is better by more than .01 than
    all that stayed before, the cheapest that is at most .01 worse than it stays in its place.

    Parameters
    ----------
    quality, cost_usd
        (n_queries, n_models). Unknown costs (NaN) count as the highest; of equal candidates the
        first stays.
    """
    n, m = quality.shape
    kept = np.zeros((n, m), bool)
    if n == 0 or m == 0:
        return kept
    known = np.where(np.isnan(cost_usd), np.inf, cost_usd)
    order = np.lexsort((-quality, known), axis=1)
    q = np.take_along_axis(quality, order, axis=1)
    cost = np.take_along_axis(known, order, axis=1)
    best = np.full(n, -np.inf)
    sound = np.zeros((n, m), bool)
    """Which are not left out for a better one that costs about the same."""
    for column in range(m):
        rest = slice(column, None)
        near = cost[:, rest] <= NEAR_COST * cost[:, column, None]
        # Nothing is near where costs are unknown.
        near &= np.isfinite(cost[:, column, None])
        better = np.where(near, q[:, rest], -np.inf).max(axis=1) > q[:, column] + WORTH
        sound[:, column] = ~better
        seen = np.flatnonzero(~better & (q[:, column] > best + SEEN))
        if seen.size:
            so_far = slice(0, column + 1)
            as_good = sound[seen, so_far] & (q[seen, so_far] >= q[seen, column, None] - SEEN)
            cheapest = as_good.argmax(axis=1)
            best[seen] = q[seen, cheapest]
            kept[seen, order[seen, cheapest]] = True
    return kept


Row = tuple[str, float, float]
"""Id, quality and cost in US dollars of a candidate."""


def undominated_rows(rows: Sequence[Row]) -> list[Row]:
    """Return the rows that `undominated` keeps, cheapest first, without arrays.

    Parameters
    ----------
    rows
        Id, quality and cost in US dollars of each candidate of one query; of equal ones the
        first by id stays.
    """
    return part_undominated(sorted(rows, key=cheap_then_good))[0]


def part_undominated(by_cost: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """Return the rows that `undominated` keeps and the others, each in the order that they had.

    Parameters
    ----------
    by_cost
        Rows in the order of `cheap_then_good`.
    """
    costs = [row[2] for row in by_cost]
    costs.append(math.nan)  # which nothing reaches
    kept: list[int] = []
    waiting: list[int] = []
    """Sound ones, by so little better than what stayed that they may yet stand for a better one."""
    reached, within, best = 0, -math.inf, -math.inf
    for place, (_, quality, cost) in enumerate(by_cost):
        if quality <= best:
            continue
        limit = NEAR_COST * cost
        while costs[reached] <= limit:
            near = by_cost[reached][1]
            if near > within:  # noqa: PLR1730  (`max` would be called for every row of every query)
                within = near
            reached += 1
        if within > quality + WORTH:
            continue
        if quality <= best + SEEN:
            waiting.append(place)
            continue
        stays, seen = place, quality - SEEN
        for each in waiting:
            if by_cost[each][1] >= seen:
                stays = each
                waiting.append(place)
                break
        kept.append(stays)
        best = by_cost[stays][1]
        waiting = [each for each in waiting if by_cost[each][1] > best]
    others = list(by_cost)
    for place in reversed(kept):
        del others[place]
    return [by_cost[place] for place in kept], others


def cheap_then_good(row: Row) -> tuple[float, float, str]:
    """Return what sorts the rows of one query: cheapest first, of equal cost the best."""
    return row[2], -row[1], row[0]
