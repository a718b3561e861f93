"""One rule of quality against cost, for many queries at once and for a single one."""

import itertools
import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from routers.dominance import TIE, undominated, undominated_rows

DEAREST = 1e300
"""Stands for an unknown cost where costs only break ties."""


def choose(
    quality: NDArray[np.floating],
    cost_usd: NDArray[np.floating],
    usd_per_quality: float,
    *,
    model_ids: Sequence[str] | None = None,
) -> NDArray[np.intp]:
    """Return the column that maximises quality - cost / usd_per_quality, row by row.

    This one function serves calibration and batches; `rank` does the same for a live request, so
    that what was calibrated is what happens.

    Parameters
    ----------
    quality, cost_usd
        (n_queries, n_models). Costs may be NaN or infinite (unknown) only where
        `usd_per_quality` is infinite.
    usd_per_quality
        What one unit of quality is worth, in US dollars: 0 takes the cheapest that is worth
        considering (`undominated`; of equal costs the one of higher quality), infinity the
        highest quality.
    model_ids
        Names of the columns. Utilities within 1e-9 (in quality units) are a tie: the cheaper
        one wins, then the lexicographically first id, or the first column without ids.

    References
    ----------
    Somerstep et al. 2025, CARROT, arXiv:2502.03261 (the plug-in rule).
    """
    q = np.asarray(quality, dtype=np.float64)
    cost = np.asarray(cost_usd, dtype=np.float64)
    order: NDArray[np.intp] | None = None
    winner: NDArray[np.intp]
    if model_ids is not None and any(a > b for a, b in itertools.pairwise(model_ids)):
        order = np.asarray(sorted(range(len(model_ids)), key=model_ids.__getitem__))
        q, cost = q[:, order], cost[:, order]
    if not math.isinf(usd_per_quality):
        sound = undominated(q, cost)
        q, cost = np.where(sound, q, -np.inf), np.where(sound, cost, np.inf)
    if usd_per_quality == 0:
        cheapest = cost <= cost.min(axis=1, keepdims=True)
        q = np.where(cheapest, q, -np.inf)
        winner = (q >= q.max(axis=1, keepdims=True) - TIE).argmax(axis=1)
    else:
        if math.isinf(usd_per_quality):
            cost = np.fmin(cost, DEAREST)
            utility, tie = q, TIE
        else:
            # The same rule times the rate: at small rates cost / rate would drown the quality.
            utility, tie = usd_per_quality * q - cost, TIE * usd_per_quality
        tied = utility >= utility.max(axis=1, keepdims=True) - tie
        winner = np.where(tied, cost, np.inf).argmin(axis=1)
    return winner if order is None else np.asarray(order[winner])


def rank(candidates: Iterable[tuple[str, float, float]], usd_per_quality: float) -> list[str]:
    """Order the candidates of one query, best first: `choose` for one row, without arrays.

    Some ten candidates cost a few microseconds here and several times that as arrays. A property
    test holds the first to what `choose` picks.

    Parameters
    ----------
    candidates
        Id, quality and cost in US dollars of each; at least one.
    usd_per_quality
        As in `choose`.
    """
    rows = list(candidates)
    sound = rows if math.isinf(usd_per_quality) else undominated_rows(rows)
    out = [] if len(sound) == len(rows) else [row for row in rows if row not in sound]
    if usd_per_quality == 0:
        order = sorted((cost, -quality, model_id) for model_id, quality, cost in sound)
        cheapest, best, _ = order[0]
        tied = [row[2] for row in order if row[0] <= cheapest and row[1] <= best + TIE]
        winner = min(tied)
    else:
        if math.isinf(usd_per_quality):
            order = sorted((-quality, cost, model_id) for model_id, quality, cost in sound)
            tie = TIE
        else:
            order = sorted(
                (cost - usd_per_quality * quality, cost, model_id)
                for model_id, quality, cost in sound
            )
            tie = TIE * usd_per_quality
        winner = order[0][2]
        edge = order[0][0] + tie
        if len(order) > 1 and order[1][0] <= edge:
            winner = min(row[1:] for row in order if row[0] <= edge)[1]
    ranked = [model_id for _, _, model_id in order]
    if ranked[0] != winner:
        ranked.remove(winner)
        ranked.insert(0, winner)
    if out:
        # Still better than no answer, where all others fail.
        ranked += rank(out, usd_per_quality)
    return ranked
