"""Gradient-boosted trees, trained by scikit-learn and evaluated by numpy."""

# ruff: noqa: RUF009  (unfitted() declares a field)

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field

from routers.errors import DataError
from routers.heads.base import HEADS, Head
from routers.heads.logistic import soft_rows
from routers.numeric import FloatArray, row_blocks
from routers.options import State, require_fitted, take, unfitted
from routers.types import FloatMatrix, FloatVector

_DEEPEST = 512
"""No tree that was grown comes near it; every prediction walks down as far."""
_N_BINS = 255
_FEWEST_ROWS = 10
"""A model that was tried on fewer queries is predicted at its mean."""


@HEADS.register("boosting")
@dataclass(kw_only=True)
class BoostingHead(Head):
    """Boost small trees, one ensemble per model.

    Parameters
    ----------
    loss
        `logistic`: values are chances or shares in [0, 1]; `squared`: any values.
    n_trees, max_leaves, min_leaf_rows, learning_rate, l2
        As in scikit-learn's histogram gradient boosting. Trees have at most
        `2 max_leaves - 1` nodes of 20 bytes, so that the size of an artifact is bounded by
        n_models x n_trees x max_leaves x 40 bytes.

    Notes
    -----
    The uncertainty takes the prediction for the mean of a leaf of typical size: the residual
    variance times the mean, over the trees, of one over the number of training rows in the
    query's leaf.

    References
    ----------
    Friedman 2001, Greedy function approximation; Ke et al. 2017, LightGBM.
    """

    kind: ClassVar[str] = "boosting"

    loss: Literal["logistic", "squared"] = "logistic"
    n_trees: Annotated[int, Field(ge=1, le=1000)] = 60
    max_leaves: Annotated[int, Field(ge=2, le=64)] = 8
    min_leaf_rows: Annotated[int, Field(ge=1)] = 20
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 0.1
    l2: Annotated[float, Field(ge=0)] = 1.0
    feature_: np.ndarray = unfitted()  # int32 (n_nodes,); leaves hold 0
    threshold_: FloatVector = unfitted()  # (n_nodes,); rows at or below go left
    children_: np.ndarray = unfitted()  # int32 (2, n_nodes); a leaf is its own child
    value_: FloatVector = unfitted()  # (n_nodes,), what a leaf adds
    spread_: FloatVector = unfitted()  # (n_nodes,), one over the rows of a leaf
    roots_: np.ndarray = unfitted()  # int32 (n_models, n_trees)
    baseline_: FloatArray = unfitted()  # (n_models,)
    noise_var_: FloatVector = unfitted()  # (n_models,)
    n_features_: int = unfitted()
    depth_: int = unfitted()

    def _fit(self, x: FloatMatrix, y: FloatMatrix, *, rng: np.random.Generator) -> None:
        if self.loss == "logistic" and (np.nanmin(y) < 0 or np.nanmax(y) > 1):
            raise DataError("logistic loss learns values from 0 to 1; use loss: squared for others")
        forest = _Forest()
        n_models = y.shape[1]
        self.baseline_, self.n_features_ = np.zeros(n_models), x.shape[1]
        roots = []
        edges = bin_edges(x)
        binned = bin_index(x, edges)
        seeds = rng.integers(2**31, size=(n_models,)).tolist()
        for model, seed in enumerate(seeds):
            known = ~np.isnan(y[:, model])
            target = y[known, model].astype(np.float64)
            if len(target) < _FEWEST_ROWS or np.ptp(target) == 0:
                self.baseline_[model] = self._constant(target)
                roots.append([forest.add_leaf()] * self.n_trees)
                continue
            ensemble = self._boost(binned[known], target, seed)
            self.baseline_[model] = float(np.ravel(ensemble._baseline_prediction)[0])  # noqa: SLF001
            trees = [tree for (tree,) in ensemble._predictors]  # noqa: SLF001
            roots.append([forest.add_tree(tree.nodes, edges) for tree in trees])
        self._adopt(forest.arrays(), np.asarray(roots, np.int32))
        self._measure(x, y)

    def _constant(self, target: FloatArray) -> float:
        if self.loss == "squared":
            return float(target.mean())
        chance = (target.sum() + 0.5) / (len(target) + 1)
        return float(np.log(chance / (1 - chance)))

    def _boost(self, x: FloatArray, y: FloatArray, seed: int) -> Any:
        from sklearn.ensemble import (  # noqa: PLC0415  (serving has no scikit-learn)
            HistGradientBoostingClassifier,
            HistGradientBoostingRegressor,
        )

        options = {
            "max_iter": self.n_trees,
            "max_leaf_nodes": self.max_leaves,
            "min_samples_leaf": self.min_leaf_rows,
            "learning_rate": self.learning_rate,
            "l2_regularization": self.l2,
            "early_stopping": False,
            "random_state": seed,
        }
        if self.loss == "squared":
            return HistGradientBoostingRegressor(**options).fit(x, y)
        rows, label, weight = soft_rows(y)
        return HistGradientBoostingClassifier(**options).fit(x[rows], label, sample_weight=weight)

    def _adopt(self, arrays: dict[str, np.ndarray], roots: np.ndarray) -> None:
        self.feature_, self.threshold_ = arrays["feature"], arrays["threshold"]
        self.children_, self.value_ = arrays["children"], arrays["value"]
        self.roots_ = roots
        self.depth_ = _depth(self.children_, roots)

    def _measure(self, x: FloatMatrix, y: FloatMatrix) -> None:
        """Count the rows in every leaf, and what the trees leave unexplained."""
        n_nodes, (n_models, n_trees) = len(self.value_), self.roots_.shape
        count = np.zeros(n_nodes)
        residual, n_known = np.zeros(n_models), np.zeros(n_models)
        for block in row_blocks(len(x), 4 * n_models * n_trees):
            leaves = self._leaves(x[block])
            known = ~np.isnan(y[block])
            for model in range(n_models):
                np.add.at(count, leaves[known[:, model], model], 1)
            error = np.where(known, y[block] - self._mean(leaves), 0)
            residual += (error**2).sum(axis=0)
            n_known += known.sum(axis=0)
        self.spread_ = (1 / np.maximum(count, 1)).astype(np.float32)
        # One more observation of variance 1/4 in n: agreement of few rows is no certainty.
        self.noise_var_ = ((residual + 0.25) / n_known).astype(np.float32)

    def _leaves(self, x: FloatMatrix) -> np.ndarray:
        """Walk down all trees at once: (n_queries, n_models, n_trees) node numbers."""
        n_models, n_trees = self.roots_.shape
        node = np.broadcast_to(self.roots_.ravel(), (len(x), n_models * n_trees))
        left, right = self.children_
        for _ in range(self.depth_):
            value = np.take_along_axis(x, self.feature_[node], axis=1)
            node = np.where(value <= self.threshold_[node], left[node], right[node])
        return np.asarray(node).reshape(len(x), n_models, n_trees)

    def _mean(self, leaves: np.ndarray) -> FloatArray:
        total = self.value_[leaves].sum(axis=2, dtype=np.float64) + self.baseline_
        return np.asarray(0.5 * (1 + np.tanh(total / 2)) if self.loss == "logistic" else total)

    def predict(self, x: FloatMatrix) -> tuple[FloatMatrix, FloatMatrix]:
        """Return the sum of the trees and the deviation of a leaf of typical size."""
        require_fitted(self, "roots_")
        n_models, n_trees = self.roots_.shape
        mean = np.empty((len(x), n_models), np.float32)
        std = np.empty_like(mean)
        x = np.asarray(x, np.float32)
        for block in row_blocks(len(x), 4 * n_models * n_trees):
            leaves = self._leaves(x[block])
            mean[block] = self._mean(leaves)
            std[block] = np.sqrt(self.noise_var_ * self.spread_[leaves].mean(axis=2))
        return mean, std

    def state(self) -> dict[str, np.ndarray]:
        """Return the nodes of all trees as flat arrays."""
        require_fitted(self, "roots_")
        return {
            "feature": self.feature_,
            "threshold": self.threshold_,
            "children": self.children_,
            "value": self.value_,
            "spread": self.spread_,
            "roots": self.roots_,
            "baseline": self.baseline_,
            "noise_var": self.noise_var_,
            "n_features": np.asarray([self.n_features_]),
        }

    def restore(self, state: State) -> Self:
        """Take over trees; their nodes are checked, so that no walk can leave them."""
        nodes = {
            name: take(state, name, ndim=1) for name in ("feature", "threshold", "value", "spread")
        }
        children, roots = (take(state, name, ndim=2) for name in ("children", "roots"))
        baseline, noise = (take(state, name, ndim=1) for name in ("baseline", "noise_var"))
        n_features = take(state, "n_features", ndim=1)
        n_nodes, n_models = len(nodes["value"]), len(roots)
        sizes = {len(array) for array in nodes.values()} | {children.shape[1]}
        if sizes != {n_nodes} or children.shape[0] != 2 or len(n_features) != 1:
            raise ValueError("the node arrays of a boosting head do not fit together")
        if len(baseline) != n_models or len(noise) != n_models or roots.size == 0:
            raise ValueError("the models of a boosting head do not fit together")
        inside = all(
            array.min() >= 0 and array.max() < bound
            for array, bound in (
                (children, n_nodes),
                (roots, n_nodes),
                (nodes["feature"], int(n_features[0])),
            )
        )
        # Children stand behind their parent, which rules out circles.
        if not inside or (children < np.arange(n_nodes)).any():
            raise ValueError("a node of a boosting head points nowhere")
        self.n_features_, self.spread_ = int(n_features[0]), nodes["spread"]
        self.baseline_, self.noise_var_ = baseline, noise
        self._adopt({**nodes, "children": children}, roots)
        return self


