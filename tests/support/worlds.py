"""A small world in which the right answer is known: queries, models, outcomes and costs.

Queries lie around cluster centres on the unit sphere; within a cluster a fixed direction makes
them harder. Every model has an overall ability and likes some clusters better than others.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from routers.numeric import FloatArray
from routers.types import FloatMatrix

USD_PER_MTOK = (0.1, 0.3, 1.0, 3.0, 10.0)
"""Output prices of the five models; inputs are free."""

_SLOPE = 1.5
_SPECIALISATION = 0.7
_HARDNESS = 6.0


@dataclass(frozen=True, slots=True)
class World:
    """Everything that defines the population of queries and models."""

    centers: FloatArray  # (n_clusters, d), unit rows
    hard: FloatArray  # (d,), the direction of difficulty
    ability: FloatArray  # (n_models,)
    likes: FloatArray  # (n_models, n_clusters)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Queries drawn from a world, with the outcome of every model.

    Attributes
    ----------
    x
        float32 (n, d) unit rows.
    cluster
        int (n,).
    chance
        (n, n_models), the true probability that a model answers right.
    quality
        float32 (n, n_models), 0 or 1, drawn from `chance`.
    output_tokens
        float32 (n, n_models), the same for all models of a query.
    cost_usd
        (n, n_models).
    """

    x: FloatMatrix
    cluster: NDArray[np.intp]
    chance: FloatArray
    quality: FloatMatrix
    output_tokens: FloatMatrix
    cost_usd: FloatArray


def make_world(seed: int, *, n_clusters: int = 8, d: int = 32) -> World:
    """Draw a world with five models.

    Parameters
    ----------
    seed
        The same seed gives the same world everywhere.
    """
    rng = np.random.default_rng(seed)
    centers = rng.normal(size=(n_clusters, d))
    centers /= np.linalg.norm(centers, axis=1, keepdims=True)
    hard = rng.normal(size=d)
    hard /= np.linalg.norm(hard)
    n_models = len(USD_PER_MTOK)
    return World(
        centers=centers,
        hard=hard,
        ability=np.linspace(-0.6, 1.6, n_models),
        likes=rng.normal(0, 1.0, size=(n_models, n_clusters)),
    )


def draw(world: World, n: int, *, seed: int, noise: float = 0.09) -> Sample:
    """Draw `n` queries and what every model makes of them.

    Parameters
    ----------
    noise
        Scatter of queries around their cluster centre, per dimension.
    """
    rng = np.random.default_rng(seed)
    cluster = rng.integers(0, len(world.centers), n)
    x = world.centers[cluster] + noise * rng.normal(size=(n, world.centers.shape[1]))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    difficulty = _HARDNESS * ((x - world.centers[cluster]) @ world.hard)
    difficulty += 0.5 * rng.normal(size=n)
    liking = world.likes[:, cluster].T
    strength = world.ability + _SPECIALISATION * liking - difficulty[:, None]
    chance = 1 / (1 + np.exp(-_SLOPE * strength))
    quality = (rng.random(chance.shape) < chance).astype(np.float32)
    tokens = np.exp(rng.normal(5.0, 0.5, size=n))[:, None] * np.ones(chance.shape[1])
    return Sample(
        x=x.astype(np.float32),
        cluster=cluster,
        chance=chance,
        quality=quality,
        output_tokens=tokens.astype(np.float32),
        cost_usd=tokens * np.asarray(USD_PER_MTOK) / 1e6,
    )
