"""Requests that are easy or hard, and modes of working together that help with hard ones only."""

import random

import numpy as np

from routers.workflows.teams.controller import MODES, LoggedRuns, draw

_EASY = {"io": 0.95, "cot": 0.94, "chain": 0.90, "full": 0.91, "debate": 0.90, "reflection": 0.80}
_HARD = {"io": 0.30, "cot": 0.40, "chain": 0.50, "full": 0.60, "debate": 0.70, "reflection": 0.85}
COST_USD = {"io": 1, "cot": 1.5, "chain": 4, "full": 6, "debate": 10, "reflection": 5}
MODELS = ("weak", "strong")
_BY_MODEL = np.array([-0.05, 0.05])


def request(rng: random.Random) -> np.ndarray:
    """Return what is seen of a request, the first of it how hard it is; half are hard."""
    hard = rng.random() < 0.5
    return np.array([(1.0 if hard else -1.0) + rng.gauss(0, 0.2), rng.gauss(0, 1)])


def is_hard(x) -> bool:
    return x[0] > 0


def chance(mode: str, x, models=()) -> float:
    """Return how probably a request is answered right."""
    base = (_HARD if is_hard(x) else _EASY)[mode]
    return base + (np.mean([_BY_MODEL[MODELS.index(each)] for each in models]) if models else 0.0)


def logged(n: int, *, seed: int) -> LoggedRuns:
    """Return runs whose mode and models were drawn, all alike probable."""
    rng = random.Random(seed)
    modes, models = dict.fromkeys(MODES, 1 / len(MODES)), dict.fromkeys(MODELS, 0.5)
    rows = []
    for _ in range(n):
        x = request(rng)
        drawn = draw(rng, modes, models, size=3.0, most_agents=6)
        score = float(rng.random() < chance(drawn.mode, x, drawn.models))
        counts = [drawn.models.count(each) for each in MODELS]
        mode, cost = MODES.index(drawn.mode), 1e-3 * COST_USD[drawn.mode]
        rows.append((x, mode, counts, score, cost, drawn.propensity))
    x, mode, counts, score, cost, propensity = zip(*rows, strict=True)
    return LoggedRuns(
        x=np.array(x),
        mode=np.array(mode),
        counts=np.array(counts),
        score=np.array(score),
        cost_usd=np.array(cost),
        propensity=np.array(propensity),
    )
