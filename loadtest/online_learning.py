"""How fast policies that learn while they serve learn, in worlds in which the best is known.

`python -m loadtest.online_learning` prints the tables of docs/routers/c2mab-t.md and
docs/routers/learned-thresholds.md; tests/unit/routers/workflows has shorter forms of both.
"""

import math
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from routers.workflows.learning.cells import Learner
from tests.support.cascade_worlds import make_worlds, regrets
from tests.support.threshold_worlds import (
    NEEDLE,
    PRICES,
    PRICES_AT_ATOM,
    KeepWorld,
    LatentWorld,
    guess_thresholds,
    improving,
    keep_or_escalate,
    leaping,
    lipschitz,
    one_sided,
    uniform,
    with_atoms,
)

_HORIZONS = (2_000, 4_000, 8_000, 16_000, 32_000, 64_000)
_LEARNERS: tuple[Learner, ...] = ("greedy", "ucb", "thompson")
_SEEDS = 4


def cascades() -> None:
    """Print the regret of cascades whose order is learned."""
    print("| outcomes | estimator | regret at 2,000 | at 20,000 | slope |\n|---|---|---|---|---|")
    for certain in (False, True):
        for weighted in (False, True):
            lost = np.mean(
                [
                    regrets(
                        make_worlds(seed, certain=certain),
                        weighted=weighted,
                        n_requests=20_000,
                        seed=seed + 1,
                    )
                    for seed in range(_SEEDS)
                ],
                axis=0,
            )
            early, late = lost[19], lost[-1]
            print(
                f"| {'hardly scatter' if certain else 'scatter'} | "
                f"{'weighted' if weighted else 'plain'} | {early:.1f} | {late:.1f} | "
                f"{math.log10(late / early):.2f} |"
            )


def improvement() -> None:
    """Print what is made of a cheap model that improves half-way."""
    world = KeepWorld(scores=uniform, chance=improving)
    print("\n| learner | shadow | memory | mean utility | of the gap |\n|---|---|---|---|---|")
    greedy = None
    for learner, shadow, memory in (
        ("greedy", 0.0, None),
        ("greedy", 0.05, None),
        ("greedy", 0.05, 8_000),
        ("ucb", 0.0, 8_000),
        ("thompson", 0.0, None),
        ("thompson", 0.0, 8_000),
        ("thompson", 0.03, 8_000),
    ):
        found = [
            keep_or_escalate(
                world,
                learner=learner,  # type: ignore[arg-type]  # a literal of a tuple
                n_requests=40_000,
                n_bins=20,
                seed=seed,
                shadow=shadow,
                memory=memory,
                n_worlds=4,
            )
            for seed in range(_SEEDS)
        ]
        mean = float(np.mean([each.learner for each in found]))
        oracle = float(np.mean([each.oracle for each in found]))
        greedy = mean if greedy is None else greedy
        share = (mean - greedy) / (oracle - greedy)
        print(f"| {learner} | {shadow:g} | {memory or 'all'} | {mean:.3f} | {share:.0%} |")
    print(f"| who knows all chances | | | {oracle:.3f} | 100% |")


def smoothness() -> None:
    """Print how regret grows with the horizon."""
    print("\n| world | feedback | greedy | ucb | thompson |\n|---|---|---|---|---|")
    for name, chance, scores in (
        ("smooth", lipschitz, uniform),
        ("leap at an atom", leaping, with_atoms),
        ("atom without a leap upwards", one_sided, with_atoms),
    ):
        world = KeepWorld(scores=scores, chance=chance)
        print(f"| {name} | score seen | {' | '.join(_kept(world, each) for each in _LEARNERS)} |")
    for name, latent in (
        ("smooth", PRICES),
        ("leap at an atom", NEEDLE),
        ("atom without a leap upwards", PRICES_AT_ATOM),
    ):
        cells = " | ".join(_guessed(latent, each) for each in _LEARNERS)
        print(f"| {name} | value hidden | {cells} |")


def _kept(world: KeepWorld, learner: Learner) -> str:
    lost = []
    for n in _HORIZONS:
        found = keep_or_escalate(
            world, learner=learner, n_requests=n, n_bins=math.ceil(n ** (1 / 3)), seed=0
        )
        lost.append((found.oracle - found.learner) * n)
    return _slope(lost)


def _guessed(world: LatentWorld, learner: Learner) -> str:
    return _slope(
        [guess_thresholds(world, learner=learner, n_requests=n, seed=0) * n for n in _HORIZONS]
    )


def _slope(lost: list[float]) -> str:
    return f"{np.polyfit(np.log(_HORIZONS), np.log(lost), 1)[0]:.2f}"


if __name__ == "__main__":
    cascades()
    improvement()
    smoothness()
