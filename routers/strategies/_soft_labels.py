"""Labels of "is the small model good enough", from one answer or several."""

import numpy as np
from numpy.typing import NDArray

from routers.numeric import FloatArray

_SAME = 1e-9
_GRID = 101


def good_enough(
    small: NDArray[np.floating], large: NDArray[np.floating], *, margin: float
) -> FloatArray:
    """Return the share of pairs of answers in which the small model's is good enough.

    Parameters
    ----------
    small, large
        (n_queries, n_samples) qualities on any scale, NaN where there are fewer samples; the
        numbers of samples may differ.
    margin
        How much worse the small model's answer may be, in quality units.

    Returns
    -------
    (n_queries,) in [0, 1]; NaN where one of the two has no answer.

    References
    ----------
    Ding et al. 2024, Hybrid LLM, arXiv:2404.14618: y(t) = Pr[q(S) >= q(L) - t].
    """
    gap = _gaps(small, large)
    known = ~np.isnan(gap)
    count = known.sum(axis=(1, 2))
    enough = (np.where(known, gap, np.inf) <= margin + _SAME).sum(axis=(1, 2))
    return np.where(count > 0, enough / np.maximum(count, 1), np.nan)


def mean_difference(y: NDArray[np.floating]) -> float:
    """Return the mean of |y_i - y_j| over all ordered pairs, each with itself included.

    Sorting makes it O(n log n): the sum is 2 sum_k (2k - n - 1) y_(k).

    References
    ----------
    Gini 1912; the objective of Ding et al. 2024, arXiv:2404.14618.
    """
    ordered = np.sort(np.asarray(y, np.float64))
    n = len(ordered)
    rank = np.arange(1, n + 1)
    return float(2 * ((2 * rank - n - 1) * ordered).sum() / n**2)


def best_margin(small: NDArray[np.floating], large: NDArray[np.floating]) -> float:
    """Return the margin whose labels differ most from each other.

    Where the small model is nearly always worse, labels without a margin are all near zero and
    teach nothing. The margin is searched on 101 steps from zero to the largest gap.

    References
    ----------
    Ding et al. 2024, Hybrid LLM, arXiv:2404.14618.
    """
    gap = _gaps(small, large)
    known = gap[~np.isnan(gap)]
    if len(known) == 0 or known.max() <= 0:
        return 0.0
    grid = np.linspace(0, known.max(), _GRID)
    spreads = []
    for margin in grid:
        y = good_enough(small, large, margin=float(margin))
        spreads.append(mean_difference(y[~np.isnan(y)]))
    return float(grid[int(np.argmax(spreads))])


def _gaps(small: NDArray[np.floating], large: NDArray[np.floating]) -> FloatArray:
    """Return how much better every answer of the large model is: (n, n_small, n_large)."""
    wide = np.asarray(large, np.float64)[:, None, :] - np.asarray(small, np.float64)[:, :, None]
    return np.asarray(wide)
