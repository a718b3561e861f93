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
from routers.strategies._softmax_regression import softmax_regression
from routers.types import FloatMatrix, FloatVector

_FEWEST_QUERIES = 8
"""Smaller domains are not told apart."""

_FOLDS = 4
_RIDGES = (0.3, 1.0, 3.0, 10.0, 30.0)
_SHARPNESS = (2.0, 4.0, 6.0, 8.0, 12.0, 16.0)
_PENALTIES = (1.0, 2.0, 5.0)
"""Inverse strengths, for a logistic regression."""

_LOGISTIC_SHARPNESS = (0.5, 0.7, 0.85, 1.0, 1.2)
_PRIOR_ROWS = (5.0, 1000.0)
"""Bounds of how many queries of average quality a domain's mean starts with."""

_COMPLETE = 0.9
"""Share of known outcomes from which on a query's difficulty can be told from them."""

_CHANCE_SCALE = 0.3
"""Brings chances to the size of the other features' spread."""


@dataclass(kw_only=True)
class DomainModel:
    """Chances of every domain by ridge regression on one-hot labels, and each domain's quality.

    Ridge and sharpness of the chances are chosen by cross-validated log-loss. The features of the
    training queries themselves are cross-fitted, so that the heads see them as uncertain as those
    of new queries are.

    Parameters
    ----------
    logistic
        Whether the regression is a logistic one, which tells domains apart better and takes
        several times as long to fit.
    """

    logistic: bool = False
    weights_: FloatMatrix = unfitted()  # (n_features + 1, n_domains), sharpness folded in
    quality_: FloatMatrix = unfitted()  # (n_domains, n_models), minus the overall mean
    mean_: FloatVector = unfitted()  # (n_models,)
    to_features_: FloatMatrix = unfitted()  # (n_domains, n_domains + n_models)

    @staticmethod
    def told_apart(groups: Sequence[str]) -> list[str]:
        """Return the domains that the labels tell apart, in the order of their chances."""
        return sorted({each for each in _domains(groups) if each})

    @staticmethod
    def usable(groups: Sequence[str]) -> bool:
        """Return whether the labels tell at least two domains apart."""
        return len(DomainModel.told_apart(groups)) > 1

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
        # What has no label is predicted by the last fold's model: it took no part in any.
        fold = np.full(len(x), _FOLDS - 1)
        fold[rows] = rng.permutation(len(rows)) % _FOLDS
        path, sharpnesses = (
            (_logistic, _LOGISTIC_SHARPNESS) if self.logistic else (_ridge, _SHARPNESS)
        )
        tried = []
        for held in range(_FOLDS):
            learned = rows[fold[rows] != held]
            weights = path(x[learned], np.eye(len(names))[domain[learned]])
            tried.append((fold == held, _with_bias(x[fold == held]) @ weights))
        scores = np.zeros((len(tried[0][1]), len(x), len(names)), np.float32)
        for asked, found in tried:
            scores[:, asked] = found
        best = min(
            (
                (_log_loss(scores[i, rows] * sharp, domain[rows]), i, sharp)
                for i in range(len(scores))
                for sharp in sharpnesses
            ),
        )
        _, strength, sharpness = best
        everything = path(x[rows], np.eye(len(names))[domain[rows]])[strength]
        self.weights_ = (everything * sharpness).astype(np.float32)
        table = DomainTable(quality, domain, len(names))
        self.quality_ = table.shrunk(domain >= 0)
        self.mean_ = nan_mean(quality, default=0.0).astype(np.float32)
        self._ready()
        chances = _softmax(scores[strength] * sharpness)
        own = self._features(chances)
        for held in range(_FOLDS):
            # A row's own outcomes in what is expected of it would be learned as worth believing.
            quality_of_others = table.shrunk((domain >= 0) & (fold != held))
            own[fold == held, len(names) :] = chances[fold == held] @ quality_of_others
        return self, own

    def features(self, x: FloatMatrix) -> FloatMatrix:
        """Return float32 (n_queries, n_domains + n_models): scaled chances, expected quality."""
        return self._features(self.chances(x))

    def chances(self, x: FloatMatrix) -> FloatMatrix:
        """Return float32 (n_queries, n_domains), rows of which sum to 1."""
        require_fitted(self, "weights_")
        scores = x.dot(self.weights_[:-1])
        scores += self.weights_[-1]
        return np.asarray(_softmax(scores), np.float32)

    def chances_of(self, features: FloatMatrix) -> FloatMatrix:
        """Return the chances in what `features` or `fit` returned."""
        require_fitted(self, "quality_")
        return np.asarray(features[:, : len(self.quality_)] / _CHANCE_SCALE, np.float32)

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


def _logistic(x: FloatMatrix, target: np.ndarray) -> np.ndarray:
    """Return the same by logistic regression, one solution per strength of `_PENALTIES`."""
    out, weights = [], np.zeros((x.shape[1] + 1, target.shape[1]))
    for inverse in _PENALTIES:
        weights = softmax_regression(x, target.argmax(axis=1), weights, inverse=inverse)
        out.append(weights)
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


class DomainTable:
    """Mean quality of every domain above the overall mean, shrunk by what rows can tell.

    How hard a domain is for all models, and which of them it suits, are shrunk apart: the former
    differs a lot between domains, the latter little, so that it takes more rows to be seen. How
    many rows' worth of the average each starts with is estimated from how much domains differ
    beyond their noise.
    """

    def __init__(self, quality: FloatMatrix, domain: np.ndarray, n_domains: int) -> None:
        self._domain, self._n_domains = domain, n_domains
        above = quality - nan_mean(quality, default=0.0)
        known = ~np.isnan(above)
        common = np.zeros((len(above), 1))
        if known.mean() >= _COMPLETE and quality.shape[1] > 1:
            common = nan_mean(above.T, default=0.0)[:, None]
        parts = (common, np.where(known, above - common, np.nan))
        self._parts = [(part, self._prior_rows(part)) for part in parts]

    def shrunk(self, rows: np.ndarray) -> FloatMatrix:
        """Return (n_domains, n_models), learned from the rows of a mask."""
        out = np.zeros((self._n_domains, 1))
        for part, prior in self._parts:
            total, count = self._sums(part, rows)
            out = out + total / (count + prior)
        return out.astype(np.float32)

    def _sums(self, part: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return sums and numbers of known values, (n_domains, n_columns) each."""
        member = np.eye(self._n_domains)[self._domain[rows]]
        known = ~np.isnan(part[rows])
        return member.T @ np.where(known, part[rows], 0.0), member.T @ known.astype(float)

    def _prior_rows(self, part: np.ndarray) -> float:
        """Return noise over variance between domains, by the method of moments.

        References
        ----------
        DerSimonian and Laird 1986, Meta-analysis in clinical trials.
        """
        rows = self._domain >= 0
        total, count = self._sums(part, rows)
        mean = total / np.maximum(count, 1)
        within = np.nansum((part[rows] - mean[self._domain[rows]]) ** 2)
        freedom = (count - 1).clip(0).sum()
        noise = within / max(freedom, 1.0)
        all_rows = np.maximum(count.sum(axis=0), 1)
        between = (count * (mean - total.sum(axis=0) / all_rows) ** 2).sum()
        expected = noise * (count > 0).sum(axis=0).clip(1).sum() - noise * part.shape[1]
        weight = (all_rows - (count**2).sum(axis=0) / all_rows).sum()
        variance = max((between - expected) / max(weight, 1.0), 0.0)
        return float(np.clip(noise / max(variance, 1e-9), *_PRIOR_ROWS))
