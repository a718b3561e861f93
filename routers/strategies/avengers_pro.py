"""Models ranked in every cluster of queries; the ranks of near clusters are added up."""

from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from routers.base import ROUTERS, Labels, Newcomer
from routers.errors import DataError
from routers.heads.cluster import ClusterHead
from routers.numeric import FloatArray
from routers.options import State, prefixed, take, under
from routers.strategies._ranking import Lesson, RankingRouter, as_vector
from routers.strategies.uniroute import cluster_means
from routers.types import FloatMatrix, FloatVector


@dataclass(kw_only=True)
class RankTable:
    """The scorer: the sum over near clusters of weight / (rank + 1), ranks from 0.

    Attributes
    ----------
    head
        The clusters, and the accuracy of every model in each.
    thrift
        (n_models,), one minus the cost of each over that of the dearest.
    alpha, by_value
        As the options of the router.
    """

    head: ClusterHead
    thrift: FloatVector
    alpha: float
    by_value: bool
    marks: FloatMatrix = field(init=False)  # (n_clusters, n_models)

    def __post_init__(self) -> None:
        """Rank the models of every cluster."""
        merit = self.merit(self.head.table_, self.thrift)
        self.marks = merit if self.by_value else one_over_rank(merit)

    def merit(self, accuracy: FloatMatrix, thrift: FloatVector) -> FloatMatrix:
        """Return alpha x scaled accuracy + (1 - alpha) x thrift, (n_clusters, n_models)."""
        low, high = (
            bound(self.head.table_, axis=1, keepdims=True)
            for bound in (np.minimum.reduce, np.maximum.reduce)
        )
        width = high - low
        scaled = np.where(width > 1e-9, (accuracy - low) / np.where(width > 1e-9, width, 1), 1.0)
        return np.asarray(self.alpha * scaled + (1 - self.alpha) * thrift, np.float32)

    def scores(self, z: FloatMatrix) -> FloatMatrix:
        """Return float32 (n, n_models)."""
        return self.head.look_up(z, self.marks)

    def state(self) -> dict[str, np.ndarray]:
        """Return the arrays to store."""
        return {**prefixed("head.", self.head.state()), "thrift": self.thrift}


@ROUTERS.register("avengers-pro")
@dataclass(kw_only=True)
class AvengersProRouter(RankingRouter):
    """Add up the ranks that models have in the three clusters nearest to a query.

    In every cluster models are ranked by alpha x accuracy (scaled to [0, 1] over the models of the
    cluster) + (1 - alpha) x (1 - cost over that of the dearest). The score of a model is the sum
    over the three nearest clusters of softmax(beta x cosine) / (rank + 1), ranks from 0.

    Parameters
    ----------
    n_clusters
        At most as many as there are different queries.
    beta
        How much nearer clusters count for more.
    alpha
        1 ranks by accuracy alone: prices then come in when deciding, as for every router. Below,
        the mean costs of the training are in the ranks, as published, and a change of prices needs
        training again.
    rule
        `ranks` as released, or `values`: the weighted sum of what models are ranked by.
    shrinkage
        Weight of a model's overall mean in every cluster, in observations.

    Notes
    -----
    A query far from all clusters is drawn to the models' means (`shrink_unfamiliar`), where the
    release names a default model.

    References
    ----------
    Zhang et al. 2025, Avengers-Pro, arXiv:2508.12631; The Avengers, arXiv:2505.19797.
    """

    kind: ClassVar[str] = "avengers-pro"

    domains: bool = False
    n_clusters: Annotated[int, Field(ge=1, le=4096)] = 40
    beta: Annotated[float, Field(gt=0)] = 9.0
    alpha: Annotated[float, Field(ge=0, le=1)] = 1.0
    rule: Literal["ranks", "values"] = "ranks"
    shrinkage: Annotated[float, Field(gt=0)] = 5.0

    def _learn(self, lesson: Lesson, *, rng: np.random.Generator) -> RankTable:
        head = self._head()
        head.fit(lesson.z, lesson.labels.quality, rng=rng)
        return self._table(head, _thrift(lesson.labels))

    def _head(self) -> ClusterHead:
        return ClusterHead(
            n_clusters=self.n_clusters,
            shrinkage=self.shrinkage,
            assignment="soft",
            sharpness=self.beta,
        )

    def _table(self, head: ClusterHead, thrift: FloatVector) -> RankTable:
        return RankTable(head=head, thrift=thrift, alpha=self.alpha, by_value=self.rule == "values")

    def _scorer(self, state: State, n_models: int) -> RankTable:
        head = self._head().restore(under("head.", state))
        thrift = take(state, "thrift", ndim=1)
        if not head.table_.shape[1] == len(thrift) == n_models:
            raise ValueError("the ranks of clusters are not of as many models as there are")
        return self._table(head, thrift)

    def _place(self, z: FloatMatrix, newcomer: Newcomer) -> dict[str, np.ndarray]:
        if not len(z):
            raise DataError("a model is ranked by its accuracy on clusters: give some outcomes")
        head: ClusterHead = self.scorer_.head
        return {"profile": cluster_means(head, z, newcomer.quality, self.shrinkage)}

    def _scores_of(self, placed: State, z: FloatMatrix) -> FloatVector:
        table: RankTable = self.scorer_
        profile = as_vector(placed, "profile", len(table.head.centers_))
        # What it costs is not in its profile: it counts as costing what models do on average.
        own = table.merit(profile[:, None].astype(np.float32), table.thrift.mean(keepdims=True))
        marks = own
        if not table.by_value:
            known = table.merit(table.head.table_, table.thrift)
            better = (known > own).sum(axis=1, keepdims=True)
            marks = (1 / (better + 1)).astype(np.float32)
        return table.head.look_up(z, marks)[:, 0]


def one_over_rank(merit: FloatMatrix) -> FloatMatrix:
    """Return 1 / (rank + 1) of every model in its row; the best has rank 0, equals share one."""
    better = (merit[:, None, :] > merit[:, :, None]).sum(axis=2)
    return np.asarray(1 / (better + 1), np.float32)


def _thrift(labels: Labels) -> FloatVector:
    cost: FloatArray | None = labels.mean_cost_usd
    if cost is None or not np.isfinite(cost).all() or not cost.max() > 0:
        return np.zeros(len(labels.models), np.float32)
    return np.asarray(1 - cost / cost.max(), np.float32)
