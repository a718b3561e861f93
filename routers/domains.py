"""Which domain a query belongs to, learned from the labels that outcome data often carries.

Most of what separates models is a matter of domain (this one is good at law, that one at code),
and benchmark or subject names tell the domain of training queries. A classifier carries that to
queries without a name; what it says goes to the heads as further features.
"""

# ruff: noqa: RUF009  (unfitted() declares a field)

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from routers.numeric import nan_mean
from routers.options import State, require_fitted, take, unfitted
from routers.types import FloatMatrix, FloatVector

_FEWEST_QUERIES = 8
"""Smaller domains are not told apart."""

_FOLDS = 4
_RIDGES = (0.3, 1.0, 3.0, 10.0, 30.0)
_SHARPNESS = (2.0, 4.0, 6.0, 8.0, 12.0, 16.0)
_PRIOR_QUERIES = 20.0
"""How many queries of average quality every domain's mean starts with."""

_CHANCE_SCALE = 0.3
"""Brings chances to the size of the other features' spread."""


@dataclass(kw_only=True)
class DomainModel:
    """Chances of every domain by ridge regression on one-hot labels, and each domain's quality.

    Ridge and sharpness of the chances are chosen by cross-validated log-loss. The features of the
    training queries themselves are cross-fitted, so that the heads see them as uncertain as those
    of new queries are.
    """

    weights_: FloatMatrix = unfitted()  # (n_features + 1, n_domains), sharpness folded in
    quality_: FloatMatrix = unfitted()  # (n_domains, n_models), minus the overall mean
    mean_: FloatVector = unfitted()  # (n_models,)
    to_features_: FloatMatrix = unfitted()  # (n_domains, n_domains + n_models)

    @staticmethod
    def usable(groups: Sequence[str]) -> bool:
        """Return whether the labels tell at least two domains apart."""
        return len({each for each in _domains(groups) if each}) > 1

    def fit(
        self,
        x: FloatMatrix,
        groups: Sequence[str],
        quality: FloatMatrix,
        *,
        rng: np.random.Generator,
    ) -> tuple[Self, FloatMatrix]:
        """Learn the domains; return itself and the cross-fitted features of the training rows."""
        of_query = _domains(groups)
        names = sorted({each for each in of_query if each})
        number = {name: i for i, name in enumerate(names)}
        domain = np.array([number.get(each, -1) for each in of_query])
        rows = np.flatnonzero(domain >= 0)
        target = np.eye(len(names), dtype=np.float64)[domain[rows]]
        fold = rng.permutation(len(rows)) % _FOLDS
        scores = np.zeros((len(_RIDGES), len(x), len(names)), np.float32)
        for held in range(_FOLDS):
            weights = _ridge(x[rows[fold != held]], target[fold != held])
            mask = np.ones(len(x), bool)
            mask[rows[fold != held]] = False  # held rows, and those without a label
            scores[:, mask] = _with_bias(x[mask]) @ weights
        best = min(
            (
                (_log_loss(scores[i, rows] * sharp, domain[rows]), i, sharp)
                for i in range(len(_RIDGES))
                for sharp in _SHARPNESS
            ),
        )
        _, ridge, sharpness = best
        everything = _ridge(x[rows], target)[ridge]
        self.weights_ = (everything * sharpness).astype(np.float32)
        self.quality_ = _domain_quality(quality, domain, len(names))
        self.mean_ = nan_mean(quality, default=0.0).astype(np.float32)
        self._ready()
        return self, self._features(_softmax(scores[ridge] * sharpness))

    def features(self, x: FloatMatrix) -> FloatMatrix:
        """Return float32 (n_queries, n_domains + n_models): scaled chances, expected quality."""
        require_fitted(self, "weights_")
        scores = x.dot(self.weights_[:-1])
        scores += self.weights_[-1]
        return self._features(_softmax(scores))

    def expected(self, features: FloatMatrix) -> FloatMatrix:
        """Return the quality that the domains alone predict, from what `features` returned."""
        require_fitted(self, "mean_")
        return self.mean_ + features[:, -len(self.mean_) :]

    def _features(self, chances: np.ndarray) -> FloatMatrix:
        return np.asarray(chances.dot(self.to_features_), np.float32)

    def _ready(self) -> None:
        """Prepare to turn chances into features in one product: scaled, and expected quality."""
        scaled = _CHANCE_SCALE * np.eye(len(self.quality_), dtype=np.float32)
        self.to_features_ = np.concatenate([scaled, self.quality_], axis=1, dtype=np.float32)

    def state(self) -> dict[str, np.ndarray]:
        """Return what was learned."""
        require_fitted(self, "weights_")
        return {"weights": self.weights_, "quality": self.quality_, "mean": self.mean_}

    def restore(self, state: State) -> Self:
        """Take over what `state` returned."""
        self.weights_ = take(state, "weights", ndim=2)
        self.quality_ = take(state, "quality", ndim=2)
        self.mean_ = take(state, "mean", ndim=1)
        if self.weights_.shape[1] != len(self.quality_):
            raise ValueError("the domains of weights and qualities differ")
        self._ready()
        return self


def _domains(groups: Sequence[str]) -> list[str]:
    """Return the domain of every query: its label, or as much of its path as is common enough.

    Labels are paths (`set/benchmark/subject`), and some sets end them in a number of their own.
    """
    paths = [tuple(itertools.accumulate(g.split("/"), "{}/{}".format)) for g in groups]
    counts = Counter(path for each in paths for path in each if path)
    return [
        next((path for path in reversed(each) if counts[path] >= _FEWEST_QUERIES), "")
        for each in paths
    ]


def _with_bias(x: FloatMatrix) -> FloatMatrix:
    return np.hstack([x, np.ones((len(x), 1), np.float32)])


def _ridge(x: FloatMatrix, target: np.ndarray) -> np.ndarray:
    """Return (n_ridges, n_features + 1, n_domains): one solution per strength of `_RIDGES`."""
    center, target_center = x.mean(axis=0, dtype=np.float64), target.mean(axis=0)
    centred = x - center
    values, vectors = np.linalg.eigh((centred.T @ centred).astype(np.float64))
    projected = vectors.T @ (centred.T @ (target - target_center))
    out = []
    for strength in _RIDGES:
        weights = vectors @ (projected / (np.maximum(values, 0) + strength)[:, None])
        out.append(np.vstack([weights, target_center - center @ weights]))
    return np.stack(out)


def _softmax(scores: np.ndarray) -> np.ndarray:
    exp = scores - np.maximum.reduce(scores, axis=1, keepdims=True)
    np.exp(exp, out=exp)
    exp /= np.add.reduce(exp, axis=1, keepdims=True)
    return exp


def _log_loss(scores: np.ndarray, domain: np.ndarray) -> float:
    top = scores.max(axis=1, keepdims=True)
    log_sum = np.log(np.exp(scores - top).sum(axis=1)) + top[:, 0]
    return float((log_sum - scores[np.arange(len(domain)), domain]).mean())


def _domain_quality(quality: FloatMatrix, domain: np.ndarray, n_domains: int) -> FloatMatrix:
    overall = nan_mean(quality, default=0.0)
    out = np.zeros((n_domains, quality.shape[1]))
    for each in range(n_domains):
        above = quality[domain == each] - overall
        known = (~np.isnan(above)).sum(axis=0)
        out[each] = np.nansum(above, axis=0) / (known + _PRIOR_QUERIES)
    return out.astype(np.float32)
