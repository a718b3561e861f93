"""Worlds in which a threshold is to be learned from one-sided feedback."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from routers.numeric import FloatArray
from routers.workflows.learning.cells import CellBeliefs, Learner

STRONG = 0.75
"""What an answer of the strong model is worth, always."""

SHADOW_COST = 0.05
"""What it costs to ask the cheap model too."""


_PREDICTED = 0.8
"""Of the cheap model, everywhere: at first everybody asks it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepWorld:
    """The cheap model's answer is worth 1 or nothing; the chance of it depends on a known score.

    Attributes
    ----------
    scores
        Draws scores: a generator and a shape.
    chance
        Of a good answer: by scores and the share of the time that has gone by.
    """

    scores: Callable[[np.random.Generator, tuple[int, ...]], FloatArray]
    chance: Callable[[FloatArray, float], FloatArray]


@dataclass(frozen=True, slots=True, kw_only=True)
class Utilities:
    """Mean utility of a request: of a learner, and of who knows all chances."""

    learner: float
    oracle: float


def keep_or_escalate(
    world: KeepWorld,
    *,
    learner: Learner,
    n_requests: int,
    n_bins: int,
    seed: int,
    shadow: float = 0.0,
    memory: float | None = None,
    n_worlds: int = 8,
    at_once: int = 20,
) -> Utilities:
    """Return what learners make of a world, the mean of several; what is kept is found out about.

    Parameters
    ----------
    shadow
        The share of escalated requests on which the cheap model is asked too.
    """
    rng = np.random.default_rng(seed)
    beliefs = CellBeliefs((n_worlds, n_bins), prior_observations=4, memory=memory)
    total = best = 0.0
    for step in range(n_requests // at_once):
        scores = world.scores(rng, (n_worlds, at_once))
        chances = world.chance(scores, step * at_once / n_requests)
        bins = np.minimum((scores * n_bins).astype(int), n_bins - 1)
        drawn = rng.standard_normal(scores.shape)
        keeps = beliefs.chances(bins, _PREDICTED).taken(learner, drawn) >= STRONG
        shadows = ~keeps & (rng.random(scores.shape) < shadow)
        good = rng.random(scores.shape) < chances
        beliefs.learn(beliefs.lesson(bins, good * 1.0, (keeps | shadows) * 1.0, n_requests=at_once))
        total += np.where(keeps, chances, STRONG - SHADOW_COST * shadows).mean()
        best += np.maximum(chances, STRONG).mean()
    n_steps = n_requests // at_once
    return Utilities(learner=total / n_steps, oracle=best / n_steps)


def improving(scores: FloatArray, done: float) -> FloatArray:
    """Return the chances of a cheap model that improves half-way."""
    return 0.85 * scores if done < 0.5 else 0.7 + 0.3 * scores


def lipschitz(scores: FloatArray, done: float) -> FloatArray:
    """Return chances that rise with the score, past what the strong model is worth."""
    del done
    return 0.5 + 0.5 * scores


def leaping(scores: FloatArray, done: float) -> FloatArray:
    """Return chances that leap at the atom."""
    del done
    return np.where(scores >= ATOM, 0.95, 0.4)


def one_sided(scores: FloatArray, done: float) -> FloatArray:
    """Return chances that fall at the atom, and rise gently everywhere else."""
    del done
    return np.where(scores <= ATOM, 0.95, 0.4) - 0.1 * (1 - scores)


ATOM = 0.6180339
_BESIDE = ATOM - 1e-9


def with_atoms(rng: np.random.Generator, shape: tuple[int, ...]) -> FloatArray:
    """Draw scores of which a third is the atom, and a third lies as good as at it."""
    which = rng.random(shape)
    return np.where(which < 1 / 3, ATOM, np.where(which < 2 / 3, _BESIDE, rng.random(shape)))


def uniform(rng: np.random.Generator, shape: tuple[int, ...]) -> FloatArray:
    """Draw scores that are as likely everywhere."""
    return rng.random(shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentWorld:
    """A threshold pays where a hidden value reaches it, and nothing else is ever seen.

    Attributes
    ----------
    values
        Draws values: a generator and a shape.
    pays
        What a threshold pays, by thresholds and the values that reach them.
    best
        What the best threshold pays on average.
    """

    values: Callable[[np.random.Generator, tuple[int, ...]], FloatArray]
    pays: Callable[[FloatArray, FloatArray], FloatArray]
    best: float


def guess_thresholds(
    world: LatentWorld,
    *,
    learner: Learner,
    n_requests: int,
    seed: int,
    n_worlds: int = 8,
    at_once: int = 20,
) -> float:
    """Return what learners lose per request, each threshold of a grid for itself."""
    rng = np.random.default_rng(seed)
    n = int(np.ceil(n_requests ** (1 / 3)))
    grid = (np.arange(n) + 0.5) / n
    every = np.broadcast_to(np.arange(n), (n_worlds, at_once, n)).reshape(n_worlds, -1)
    beliefs = CellBeliefs((n_worlds, n), prior_observations=1, memory=None)
    gained = 0.0
    for _ in range(n_requests // at_once):
        drawn = rng.standard_normal(every.shape)
        taken = beliefs.chances(every, 0.5).taken(learner, drawn)
        played = taken.reshape(n_worlds, at_once, n).argmax(axis=-1)
        values = world.values(rng, played.shape)
        reward = np.where(grid[played] <= values, world.pays(grid[played], values), 0.0)
        beliefs.learn(beliefs.lesson(played, reward, n_requests=at_once))
        gained += reward.mean()
    return world.best - gained / (n_requests // at_once)


PRICES = LatentWorld(values=uniform, pays=lambda thresholds, _: thresholds, best=0.25)
"""The value's distribution is Lipschitz."""


def half_at_the_atom(rng: np.random.Generator, shape: tuple[int, ...]) -> FloatArray:
    """Draw values of which half are the atom."""
    return np.where(rng.random(shape) < 0.5, ATOM, rng.random(shape))


NEEDLE = LatentWorld(
    values=half_at_the_atom,
    pays=lambda thresholds, _: (thresholds >= ATOM) * 1.0,
    best=0.5 + 0.5 * (1 - ATOM),
)
"""What is paid leaps at the atom: but for that very threshold, nothing tells of it."""

PRICES_AT_ATOM = LatentWorld(
    values=half_at_the_atom,
    pays=lambda thresholds, _: thresholds,
    best=ATOM * (0.5 + 0.5 * (1 - ATOM)),
)
"""The same atom, but a threshold a little below it pays nearly as much."""
