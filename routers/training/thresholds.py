"""Thresholds of the strong/weak rule: for a share of strong calls, or an allowed quality drop.

Scores are those of `routers.decision.pairwise.strong_scores`; the strong model is called where a
score is at or above the threshold.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from routers.errors import DataError

FEWEST_SCORES = 500
"""With fewer recent scores a threshold in use is better kept than replaced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ThresholdFit:
    """A threshold, and what it does on the traffic it was fitted on.

    Attributes
    ----------
    threshold
        Call the strong model where the score is at least this.
    strong_share
        Share of queries that then go to the strong model.
    quality_drop
        Mean quality given up against always calling the strong model; None without outcomes.
    n_queries
        How many queries it was fitted on.
    """

    threshold: float
    strong_share: float
    quality_drop: float | None
    n_queries: int


def threshold_for_share(scores: NDArray[np.floating], strong_share: float) -> ThresholdFit:
    """Return the threshold that sends a share of this traffic to the strong model.

    It is the quantile 1 - share of the scores. Where many scores are equal the realised share,
    which is told, may be far from the wanted one: no threshold separates equals.

    Parameters
    ----------
    scores
        (n_queries,), of traffic like that to come; the calibration is valid for such only.
    strong_share
        In [0, 1]; 0 gives a threshold above every score.

    Raises
    ------
    DataError
        If there are no scores, or the share is none.

    References
    ----------
    Ong et al. 2024, RouteLLM, arXiv:2406.18665.
    """
    known = _scores(scores)
    if not 0 <= strong_share <= 1:
        raise DataError(f"a share of strong calls is between 0 and 1, not {strong_share:g}")
    if strong_share == 0:
        threshold = float(np.nextafter(known.max(), np.inf))
    else:
        threshold = float(np.quantile(known, 1 - strong_share))
    return ThresholdFit(
        threshold=threshold,
        strong_share=float((known >= threshold).mean()),
        quality_drop=None,
        n_queries=len(known),
    )


def threshold_for_drop(
    scores: NDArray[np.floating],
    strong: NDArray[np.floating],
    weak: NDArray[np.floating],
    *,
    max_drop: float,
) -> ThresholdFit:
    """Return the threshold of fewest strong calls that gives up at most `max_drop` of quality.

    Parameters
    ----------
    scores
        (n_queries,), by a router that has not learned from these queries.
    strong, weak
        (n_queries,), realised qualities of the two models.
    max_drop
        Allowed mean drop against always calling the strong model, in quality units.

    Raises
    ------
    DataError
        If there are no scores, lengths differ, or outcomes are unknown.

    Notes
    -----
    The drop is met on these queries, not guaranteed on others.

    References
    ----------
    Ding et al. 2024, Hybrid LLM, arXiv:2404.14618 (about 500 queries, allowed drop 1 %).
    """
    known = _scores(scores)
    gap = np.asarray(strong, np.float64) - np.asarray(weak, np.float64)
    if gap.shape != known.shape or np.isnan(gap).any():
        raise DataError("every score needs the qualities of both models to allow for a drop")
    order = np.argsort(known, kind="stable")
    ordered = known[order]
    drop = np.concatenate([[0.0], np.cumsum(gap[order])]) / len(known)
    # The first k queries go to the weak model; only between different scores can be cut.
    cuts = np.concatenate([[0], np.flatnonzero(ordered[1:] > ordered[:-1]) + 1, [len(known)]])
    cut = int(cuts[drop[cuts] <= max_drop + 1e-12].max(initial=0))
    beyond = cut == len(known)
    threshold = float(np.nextafter(ordered[-1], np.inf) if beyond else ordered[cut])
    return ThresholdFit(
        threshold=threshold,
        strong_share=1 - cut / len(known),
        quality_drop=float(drop[cut]),
        n_queries=len(known),
    )


def share_has_drifted(realised: float, target: float, n_queries: int) -> bool:
    """Whether the share of strong calls is further from its target than chance explains.

    The alarm is raised beyond three standard errors: for traffic like that of the calibration,
    about three times in a thousand.

    Parameters
    ----------
    realised, target
        Shares in [0, 1].
    n_queries
        How many queries `realised` was counted on.
    """
    return abs(realised - target) > 3 * math.sqrt(target * (1 - target) / max(n_queries, 1))


def _scores(scores: NDArray[np.floating]) -> NDArray[np.float64]:
    known = np.asarray(scores, np.float64)
    if known.ndim != 1 or len(known) == 0 or not np.isfinite(known).all():
        raise DataError("a threshold needs one finite score per query, and at least one query")
    return known
