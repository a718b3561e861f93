"""Average what was seen in the query's cluster, shrunk toward every model's mean."""

# ruff: noqa: RUF009  (unfitted() declares a field)

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field

from routers.heads.base import HEADS, Head
from routers.numeric import nan_mean, row_blocks, unit_rows
from routers.options import State, require_fitted, take, unfitted
from routers.types import FloatMatrix, FloatVector


@HEADS.register("cluster")
@dataclass(kw_only=True)
class ClusterHead(Head):
    """Look a query up in a table of clusters by models.

    Rows are brought to length one and clustered by k-means. A cell is the mean of its labels
    and of `shrinkage` further observations of the model's overall mean, so that a cluster in
    which a model was never tried tells that mean.

    Parameters
    ----------
    n_clusters
        At most as many as there are different rows.
    shrinkage
        Weight of a model's overall mean, in observations.
    assignment
        `nearest` reads one row of the table, `soft` averages the three nearest with weights
        softmax(sharpness x cosine).

    References
    ----------
    Zhang et al. 2025, Avengers and Avengers-Pro, arXiv:2505.19797 and arXiv:2508.12631 (three
    clusters, sharpness 9); Jitkrittum et al. 2025, UniRoute, arXiv:2502.08773 (cluster errors).
    """

    kind: ClassVar[str] = "cluster"

    n_clusters: Annotated[int, Field(ge=1, le=4096)] = 25
    shrinkage: Annotated[float, Field(gt=0)] = 5.0
    assignment: Literal["nearest", "soft"] = "nearest"
    sharpness: Annotated[float, Field(gt=0)] = 9.0
    centers_: FloatMatrix = unfitted()  # (n_clusters, n_features), unit rows
    table_: FloatMatrix = unfitted()  # (n_clusters, n_models)
    std_: FloatMatrix = unfitted()  # (n_clusters, n_models), of the cells
    prior_: FloatVector = unfitted()  # (n_models,), overall means

    def _fit(self, x: FloatMatrix, y: FloatMatrix, *, rng: np.random.Generator) -> None:
        unit = unit_rows(x)
        label = self._cluster(unit, rng)
        n_clusters = int(label.max()) + 1
        # Made again from the labels: sums over threads may differ in their last bits.
        self.centers_ = unit_rows(
            np.stack([unit[label == j].mean(axis=0) for j in range(n_clusters)])
        )
        mean = nan_mean(y, default=0.0)
        variance = nan_mean((y - mean) ** 2, default=0.0)
        self.prior_ = mean.astype(np.float32)
        shape = (n_clusters, y.shape[1])
        total, count, scatter = np.zeros(shape), np.zeros(shape), np.zeros(shape)
        known = ~np.isnan(y)
        np.add.at(total, label, np.where(known, y, 0))
        np.add.at(count, label, known)
        table = (total + self.shrinkage * mean) / (count + self.shrinkage)
        np.add.at(scatter, label, np.where(known, (y - table[label]) ** 2, 0))
        within = (scatter + self.shrinkage * variance) / (count + self.shrinkage)
        self.table_ = table.astype(np.float32)
        self.std_ = np.sqrt(within / (count + self.shrinkage)).astype(np.float32)

    def _cluster(self, unit: FloatMatrix, rng: np.random.Generator) -> np.ndarray:
        """Return the cluster of every row, numbered without gaps."""
        from sklearn.cluster import KMeans  # noqa: PLC0415  (serving has no scikit-learn)

        n_distinct = len(np.unique(unit, axis=0))
        model: Any = KMeans(
            n_clusters=min(self.n_clusters, n_distinct),
            n_init=4,
            random_state=int(rng.integers(2**31)),
        )
        return np.asarray(np.unique(model.fit(unit).labels_, return_inverse=True)[1])

    def predict(self, x: FloatMatrix) -> tuple[FloatMatrix, FloatMatrix]:
        """Return the cells of the query's cluster and their standard deviations."""
        require_fitted(self, "centers_")
        n_models = self.table_.shape[1]
        both = self.look_up(x, np.concatenate([self.table_, self.std_], axis=1))
        return both[:, :n_models].copy(), both[:, n_models:].copy()

    def predict_mean(self, x: FloatMatrix) -> FloatMatrix:
        """Return the cells alone."""
        require_fitted(self, "centers_")
        return self.look_up(x, self.table_)

    def look_up(self, x: FloatMatrix, table: FloatMatrix) -> FloatMatrix:
        """Return the row of a table, (n_clusters, n), that belongs to every query."""
        found = np.empty((len(x), table.shape[1]), np.float32)
        query = unit_rows(np.asarray(x, np.float32))
        for block in row_blocks(len(x), len(self.centers_) + 3 * found.shape[1]):
            at, weight = self._assign(query[block])
            found[block] = (table[at] * weight[..., None]).sum(axis=1)
        return found

    def nearest(self, x: FloatMatrix) -> np.ndarray:
        """Return the cluster of every query, (n_queries,)."""
        require_fitted(self, "centers_")
        query = unit_rows(np.asarray(x, np.float32))
        return np.asarray((query @ self.centers_.T).argmax(axis=1))

    def _assign(self, query: FloatMatrix) -> tuple[np.ndarray, FloatMatrix]:
        """Return clusters and their weights, (n_queries, n_used)."""
        similarity = query @ self.centers_.T
        if self.assignment == "nearest":
            at = similarity.argmax(axis=1)[:, None]
            return at, np.ones(at.shape, np.float32)
        n_used = min(_N_SOFT, len(self.centers_))
        at = np.argsort(-similarity, axis=1, kind="stable")[:, :n_used]
        near = np.take_along_axis(similarity, at, axis=1)
        weight = np.exp(self.sharpness * (near - near[:, :1]))
        return at, np.asarray(weight / weight.sum(axis=1, keepdims=True), np.float32)

    def similarity(self, x: FloatMatrix) -> FloatVector:
        """Return the cosine to the nearest centre, (n_queries,): low for unfamiliar queries."""
        require_fitted(self, "centers_")
        return np.asarray((unit_rows(np.asarray(x, np.float32)) @ self.centers_.T).max(axis=1))

    def state(self) -> dict[str, np.ndarray]:
        """Return centres and table."""
        require_fitted(self, "centers_")
        return {
            "centers": self.centers_,
            "table": self.table_,
            "std": self.std_,
            "prior": self.prior_,
        }

    def restore(self, state: State) -> Self:
        """Take over centres and table."""
        centers, table, std = (take(state, name, ndim=2) for name in ("centers", "table", "std"))
        prior = take(state, "prior", ndim=1)
        if not len(centers) == len(table) > 0 or std.shape != (len(table), len(prior)):
            raise ValueError("the centres and the table of a cluster head do not match")
        if table.shape != std.shape:
            raise ValueError("the table of a cluster head does not match its deviations")
        self.centers_, self.table_, self.std_, self.prior_ = centers, table, std, prior
        return self


_N_SOFT = 3
