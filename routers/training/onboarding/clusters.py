"""Clusters of queries, and what a model makes of each of them."""

import numpy as np

from routers.numeric import FloatArray, unit_rows
from routers.types import FloatMatrix

SHRINKAGE = 10.0
"""Anchors that the overall error counts for in every cluster; UniRoute's range is 5 to 20."""

_MAX_STEPS = 50


def cluster_centers(x: FloatMatrix, n_clusters: int, *, seed: int = 0) -> FloatMatrix:
    """Return spherical k-means centres: float32 unit rows, at most `n_clusters` of them.

    The same input gives the same centres. Clusters that run empty are dropped.

    References
    ----------
    Arthur and Vassilvitskii 2007, k-means++ (the start); Dhillon and Modha 2001, Concept
    decompositions (cosine).
    """
    rng = np.random.default_rng(seed)
    rows = unit_rows(np.asarray(x, np.float32))
    centers = _spread_out(rows, min(n_clusters, len(rows)), rng)
    assigned = np.full(len(rows), -1)
    for _ in range(_MAX_STEPS):
        nearest = (rows @ centers.T).argmax(axis=1)
        if (nearest == assigned).all():
            break
        assigned = nearest
        sums = np.stack([rows[assigned == k].sum(axis=0) for k in np.unique(assigned)])
        centers = unit_rows(sums)
        assigned = np.unique(assigned, return_inverse=True)[1]
    return centers


def _spread_out(rows: FloatMatrix, n: int, rng: np.random.Generator) -> FloatMatrix:
    picked = [int(rng.integers(len(rows)))]
    distance = np.maximum(1 - rows @ rows[picked[0]], 0)
    while len(picked) < n and distance.sum() > 1e-9:
        picked.append(int(rng.choice(len(rows), p=distance / distance.sum())))
        distance = np.minimum(distance, np.maximum(1 - rows @ rows[picked[-1]], 0))
    return rows[picked]


def shrunk_errors(
    errors: FloatArray, clusters: np.ndarray, n_clusters: int, *, strength: float = SHRINKAGE
) -> FloatArray:
    """Return the mean error of every cluster, shrunk toward the overall mean.

    Parameters
    ----------
    errors
        (n,) losses in [0, 1].
    clusters
        (n,) in [0, n_clusters).
    strength
        S in (n_k err_k + S err) / (n_k + S); an empty cluster has the overall error.

    References
    ----------
    Jitkrittum et al. 2025, UniRoute, arXiv:2502.08773.
    """
    count = np.bincount(clusters, minlength=n_clusters)
    total = np.bincount(clusters, weights=errors, minlength=n_clusters)
    return np.asarray((total + strength * errors.mean()) / (count + strength))
