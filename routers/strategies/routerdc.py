"""Queries and models in one space, by two contrasts: RouterDC."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from routers.base import ROUTERS, Labels
from routers.estimators.adam import Adam, Parameters, descend
from routers.options import State, take
from routers.strategies._contrast import (
    Contrasts,
    choose_models,
    choose_queries,
    loss_gradients,
    unit,
)
from routers.strategies._ranking import Lesson, RankingRouter, as_vector
from routers.types import FloatMatrix, FloatVector


@dataclass(frozen=True, slots=True, kw_only=True)
class Cosines:
    """The scorer: the cosine of a projected query to every model's vector, over a temperature.

    Attributes
    ----------
    project, shift
        (n_axes, dim) and (dim,).
    vectors
        (n_models, dim), of length one over the temperature.
    """

    project: FloatMatrix
    shift: FloatVector
    vectors: FloatMatrix

    def scores(self, z: FloatMatrix) -> FloatMatrix:
        """Return float32 (n, n_models), above the mean over the models.

        How near all models are says nothing: only models of one query were ever compared.
        """
        query, _ = unit(z.dot(self.project) + self.shift)
        cosine = query.dot(self.vectors.T)
        cosine -= np.add.reduce(cosine, axis=1, keepdims=True) / cosine.shape[1]
        return np.asarray(cosine, np.float32)

    def state(self) -> dict[str, np.ndarray]:
        """Return the arrays to store."""
        return {"project": self.project, "shift": self.shift, "vectors": self.vectors}


@ROUTERS.register("routerdc")
@dataclass(kw_only=True)
class RouterDcRouter(RankingRouter):
    """Draw queries near to the models that answer them well, and to queries of their cluster.

    The score of a model is the cosine of its vector to the projected query over a temperature.
    Two losses teach it: of every query, each of the best `k_positive` models against the worst
    `k_negative` (a best one of no quality is skipped, a worst one above 0.5 is not pushed away);
    and of every query, one of its own cluster against some of others.

    Parameters
    ----------
    dim, temperature
        Of the space; published as 768 and 1, on an encoder that is trained along.
    k_positive, k_negative
        At most half of the models each.
    cluster_weight, n_clusters, n_strangers
        Weight of the loss between queries, the k-means clusters it goes by, and how many queries
        of other clusters one is held against.
    cost_rate
        What the dearest model's mean cost takes off its quality before models are ordered; the
        others' in proportion. 0 leaves prices to the decision.
    smoothing
        Share of what a query's likely domains let expect in what models are ordered by. Published
        scores are means over several answers; of one answer each the order is mostly luck. Without
        domains nothing changes.
    n_steps, batch_size, learning_rate, weight_decay
        Of Adam.

    References
    ----------
    Chen et al. 2024, RouterDC: query-based router by dual contrastive learning for assembling large
    language models, arXiv:2409.19886.
    """

    kind: ClassVar[str] = "routerdc"

    dim: Annotated[int, Field(ge=1, le=4096)] = 64
    k_positive: Annotated[int, Field(ge=1)] = 3
    k_negative: Annotated[int, Field(ge=1)] = 3
    temperature: Annotated[float, Field(gt=0)] = 0.2
    cluster_weight: Annotated[float, Field(ge=0)] = 0.2
    n_clusters: Annotated[int, Field(ge=1, le=1024)] = 8
    n_strangers: Annotated[int, Field(ge=1, le=64)] = 3
    cost_rate: Annotated[float, Field(ge=0)] = 0.0
    smoothing: Annotated[float, Field(ge=0, le=1)] = 0.5
    n_steps: Annotated[int, Field(ge=1)] = 600
    batch_size: Annotated[int, Field(ge=2)] = 64
    learning_rate: Annotated[float, Field(gt=0)] = 3e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.1

    def _learn(self, lesson: Lesson, *, rng: np.random.Generator) -> Cosines:
        z, labels = lesson.z, lesson.labels
        quality = np.asarray(labels.quality, np.float32)
        if lesson.expected is not None:
            quality = quality + np.float32(self.smoothing) * (lesson.expected - quality)
        merit = quality - self._costs(labels)
        cluster = self._clusters(z, rng)
        n_models = quality.shape[1]
        parameters: Parameters = {
            "project": rng.standard_normal((z.shape[1], self.dim)) / np.sqrt(z.shape[1]),
            "shift": np.zeros(self.dim),
            "vectors": rng.standard_normal((n_models, self.dim)) / np.sqrt(self.dim),
        }
        parameters = {name: each.astype(np.float32) for name, each in parameters.items()}

        def gradients(now: Parameters, rows: np.ndarray) -> Parameters:
            toward, away = choose_models(
                merit[rows], quality[rows], self.k_positive, self.k_negative, rng
            )
            mate, strangers, met = choose_queries(cluster[rows], self.n_strangers, rng)
            chosen = Contrasts(toward=toward, away=away, mate=mate, strangers=strangers, met=met)
            return loss_gradients(
                now, z[rows], chosen, temperature=self.temperature, weight=self.cluster_weight
            )[1]

        descend(
            parameters,
            gradients,
            n_rows=len(z),
            batch_size=self.batch_size,
            n_steps=self.n_steps,
            rate=self.learning_rate,
            adam=Adam(decay=self.weight_decay, decayed=("project",)),
            rng=rng,
        )
        vectors, _ = unit(parameters["vectors"])
        return Cosines(
            project=parameters["project"],
            shift=parameters["shift"],
            vectors=np.asarray(vectors / self.temperature, np.float32),
        )

    def _costs(self, labels: Labels) -> FloatVector:
        cost = labels.mean_cost_usd
        if not self.cost_rate or cost is None or not np.isfinite(cost).all() or not cost.max() > 0:
            return np.zeros(len(labels.models), np.float32)
        return np.asarray(self.cost_rate * cost / cost.max(), np.float32)

    def _clusters(self, z: FloatMatrix, rng: np.random.Generator) -> np.ndarray:
        from sklearn.cluster import KMeans  # noqa: PLC0415  (training only)

        n_clusters = min(self.n_clusters, len(z))
        found = KMeans(n_clusters, n_init=1, random_state=int(rng.integers(2**31))).fit(z)
        return np.asarray(found.labels_)

    def _scorer(self, state: State, n_models: int) -> Cosines:
        project, vectors = take(state, "project", ndim=2), take(state, "vectors", ndim=2)
        shift = as_vector(state, "shift", project.shape[1])
        if vectors.shape != (n_models, len(shift)):
            raise ValueError("the vectors of models and queries do not fit together")
        return Cosines(project=project, shift=shift, vectors=vectors)