def bin_edges(x: FloatMatrix) -> list[FloatVector]:
    """Return at most 254 ascending edges per feature, between equally many rows each.

    Features are binned here rather than by scikit-learn, once for all models: its own binning
    takes a tenth of a second per feature and model as soon as rows have weights.
    """
    inner = np.linspace(0, 1, _N_BINS + 1)[1:-1]
    return [np.unique(np.quantile(column, inner, method="lower")) for column in x.T]


def bin_index(x: FloatMatrix, edges: list[FloatVector]) -> FloatArray:
    """Return the bin of every value: it is at or below edge k where its bin is at most k."""
    columns = [
        np.searchsorted(edge, column, side="left") for edge, column in zip(edges, x.T, strict=True)
    ]
    return np.stack(columns, axis=1).astype(np.float64)


class _Forest:
    """Nodes of many trees, one after the other."""

    def __init__(self) -> None:
        self._parts: list[dict[str, np.ndarray]] = []
        self._n_nodes = 0

    def add_leaf(self) -> int:
        """Add a tree that says nothing; return its root."""
        at = np.asarray([self._n_nodes], np.int32)
        return self._add(
            {
                "feature": np.zeros(1, np.int32),
                "threshold": np.zeros(1, np.float32),
                "children": np.stack([at, at]),
                "value": np.zeros(1, np.float32),
            }
        )

    def add_tree(self, nodes: np.ndarray, edges: list[FloatVector]) -> int:
        """Add a tree of scikit-learn, which split bins and numbers its nodes from zero."""
        threshold = np.zeros(len(nodes), np.float32)
        for i in np.flatnonzero(nodes["is_leaf"] == 0):
            threshold[i] = edges[nodes["feature_idx"][i]][int(nodes["num_threshold"][i])]
        leaf = nodes["is_leaf"].astype(bool)
        itself = np.arange(len(nodes))
        children = np.stack([np.where(leaf, itself, nodes[side]) for side in ("left", "right")])
        return self._add(
            {
                "feature": np.where(leaf, 0, nodes["feature_idx"]).astype(np.int32),
                "threshold": threshold,
                "children": (children + self._n_nodes).astype(np.int32),
                "value": np.where(leaf, nodes["value"], 0).astype(np.float32),
            }
        )

    def _add(self, part: dict[str, np.ndarray]) -> int:
        root = self._n_nodes
        self._parts.append(part)
        self._n_nodes += len(part["value"])
        return root

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the flat arrays."""
        return {
            name: np.concatenate([part[name] for part in self._parts], axis=-1)
            for name in ("feature", "threshold", "children", "value")
        }


def _depth(children: np.ndarray, roots: np.ndarray) -> int:
    """Return the most steps from a root to a leaf."""
    level = np.unique(roots)
    for depth in range(_DEEPEST):
        level = level[children[0, level] != level]
        if len(level) == 0:
            return depth
        level = np.unique(children[:, level])
    raise ValueError(f"a tree of a boosting head is deeper than {_DEEPEST}")
