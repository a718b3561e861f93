"""Measure the plan of a batch: how long it takes, and how far below its upper bound it may be.

    python -m loadtest.bench_assignment [--requests 1000,10000,100000] [--models 10] [--seeds 3]

Made-up requests, some harder than others, and models of which the dearer ones are better, more so
on hard requests. With a budget of a given share between what the cheapest and the best models for
all requests cost; with it, and capacities of which the best third of the models has a tenth of the
requests each, the cheapest one what is left and a little more. No plan has more predicted quality
than the bound of `Assignment`, so that the distance to the best plan is at most what is told.
"""

import argparse
import time
from collections.abc import Sequence

import numpy as np

from routers.decision.assignment import assign
from routers.numeric import FloatArray

SHARES = (0.1, 0.5, 0.9)
_SPARE = 1.02


def made_up(n_requests: int, n_models: int, seed: int) -> tuple[FloatArray, FloatArray]:
    """Return quality and cost in US dollars, (n_requests, n_models), dearer models last."""
    rng = np.random.default_rng(seed)
    able = np.linspace(0.0, 3.0, n_models)
    hard = rng.normal(1.5, 1.2, n_requests)
    noise = rng.normal(0.0, 0.4, (n_requests, n_models))
    quality = 1 / (1 + np.exp(hard[:, None] - able - noise))
    tokens = rng.lognormal(5.5, 0.8, n_requests)
    usd_per_token = np.geomspace(2e-7, 3e-5, n_models)
    return quality, tokens[:, None] * usd_per_token * rng.uniform(0.7, 1.4, quality.shape)


def capacities(n_requests: int, n_models: int) -> list[float | None]:
    """Return how many requests each model may take: the best third of them few."""
    few = n_models // 3
    rest = n_models - few
    taken = few * n_requests // 10
    each = (n_requests - taken) / rest * _SPARE
    return [float(np.ceil(each))] * rest + [float(n_requests // 10)] * few


def measure(n_requests: int, n_models: int, seeds: Sequence[int]) -> None:
    """Print a line for each budget and each set of capacities."""
    for capacity in (None, capacities(n_requests, n_models)):
        for share in SHARES:
            took_s, gaps, left_out = [], [], 0
            for seed in seeds:
                quality, cost = made_up(n_requests, n_models, seed)
                low = float(cost.min(axis=1).sum())
                best = float(cost[np.arange(n_requests), quality.argmax(axis=1)].sum())
                began = time.perf_counter()
                plan = assign(
                    quality, cost, budget_usd=low + share * (best - low), capacity=capacity
                )
                took_s.append(time.perf_counter() - began)
                gaps.append(plan.quality_bound - plan.quality)
                left_out += len(plan.left_out)
            print(
                f"{n_requests:8,} x {n_models:<3}  {'capacities' if capacity else '':10}"
                f"  budget {share:.0%}  {np.median(took_s):7.2f} s"
                f"  below the bound: {max(gaps):9.5f} requests' worth,"
                f" {max(gaps) / n_requests:.1e} a request  left out {left_out}",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m loadtest.bench_assignment")
    parser.add_argument("--requests", default="1000,10000,100000")
    parser.add_argument("--models", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    for n_requests in map(int, options.requests.split(",")):
        measure(n_requests, options.models, range(options.seeds))


if __name__ == "__main__":
    main()
