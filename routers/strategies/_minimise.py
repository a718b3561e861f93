"""Minimise a smooth convex function; numpy only, the same on every run."""

from collections import deque
from collections.abc import Callable

import numpy as np

from routers.numeric import FloatArray

_MEMORY = 10
_ARMIJO = 1e-4


def minimise(
    evaluate: Callable[[FloatArray], tuple[float, FloatArray]],
    start: FloatArray,
    *,
    tolerance: float = 1e-6,
    max_iterations: int = 500,
) -> FloatArray:
    """Follow L-BFGS directions with backtracking.

    Parameters
    ----------
    evaluate
        Returns value and gradient, the latter of the shape of `start`.
    tolerance
        Stop when no entry of the gradient exceeds this share of one plus the value.

    References
    ----------
    Nocedal 1980, Updating quasi-Newton matrices with limited storage.
    """
    at = start.astype(np.float64)
    value, gradient = evaluate(at)
    past: deque[tuple[FloatArray, FloatArray, float]] = deque(maxlen=_MEMORY)
    for _ in range(max_iterations):
        if np.abs(gradient).max() <= tolerance * (1 + abs(value)):
            break
        direction = -_two_loops(gradient, past)
        slope = float((gradient * direction).sum())
        step = 1.0 if past else min(1.0, 1 / float(np.abs(gradient).max()))
        while True:
            candidate = at + step * direction
            new_value, new_gradient = evaluate(candidate)
            if new_value <= value + _ARMIJO * step * slope:
                break
            step /= 2
            if step < 1e-12:  # at the limit of floating point
                return at
        moved, bent = candidate - at, new_gradient - gradient
        curvature = float((moved * bent).sum())
        if curvature > 1e-12:
            past.append((moved, bent, 1 / curvature))
        at, value, gradient = candidate, new_value, new_gradient
    return at


def _two_loops(
    gradient: FloatArray, past: deque[tuple[FloatArray, FloatArray, float]]
) -> FloatArray:
    """Apply the inverse curvature that the past steps imply."""
    direction = gradient.copy()
    factors = []
    for moved, bent, inverse in reversed(past):
        factor = inverse * float((moved * direction).sum())
        direction -= factor * bent
        factors.append(factor)
    if past:
        moved, bent, inverse = past[-1]
        direction /= inverse * float((bent * bent).sum())
    for (moved, bent, inverse), factor in zip(past, reversed(factors), strict=True):
        direction += moved * (factor - inverse * float((bent * direction).sum()))
    return direction
