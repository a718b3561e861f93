"""Two models, one score: how much of the gap is recovered for how many calls of the strong one."""

import numpy as np
from numpy.typing import NDArray

from routers.numeric import FloatArray

_BLOCK_FLOATS = 4_000_000


def gap_curve(
    score: NDArray[np.floating], weak: NDArray[np.floating], strong: NDArray[np.floating]
) -> tuple[FloatArray, FloatArray]:
    """Return the share of strong calls and the gap recovered, at every possible threshold.

    Parameters
    ----------
    score
        (n,), the higher the sooner the strong model is called; equal scores move together, in
        expectation.
    weak, strong
        (n,), quality of either model on the query.

    References
    ----------
    Ong et al. 2024, RouteLLM, arXiv:2406.18665 (the performance gap recovered).
    """
    share, recovered = _curves(score, weak, strong, np.ones((1, len(score))))
    return share[0], recovered[0]


def apgr(share: FloatArray, recovered: FloatArray) -> float:
    """Return the mean gap recovered over all shares of strong calls (trapezoids)."""
    return float(np.trapezoid(recovered, share))


def cpt(share: FloatArray, recovered: FloatArray, *, level: float) -> float:
    """Return the least share of strong calls that recovers `level` of the gap.

    Linear between the points; NaN where the level is never reached.
    """
    reached = np.flatnonzero(recovered >= level)
    if len(reached) == 0:
        return float("nan")
    at = int(reached[0])
    if at == 0:
        return float(share[0])
    low, high = recovered[at - 1], recovered[at]
    part = (level - low) / (high - low)
    return float(share[at - 1] + part * (share[at] - share[at - 1]))


def apgr_draws(
    score: NDArray[np.floating],
    weak: NDArray[np.floating],
    strong: NDArray[np.floating],
    weights: FloatArray,
) -> FloatArray:
    """Return APGR for every row of resampling weights (n_draws, n)."""
    step = max(1, _BLOCK_FLOATS // max(1, len(score)))
    parts = []
    for start in range(0, len(weights), step):
        share, recovered = _curves(score, weak, strong, weights[start : start + step])
        parts.append(np.trapezoid(recovered, share, axis=1))
    return np.concatenate(parts)


def _curves(
    score: NDArray[np.floating],
    weak: NDArray[np.floating],
    strong: NDArray[np.floating],
    weights: FloatArray,
) -> tuple[FloatArray, FloatArray]:
    order = np.argsort(-score, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(score[order]) != 0, True))
    w = weights[:, order]
    zero = np.zeros((len(w), 1))
    called = np.hstack([zero, np.cumsum(w, axis=1)[:, ends]])
    gain = np.hstack([zero, np.cumsum(w * (strong - weak)[order], axis=1)[:, ends]])
    # In a draw where the two are equally good no share of a gap is recovered by anything.
    gap = np.where(gain[:, -1:] != 0, gain[:, -1:], np.nan)
    return called / called[:, -1:], gain / gap
