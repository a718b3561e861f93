"""What the best of n answers comes to, exactly, from more samples than n.

References
----------
Ding et al. 2025, BEST-Route, arXiv:2506.22716.
"""

from math import comb

import numpy as np

from routers.numeric import FloatArray


def match_chances(samples: FloatArray, reference: FloatArray, n_max: int) -> FloatArray:
    """Return the chance that the best of n answers is as good as one of the reference.

    Of N samples, f of which are worse than the reference's answer, n drawn without replacement are
    all worse with the chance C(f, n) / C(N, n). Several answers of the reference are averaged.

    Parameters
    ----------
    samples, reference
        (n_queries, n_samples) of quality; NaN where there are fewer.

    Returns
    -------
    (n_queries, n_max), of n from 1 on; NaN where there are fewer than n samples, or none of the
    reference.
    """
    known = ~np.isnan(samples)
    n_known = known.sum(axis=1)
    result = np.full((len(samples), n_max), np.nan)
    worse = (samples[:, :, None] < reference[:, None, :]) & known[:, :, None]
    n_worse = worse.sum(axis=1)  # (n_queries, n_reference)
    told = ~np.isnan(reference)
    n_told = told.sum(axis=1)
    for n in range(1, n_max + 1):
        all_ways = _ways(n_known, n)
        bad_ways = _ways(n_worse, n)
        with np.errstate(invalid="ignore", divide="ignore"):
            match = 1 - bad_ways / all_ways[:, None]
            mean = np.where(told, match, 0.0).sum(axis=1) / n_told
        usable = (n_known >= n) & (n_told > 0)
        result[usable, n - 1] = mean[usable]
    return result


def expected_best(samples: FloatArray, n_max: int) -> FloatArray:
    """Return the expected quality of the best of n answers, (n_queries, n_max).

    The i-th best of N samples is the best of n with the chance (C(i, n) - C(i - 1, n)) / C(N, n),
    i counted from the worst. NaN where there are fewer than n samples.
    """
    ordered = np.sort(samples, axis=1)  # NaN last
    n_known = (~np.isnan(samples)).sum(axis=1)
    place = np.arange(1, samples.shape[1] + 1)
    result = np.full((len(samples), n_max), np.nan)
    for n in range(1, n_max + 1):
        usable = n_known >= n
        gained = _ways(place, n) - _ways(place - 1, n)
        total = np.where(np.isnan(ordered), 0.0, ordered * gained).sum(axis=1)
        result[usable, n - 1] = total[usable] / _ways(n_known[usable], n)
    return result


def _ways(of: np.ndarray, n: int) -> FloatArray:
    """Return C(of, n) of small numbers."""
    table = np.array([comb(each, n) for each in range(int(of.max(initial=0)) + 1)], np.float64)
    return np.asarray(table[of], np.float64)
