"""Models as vectors that documents move: what RAGRouter learns, and its gradients."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from routers.estimators.adam import Parameters
from routers.strategies._contrast import through, unit
from routers.types import FloatMatrix

_LEAST = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class Lessons:
    """Queries in two settings; rows are queries with the documents that came with them.

    Attributes
    ----------
    z
        float32 (n, n_axes), of the query alone.
    documents
        float32 (n, n_signals), a one first; zeros where none came.
    bare, given
        float32 (n, n_models): quality without and with the documents, NaN where unknown.
    """

    z: FloatMatrix
    documents: FloatMatrix
    bare: FloatMatrix
    given: FloatMatrix

    def rows(self, index: np.ndarray) -> Self:
        """Return some of them."""
        return type(self)(
            z=self.z[index],
            documents=self.documents[index],
            bare=self.bare[index],
            given=self.given[index],
        )


def start(
    n_axes: int,
    n_signals: int,
    n_models: int,
    *,
    dim: int,
    n_heads: int,
    rng: np.random.Generator,
) -> Parameters:
    """Return parameters to begin with.

    `project` and `shift` make the query's vector; `knowledge` holds one vector a model; documents
    become one vector a head by `read`, and a model takes of them what `capability` says.
    """
    drawn = {
        "project": rng.standard_normal((n_axes, dim)) / np.sqrt(n_axes),
        "shift": rng.standard_normal(dim) / np.sqrt(dim),
        "knowledge": rng.standard_normal((n_models, dim)) / np.sqrt(dim),
        "capability": 0.3 * rng.standard_normal((n_models, n_heads)),
        "read": 0.3 * rng.standard_normal((n_heads, n_signals, dim)) / np.sqrt(dim),
    }
    return {name: each.astype(np.float32) for name, each in drawn.items()}


def vectors_with(now: Parameters, documents: FloatMatrix) -> FloatMatrix:
    """Return the vectors of models that read the documents, (n, n_models, dim), of any length."""
    heads = np.einsum("nf,hfd->nhd", documents, now["read"])
    return np.asarray(now["knowledge"] + np.einsum("mh,nhd->nmd", now["capability"], heads))


def loss_gradients(
    now: Parameters, lessons: Lessons, *, temperature: float, weight: float
) -> tuple[float, Parameters]:
    """Return the mean loss of the queries, and its gradients.

    A query's vector is drawn to those of models, without or with the documents, that answered it
    well, away from those that did not, whatever their setting: models are held against others in
    the same setting, and against themselves and others in the other one. To that comes the
    cross-entropy of each score as a chance. Quality between 0 and 1 counts on both sides in part.

    Parameters
    ----------
    weight
        Of the cross-entropy.
    """
    n, n_models = lessons.bare.shape
    query, query_norm = unit(lessons.z @ now["project"] + now["shift"])
    bare, bare_norm = unit(now["knowledge"])
    heads = np.einsum("nf,hfd->nhd", lessons.documents, now["read"])
    moved = now["knowledge"] + np.einsum("mh,nhd->nmd", now["capability"], heads)
    flat, given_norm = unit(moved.reshape(n * n_models, -1))
    given = flat.reshape(moved.shape)
    scores = np.concatenate([query @ bare.T, np.einsum("nd,nmd->nm", query, given)], axis=1)
    scores /= temperature
    quality = np.concatenate([lessons.bare, lessons.given], axis=1)
    loss, back = _losses(scores, quality, weight=weight)
    back /= n * temperature
    to_bare, to_given = back[:, :n_models], back[:, n_models:]
    to_query = to_bare @ bare + np.einsum("nm,nmd->nd", to_given, given)
    through_query = through(to_query, query, query_norm)
    to_vectors = to_given[:, :, None] * query[:, None, :]
    moved_by = through(to_vectors.reshape(n * n_models, -1), flat, given_norm).reshape(moved.shape)
    to_heads = np.einsum("mh,nmd->nhd", now["capability"], moved_by)
    return loss / n, {
        "project": lessons.z.T @ through_query,
        "shift": through_query.sum(axis=0),
        "knowledge": through(to_bare.T @ query, bare, bare_norm) + moved_by.sum(axis=0),
        "capability": np.einsum("nmd,nhd->mh", moved_by, heads),
        "read": np.einsum("nf,nhd->hfd", lessons.documents, to_heads),
    }


def _losses(
    scores: FloatMatrix, quality: FloatMatrix, *, weight: float
) -> tuple[float, FloatMatrix]:
    """Return the summed losses of scores, and their gradients to the scores."""
    known = ~np.isnan(quality)
    good = np.where(known, quality, 0)
    bad = np.where(known, 1 - quality, 0)
    top = np.where(known, scores, -np.inf).max(axis=1, keepdims=True, initial=-1e9)
    e = np.where(known, np.exp(np.minimum(scores - top, 0)), 0)
    against = (bad * e).sum(axis=1, keepdims=True)
    # One that is in part bad is not held against itself.
    others = against - bad * e
    total = e + others + _LEAST
    loss = -(good * np.log((e + _LEAST) / total)).sum()
    pull = good * (e / total - e / (e + _LEAST))
    per_total = good / total
    push = bad * e * (per_total.sum(axis=1, keepdims=True) - per_total)
    chance = 1 / (1 + np.exp(-scores))
    entropy = np.where(known, np.logaddexp(0, scores) - good * scores, 0)
    loss += weight * entropy.sum()
    back = pull + push + weight * np.where(known, chance - good, 0)
    return float(loss), np.asarray(back)
