"""Worlds in which a cascade of models is to be learned while requests come in."""

from dataclasses import dataclass

import numpy as np

from routers.numeric import FloatArray
from routers.workflows.learning.linear_beliefs import LinearBeliefs, arm_features, n_columns

_PREDICTED = 0.5
"""What is predicted of every model: nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CascadeWorlds:
    """Several worlds: the chance of success of models is linear in what is known of requests.

    A success is worth 1.

    Attributes
    ----------
    base
        (n_worlds, n_models), mean chances.
    slopes
        (n_worlds, n_models, n_context).
    costs
        (n_worlds, n_models).
    """

    base: FloatArray
    slopes: FloatArray
    costs: FloatArray


def make_worlds(
    seed: int, *, certain: bool, n_worlds: int = 4, n_context: int = 2
) -> CascadeWorlds:
    """Draw worlds with five models, some worth their cost and some nearly.

    Parameters
    ----------
    certain
        Whether models mostly fail or mostly succeed, so that outcomes hardly scatter.
    """
    rng = np.random.default_rng(seed)
    shape = (n_worlds, 5)
    if certain:
        mostly_fails = rng.random(shape) < 0.6
        base = np.where(
            mostly_fails, rng.uniform(0.02, 0.06, shape), rng.uniform(0.93, 0.97, shape)
        )
        costs = base * rng.uniform(0.5, 1.5, shape)
    else:
        base = rng.uniform(0.25, 0.75, shape)
        costs = base * rng.uniform(0.3, 1.3, shape)
    slopes = rng.normal(size=(*shape, n_context))
    slopes *= (0.02 if certain else 0.2) / np.linalg.norm(slopes, axis=-1, keepdims=True)
    return CascadeWorlds(base=base, slopes=slopes, costs=costs)


def regrets(
    worlds: CascadeWorlds,
    *,
    weighted: bool,
    n_requests: int,
    seed: int,
    at_once: int = 100,
    optimism: float = 0.1,
) -> FloatArray:
    """Return what was lost by not knowing the chances, (n_requests / at_once,): summed so far.

    Parameters
    ----------
    at_once
        So many requests are decided before what the first of them taught is known.
    """
    rng = np.random.default_rng(seed)
    n_worlds, n_models, n_context = worlds.slopes.shape
    width = n_columns(n_context, n_models)
    beliefs = LinearBeliefs((n_worlds, width), ridge=1.0, weighted=weighted, optimism=optimism)
    costs = np.repeat(worlds.costs[:, None], at_once, axis=1)
    lost = np.zeros(n_requests // at_once)
    for each in range(len(lost)):
        x = rng.normal(size=(n_worlds, at_once, n_context))
        x /= np.linalg.norm(x, axis=-1, keepdims=True)
        chances = worlds.base[:, None] + x @ np.swapaxes(worlds.slopes, -1, -2)
        chances = np.clip(chances, 0.005, 0.995)
        phi = arm_features(x, n_models).reshape(n_worlds, at_once * n_models, width)
        believed = beliefs.believe(phi, _PREDICTED).optimistic.reshape(chances.shape)
        order, stays = _order(believed, costs)
        lost[each] = np.mean(
            _worth(*_order(chances, costs), chances, costs) - _worth(order, stays, chances, costs)
        )
        succeeds = rng.random(chances.shape) < chances
        done = np.cumsum(np.take_along_axis(succeeds, order, -1) & stays, axis=-1)
        before = np.concatenate([np.zeros_like(done[..., :1]), done[..., :-1]], axis=-1)
        tried = np.zeros(chances.shape)
        np.put_along_axis(tried, order, (stays & (before == 0)).astype(float), -1)
        flat = (n_worlds, at_once * n_models)
        beliefs.learn(
            beliefs.lesson(
                phi, _PREDICTED, succeeds.astype(float).reshape(flat), tried.reshape(flat)
            )
        )
    return np.cumsum(lost) * at_once


def _order(chances: FloatArray, costs: FloatArray) -> tuple[np.ndarray, np.ndarray]:
    """Return models by chance / cost, and which of them are worth their cost."""
    order = np.argsort(-chances / costs, axis=-1, kind="stable")
    return order, np.take_along_axis(chances > costs, order, -1)


def _worth(
    order: np.ndarray, stays: np.ndarray, chances: FloatArray, costs: FloatArray
) -> FloatArray:
    chance = np.take_along_axis(chances, order, -1) * stays
    cost = np.take_along_axis(costs, order, -1) * stays
    reached = np.cumprod(
        np.concatenate([np.ones_like(chance[..., :1]), 1 - chance[..., :-1]], axis=-1), axis=-1
    )
    return np.asarray((reached * (chance - cost)).sum(axis=-1))
