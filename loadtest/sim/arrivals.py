"""When requests come: seconds since the beginning, ascending."""

import math
from collections.abc import Sequence

import numpy as np

from loadtest.sim.traffic import Floats


def poisson(rate_per_s: float, duration_s: float, rng: np.random.Generator) -> Floats:
    """Return arrivals that know nothing of each other, at a constant mean rate."""
    return np.sort(rng.uniform(0.0, duration_s, rng.poisson(rate_per_s * duration_s)))


def stepped(steps: Sequence[tuple[float, float]], rng: np.random.Generator) -> Floats:
    """Return Poisson arrivals whose rate changes at once: (per second, for so many seconds)."""
    parts, begins = [], 0.0
    for rate_per_s, duration_s in steps:
        parts.append(begins + poisson(rate_per_s, duration_s, rng))
        begins += duration_s
    return np.concatenate(parts)


def diurnal(
    mean_per_s: float,
    duration_s: float,
    rng: np.random.Generator,
    *,
    swing: float = 0.6,
    period_s: float = 86_400.0,
) -> Floats:
    """Return Poisson arrivals whose rate rises and falls like a sine, by `swing` of the mean."""
    if not 0 <= swing <= 1:
        raise ValueError(f"swing must be from 0 to 1, not {swing}")
    most = poisson(mean_per_s * (1 + swing), duration_s, rng)
    rate = 1 + swing * np.sin(2 * math.pi * most / period_s)
    return most[rng.uniform(0, 1 + swing, len(most)) < rate]


def bursty(
    rate_per_s: float,
    duration_s: float,
    rng: np.random.Generator,
    *,
    burst: float = 5.0,
    calm_s: float = 20.0,
    burst_s: float = 4.0,
) -> Floats:
    """Return arrivals of a rate that jumps to `burst` times of itself, at times nobody knows.

    Calm and bursts last exponentially long, in the mean as given; `rate_per_s` is that of a calm.
    """
    steps, left, calm = [], duration_s, True
    while left > 0:
        lasts = min(left, rng.exponential(calm_s if calm else burst_s))
        steps.append((rate_per_s if calm else rate_per_s * burst, lasts))
        left, calm = left - lasts, not calm
    return stepped(steps, rng)
