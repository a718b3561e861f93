"""A model as its errors on clusters of queries: a new one needs no training."""

from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from routers.base import ROUTERS, Newcomer
from routers.errors import DataError
from routers.heads.cluster import ClusterHead
from routers.numeric import FloatArray
from routers.options import State, take
from routers.strategies._ranking import Lesson, RankingRouter, as_vector
from routers.strategies._score_scale import log_odds
from routers.types import FloatMatrix, FloatVector

_CHOICES = (8, 16, 32, 64)
_HELD_OUT = 4
_FEWEST_PER_CLUSTER = 5


@dataclass(kw_only=True)
class ClusterTable:
    """The scorer: log-odds of the mean quality of every model in the cluster of a query."""

    head: ClusterHead
    odds: FloatMatrix = field(init=False)  # (n_clusters, n_models)

    def __post_init__(self) -> None:
        """Take the logarithms once."""
        self.odds = log_odds(self.head.table_)

    def scores(self, z: FloatMatrix) -> FloatMatrix:
        """Return float32 (n, n_models)."""
        return self.head.look_up(z, self.odds)

    def state(self) -> dict[str, np.ndarray]:
        """Return the arrays to store."""
        return self.head.state()


@ROUTERS.register("uniroute")
@dataclass(kw_only=True)
class UniRouteRouter(RankingRouter):
    """Look up what every model made of the queries of a cluster.

    Training queries are clustered; a model is the vector of its mean quality on every cluster,
    shrunk toward its overall mean. Whatever else is added later is another such vector: the
    clusters, and all other models, stay as they are.

    Parameters
    ----------
    n_clusters
        `auto` takes that of 8, 16, 32 and 64 whose tables err least on a quarter of the queries.
    shrinkage
        Weight of a model's overall mean in every cluster, in observations.
    assignment
        `nearest`, or `soft`: the three nearest clusters, by softmax of nine times the cosine.

    Notes
    -----
    By default no domains are learned, so that a copy of a model changes nothing for any other.

    References
    ----------
    Jitkrittum et al. 2025, Universal model routing for efficient LLM inference, arXiv:2502.08773.
    """

    kind: ClassVar[str] = "uniroute"

    domains: bool = False
    n_clusters: Annotated[int, Field(ge=1, le=4096)] | Literal["auto"] = "auto"
    shrinkage: Annotated[float, Field(gt=0)] = 10.0
    assignment: Literal["nearest", "soft"] = "nearest"

    def _learn(self, lesson: Lesson, *, rng: np.random.Generator) -> ClusterTable:
        n_clusters = self.n_clusters
        if n_clusters == "auto":
            n_clusters = self._choose(lesson, rng)
        return ClusterTable(head=self._fitted(lesson, n_clusters, rng))

    def _fitted(self, lesson: Lesson, n_clusters: int, rng: np.random.Generator) -> ClusterHead:
        head = self._head(n_clusters)
        head.fit(lesson.z, lesson.labels.quality, rng=rng)
        return head

    def _head(self, n_clusters: int) -> ClusterHead:
        return ClusterHead(
            n_clusters=n_clusters, shrinkage=self.shrinkage, assignment=self.assignment
        )

    def _choose(self, lesson: Lesson, rng: np.random.Generator) -> int:
        held = rng.permutation(len(lesson.z)) % _HELD_OUT == 0
        quality = lesson.labels.quality
        if not held.any() or np.isnan(quality[~held]).all(axis=0).any():
            return _CHOICES[0]
        learned, judge = lesson.rows(np.flatnonzero(~held)), lesson.rows(np.flatnonzero(held))
        errors: list[float] = []
        for n_clusters in _CHOICES:
            if errors and n_clusters * _FEWEST_PER_CLUSTER > len(learned.z):
                break
            guess = self._fitted(learned, n_clusters, rng).predict_mean(judge.z)
            errors.append(float(np.nanmean((guess - judge.labels.quality) ** 2)))
        return _CHOICES[int(np.argmin(errors))]

    def _scorer(self, state: State, n_models: int) -> ClusterTable:
        head = self._head(max(len(take(state, "centers", ndim=2)), 1)).restore(state)
        if head.table_.shape[1] != n_models:
            raise ValueError("the table of clusters is not of as many models as there are")
        return ClusterTable(head=head)

    def _place(self, z: FloatMatrix, newcomer: Newcomer) -> dict[str, np.ndarray]:
        if not len(z):
            raise DataError("a model is its errors on clusters: give some of its outcomes")
        return {"profile": cluster_means(self.scorer_.head, z, newcomer.quality, self.shrinkage)}

    def _scores_of(self, placed: State, z: FloatMatrix) -> FloatVector:
        head: ClusterHead = self.scorer_.head
        profile = as_vector(placed, "profile", len(head.centers_))
        return head.look_up(z, log_odds(profile)[:, None])[:, 0]

    def notes(self) -> dict[str, Any]:
        """Say how many clusters there are."""
        return {**super().notes(), "n_clusters": len(self.scorer_.head.centers_)}


def cluster_means(
    head: ClusterHead, z: FloatMatrix, quality: FloatArray, shrinkage: float
) -> FloatVector:
    """Return the mean quality of one model on every cluster, shrunk toward its overall mean."""
    cluster = head.nearest(z)
    n = len(head.centers_)
    count = np.bincount(cluster, minlength=n)
    total = np.bincount(cluster, weights=quality, minlength=n)
    shrunk = (total + shrinkage * float(np.mean(quality))) / (count + shrinkage)
    return np.asarray(shrunk, np.float32)
