"""Models grouped by how strong they are."""

import numpy as np
from numpy.typing import NDArray


def tiers_of(rating: NDArray[np.floating], n_tiers: int) -> NDArray[np.intp]:
    """Group ratings into tiers of the least sum of variances within, by dynamic programming.

    The variances are not weighted by how many ratings a tier holds, as published: the few models
    at either end get tiers of their own sooner than the many of the middle are told apart.

    Parameters
    ----------
    rating
        (n_models,).
    n_tiers
        So many; fewer where there are fewer different ratings.

    Returns
    -------
    (n_models,), 0 for the highest tier; equal ratings share one.

    References
    ----------
    Ong et al. 2024, RouteLLM, arXiv:2406.18665 (ten tiers of the arena's models).
    """
    levels, level_of, count = np.unique(
        -np.asarray(rating, np.float64), return_inverse=True, return_counts=True
    )
    n = len(levels)
    # Centred, as the sums of squares below cancel.
    centred = levels - levels.mean()
    weight, total, square = (
        np.concatenate([[0.0], np.cumsum(count * centred**power)]) for power in (0, 1, 2)
    )
    # variance[i, j]: of the levels i to j - 1, infinite where there are none.
    n_within = weight[None, :] - weight[:, None]
    sum_within = total[None, :] - total[:, None]
    scatter = square[None, :] - square[:, None] - sum_within**2 / np.maximum(n_within, 1)
    variance = np.maximum(scatter, 0) / np.maximum(n_within, 1)
    variance = np.where(n_within > 0, variance, np.inf)

    least = variance[0]  # of the levels below j in one tier
    starts = []  # where the last tier begins, by number of tiers
    for _ in range(min(n_tiers, n) - 1):
        options = least[:, None] + variance
        starts.append(options.argmin(axis=0))
        least = options.min(axis=0)
    tier = np.zeros(n, np.intp)
    end = n
    for number, start in reversed(list(enumerate(starts, 1))):
        begin = int(start[end])
        tier[begin:end] = number
        end = begin
    return np.asarray(tier[level_of], np.intp)
