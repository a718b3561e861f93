"""The two contrastive losses of RouterDC, and their gradients."""

from dataclasses import dataclass

import numpy as np

from routers.estimators.adam import Parameters
from routers.types import FloatMatrix

MASKED_ABOVE = 0.5
"""A model that does better than that is never pushed away."""

_LEAST_NORM = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrasts:
    """Which models, and which queries of the batch, are drawn near and pushed away.

    Attributes
    ----------
    toward, away
        bool (n_queries, n_models).
    mate
        (n_queries,): a query of the same cluster; the query itself where there is no other.
    strangers
        (n_queries, n_strangers): queries of other clusters.
    met
        bool (n_queries,): whether there are queries of other clusters at all.
    """

    toward: np.ndarray
    away: np.ndarray
    mate: np.ndarray
    strangers: np.ndarray
    met: np.ndarray


def choose_models(
    merit: FloatMatrix, quality: FloatMatrix, n_toward: int, n_away: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return the best and the worst models of every query, as masks.

    Of the best those that are of no quality take no part, nor of the worst those above 0.5.

    Parameters
    ----------
    merit
        What models are ordered by, NaN where one was not tried; equals in random order.
    """
    known = ~np.isnan(merit)
    half = known.sum(axis=1) // 2
    jitter = rng.random(merit.shape, dtype=np.float32)
    # The unknown last, so that ranks from the front are ranks among the known.
    order = np.lexsort((jitter, np.where(known, -merit, np.inf)), axis=1)
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.arange(merit.shape[1])[None, :], axis=1)
    from_last = known.sum(axis=1)[:, None] - 1 - rank
    toward = known & (rank < np.minimum(n_toward, half)[:, None]) & (quality > 0)
    away = known & (from_last < np.minimum(n_away, half)[:, None]) & (quality <= MASKED_ABOVE)
    return toward, away


def choose_queries(
    cluster: np.ndarray, n_strangers: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return mate, strangers and whether there are some, out of a batch of queries."""
    n = len(cluster)
    same = cluster[:, None] == cluster[None, :]
    draw = rng.random((n, n), dtype=np.float32)
    itself = np.eye(n, dtype=bool)
    mate = np.where(itself, -0.5, np.where(same, draw, -1))
    n_strangers = min(n_strangers, max(n - 1, 1))
    foreign = np.where(same, -1, draw)
    strangers = np.argpartition(-foreign, n_strangers - 1, axis=1)[:, :n_strangers]
    met = np.take_along_axis(foreign, strangers, axis=1).min(axis=1) >= 0
    return mate.argmax(axis=1), strangers, met


def loss_gradients(
    now: Parameters, z: FloatMatrix, chosen: Contrasts, *, temperature: float, weight: float
) -> tuple[float, Parameters]:
    """Return the mean of both losses over the queries, and its gradients.

    Parameters
    ----------
    now
        `project` (n_axes, dim), `shift` (dim,), `vectors` (n_models, dim).
    weight
        Of the loss between queries.
    """
    n = len(z)
    query, query_norm = unit(z @ now["project"] + now["shift"])
    model, model_norm = unit(now["vectors"])
    score = (query @ model.T) / temperature
    e = np.exp(score - score.max(axis=1, keepdims=True))
    against = np.where(chosen.away, e, 0).sum(axis=1, keepdims=True)
    # A model may be on one side only: it is never against itself.
    share = e / (e + against)
    loss = -np.where(chosen.toward, np.log(share), 0).sum()
    pull = np.where(chosen.toward, share - 1, 0)
    push = np.where(chosen.toward, 1 / (e + against), 0).sum(axis=1, keepdims=True)
    back = (pull + np.where(chosen.away, e * push, 0)) / (n * temperature)
    to_query = np.asarray(back @ model, query.dtype)
    to_model = np.asarray(back.T @ query, query.dtype)
    if weight and chosen.met.any():
        between, to_query_too = _between_queries(query, chosen, temperature)
        loss += weight * between
        to_query += weight / n * to_query_too
    carried = through(to_query, query, query_norm)
    return float(loss / n), {
        "project": z.T @ carried,
        "shift": carried.sum(axis=0),
        "vectors": through(to_model, model, model_norm),
    }


def _between_queries(
    query: FloatMatrix, chosen: Contrasts, temperature: float
) -> tuple[float, FloatMatrix]:
    rows = np.flatnonzero(chosen.met)
    others = np.column_stack([chosen.mate, chosen.strangers])[rows]
    near = np.einsum("nd,nkd->nk", query[rows], query[others]) / temperature
    e = np.exp(near - near.max(axis=1, keepdims=True))
    share = e / e.sum(axis=1, keepdims=True)
    back = share.copy()
    back[:, 0] -= 1
    back /= temperature
    out = np.zeros_like(query)
    out[rows] = np.einsum("nk,nkd->nd", back, query[others])
    np.add.at(out, others, back[:, :, None] * query[rows][:, None, :])
    return float(-np.log(share[:, 0]).sum()), out


def unit(rows: FloatMatrix) -> tuple[FloatMatrix, FloatMatrix]:
    """Return rows of length one, and the lengths they had."""
    norm = np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), _LEAST_NORM)
    return rows / norm, norm


def through(back: FloatMatrix, unit_rows: FloatMatrix, norm: FloatMatrix) -> FloatMatrix:
    """Carry a gradient from rows of length one to the rows before."""
    along = (back * unit_rows).sum(axis=1, keepdims=True)
    return np.asarray((back - along * unit_rows) / norm)
