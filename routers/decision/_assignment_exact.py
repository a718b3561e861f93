"""The best assignment there is, by mixed-integer programming; for few requests."""

import numpy as np
from numpy.typing import NDArray

from routers.numeric import FloatArray

_MAX_PAIRS = 3_000
_LIMIT_S = 5.0
_SLACK = 0.5
"""Of a number of requests, which is whole."""


def is_small(eligible: NDArray[np.bool_]) -> bool:
    """Return whether an assignment is small enough to be solved exactly, and can be."""
    if int(eligible.sum()) > _MAX_PAIRS:
        return False
    try:
        import scipy.optimize  # noqa: F401, PLC0415  (serving has no scipy)
    except ImportError:
        return False
    return True


def exact_picks(
    quality: FloatArray,
    cost: FloatArray,
    weight: FloatArray,
    eligible: NDArray[np.bool_],
    *,
    budget: float,
    capacity: FloatArray,
) -> NDArray[np.intp] | None:
    """Return who answers what, -1 for nobody; None where it was not found in time.

    First as many requests as can be are served, then by as much quality as can be had.
    """
    from scipy.optimize import LinearConstraint, milp  # noqa: PLC0415
    from scipy.sparse import csr_matrix  # noqa: PLC0415

    rows, columns = np.nonzero(eligible)
    n_pairs = len(rows)
    if not n_pairs:
        return np.full(len(quality), -1, np.intp)
    each = np.arange(n_pairs)
    once = csr_matrix((np.ones(n_pairs), (rows, each)), (len(quality), n_pairs))
    limits = [LinearConstraint(once, ub=1.0)]
    if np.isfinite(budget):
        limits.append(LinearConstraint(cost[rows, columns][None] / budget, ub=1.0))
    for column in np.flatnonzero(np.isfinite(capacity)):
        taken = np.where(columns == column, weight[rows, columns], 0.0) / capacity[column]
        limits.append(LinearConstraint(taken[None], ub=1.0))
    options = {"mip_rel_gap": 0.0, "time_limit": _LIMIT_S}

    def solved(worth: FloatArray, *more: LinearConstraint) -> NDArray[np.bool_] | None:
        found = milp(
            -worth,
            constraints=[*limits, *more],
            integrality=np.ones(n_pairs),
            bounds=(0, 1),
            options=options,
        )
        return None if found.status != 0 else np.asarray(found.x > _SLACK)

    served = solved(np.ones(n_pairs))
    if served is None:
        return None
    as_many = LinearConstraint(np.ones((1, n_pairs)), lb=int(served.sum()) - _SLACK)
    best = solved(quality[rows, columns], as_many)
    if best is None:
        return None
    picks = np.full(len(quality), -1, np.intp)
    picks[rows[best]] = columns[best]
    return picks
