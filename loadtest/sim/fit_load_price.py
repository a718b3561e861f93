"""Fit what the load of a tier costs: the prices of `LoadPrice`, in simulated bursts.

    python -m loadtest.sim.fit_load_price             minutes; prints the prices
    python -m loadtest.sim.fit_load_price --mix hard  the same on the other mix of tasks

What it prints is copied to `app/gateway/load/load_price.py`. Fitted by a search that draws around
the best prices so far (cross-entropy); judged on seeds that it has not seen.
"""

import argparse
from collections.abc import Sequence

import numpy as np

from app.gateway.load.load_price import FITTED, PRESSURES, LoadPrice
from loadtest.sim.arrivals import stepped
from loadtest.sim.tiers import EASY_MIX, HARD_MIX, TIERS, Questions, of, serve

STEPS = [(4.0, 20.0), (40.0, 30.0), (4.0, 20.0), (15.0, 20.0), (70.0, 30.0), (4.0, 10.0)]
MIXES = {"easy": EASY_MIX, "hard": HARD_MIX}
_TRAIN, _JUDGE = range(6), range(100, 106)
_ROUNDS, _DRAWN, _KEPT = 5, 16, 4


def goodput(prices: LoadPrice | None, shares: Sequence[float], seeds: Sequence[int]) -> float:
    """Return the mean worth of requests, over seeds."""
    found = []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        traffic = of(stepped(STEPS, rng), rng)
        questions = Questions.mixed(len(traffic), shares, rng)
        found.append(serve(traffic, seed=seed, prices=prices, questions=questions).worth.mean())
    return float(np.mean(found))


def curve(rises: Sequence[float]) -> LoadPrice:
    """Return the prices that rise by so much from knot to knot."""
    prices = np.concatenate([[0.0], np.cumsum(np.abs(rises))])
    return LoadPrice(prices=tuple(prices.round(3).tolist()), n_tiers=len(TIERS))


def fit(shares: Sequence[float], seed: int) -> LoadPrice:
    """Search for the prices that serve a mix best."""
    rng = np.random.default_rng(seed)
    n = len(PRESSURES) - 1
    middle, width = np.full(n, 0.075), np.full(n, 0.05)
    for _ in range(_ROUNDS):
        drawn = middle + width * rng.standard_normal((_DRAWN, n))
        drawn[0] = middle
        order = np.argsort([-goodput(curve(each), shares, _TRAIN) for each in drawn])
        best = np.abs(drawn[order[:_KEPT]])
        middle, width = best.mean(axis=0), best.std(axis=0) + 0.005
    return curve(middle)


def main() -> None:
    """Fit, and judge on both mixes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--mix", choices=tuple(MIXES), default="easy")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    fitted = fit(MIXES[options.mix], options.seed)
    print("prices:", fitted.prices)
    kinds = {"rule": None, "fitted now": fitted, "shipped": FITTED(len(TIERS))}
    for mix, shares in MIXES.items():
        for name, prices in kinds.items():
            print(f"{mix:5} {name:11} {goodput(prices, shares, _JUDGE):.4f}")


if __name__ == "__main__":
    main()
