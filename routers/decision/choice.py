"""One rule of quality against cost, for many queries at once and for a single one."""

import itertools
import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from routers.decision.dominance import TIE, cheap_then_good, part_undominated, undominated
from routers.numeric import FloatArray

DEAREST = 1e300
"""Stands for an unknown cost where costs only break ties."""

_FINELY_RANKED = 24
"""Nobody tries that many models for one request: behind them, those that are not worth considering
are ranked without telling again which of them are worse."""


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
    picks = choose_each(quality, cost_usd, [usd_per_quality], model_ids=model_ids)
    return np.asarray(picks[0])


def choose_each(
    quality: NDArray[np.floating],
    cost_usd: NDArray[np.floating],
    usd_per_quality: Iterable[float],
    *,
    model_ids: Sequence[str] | None = None,
    weigh_all: bool = False,
) -> NDArray[np.intp]:
    """Return (n_rates, n_queries), what `choose` returns at each of several exchange rates.

    What is worth considering does not depend on the rate, and takes longer to find than a choice.

    Parameters
    ----------
    quality, cost_usd, model_ids
        As in `choose`.
    usd_per_quality
        The exchange rates.
    weigh_all
        Whether all are worth considering, as where goals are weighed (`rank_all`).
    """
    q = np.asarray(quality, dtype=np.float64)
    cost = np.asarray(cost_usd, dtype=np.float64)
    order: NDArray[np.intp] | None = None
    if model_ids is not None and any(a > b for a, b in itertools.pairwise(model_ids)):
        order = np.asarray(sorted(range(len(model_ids)), key=model_ids.__getitem__))
        q, cost = q[:, order], cost[:, order]
    rates = [float(rate) for rate in usd_per_quality]
    picks = np.empty((len(rates), len(q)), np.intp)
    weighed = None
    for row, rate in enumerate(rates):
        if math.isinf(rate):
            picks[row] = _cheapest_of_tied(q, np.fmin(cost, DEAREST), TIE)
            continue
        if weighed is None:
            sound = np.ones(q.shape, bool) if weigh_all else undominated(q, cost)
            weighed = np.where(sound, q, -np.inf), np.where(sound, cost, np.inf)
        sound_q, sound_cost = weighed
        if rate == 0:
            cheapest = sound_cost <= sound_cost.min(axis=1, keepdims=True)
            among = np.where(cheapest, sound_q, -np.inf)
            picks[row] = (among >= among.max(axis=1, keepdims=True) - TIE).argmax(axis=1)
        else:
            # The rule times the rate: at small rates cost / rate would drown the quality.
            utility = rate * sound_q - sound_cost
            picks[row] = _cheapest_of_tied(utility, sound_cost, TIE * rate)
    return picks if order is None else order[picks]


def _cheapest_of_tied(utility: FloatArray, cost: FloatArray, tie: float) -> NDArray[np.intp]:
    tied = utility >= utility.max(axis=1, keepdims=True) - tie
    return np.asarray(np.where(tied, cost, np.inf).argmin(axis=1))


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
    if math.isinf(usd_per_quality):
        return _ordered(list(candidates), usd_per_quality)
    ranked: list[str] = []
    left = sorted(candidates, key=cheap_then_good)
    while left:
        sound, out = part_undominated(left) if len(ranked) < _FINELY_RANKED else (left, [])
        # The others are still better than no answer, where all of these fail.
        ranked += _ordered(sound, usd_per_quality)
        left = out
    return ranked


def rank_all(candidates: Iterable[tuple[str, float, float]], usd_per_quality: float) -> list[str]:
    """Order the candidates of one query, best first, each of them by quality and cost alone.

    Where goals are weighed none is out of the question beforehand: of a model that costs about as
    much as a better one, its size may still decide. So that the more a goal weighs, the less of it
    the choice costs, whatever the query.
    """
    return _ordered(list(candidates), usd_per_quality)


def _ordered(rows: list[tuple[str, float, float]], usd_per_quality: float) -> list[str]:
    if usd_per_quality == 0:
        order = sorted((cost, -quality, model_id) for model_id, quality, cost in rows)
        cheapest, best, _ = order[0]
        winner = min(row[2] for row in order if row[0] <= cheapest and row[1] <= best + TIE)
    else:
        if math.isinf(usd_per_quality):
            order = sorted((-quality, cost, model_id) for model_id, quality, cost in rows)
            tie = TIE
        else:
            order = sorted(
                [
                    (cost - usd_per_quality * quality, cost, model_id)
                    for model_id, quality, cost in rows
                ]
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
    return ranked
