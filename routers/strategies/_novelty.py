"""How far a query is from everything that was learned, and what to believe of it then."""

# ruff: noqa: RUF009  (unfitted() declares a field)

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from routers.base import Familiarity
from routers.numeric import FloatArray, nan_mean, unit_rows
from routers.options import State, require_fitted, take, unfitted
from routers.types import FloatMatrix, FloatVector

_CENTRES = 24
_ROWS_PER_CENTRE = 16
_FEWEST_PER_CENTRE = 8

_FAMILIAR, _TYPICAL = 0.05, 0.5
"""Quantiles of the training queries' own similarity: above the first a query is familiar; as far
below it as the second is above, hardly anything is believed of it any more."""

_LEAST_WIDTH = 0.15
"""Of that distance: among near copies of each other anything else would look strange at once."""

_LEAST_TRUST = 0.15
"""What is left of the differences between far queries: enough to rank them among each other."""

_PRIOR_ROWS = 20.0
"""How many queries of average quality the mean of every benchmark starts with."""

_HALF_AT_ROWS = 1000.0
"""With so many outcomes per model half of what tells many models' slopes over length apart is
believed: prompts that are unlike all others are mostly of unlike lengths too."""

_USUAL_LENGTHS = (0.01, 0.99)
"""Quantiles of the training queries' lengths beyond which no slope is followed."""


@dataclass(kw_only=True)
class Novelty:
    """Shrink predictions toward a simple prior, the less a query resembles the training data.

    Resemblance is the cosine to the nearest of some centres of the training queries (k-means). Far
    from all of them a regression only extrapolates, and its favourites there are no better than
    chance; the model that was best on the whole is the safer choice.

    The prior of a model is its mean, moved by the length of the prompt: within benchmarks, longer
    questions are the harder ones, and for weak models more so. Slopes are shrunk by their own
    standard error, and lengths beyond the usual ones count as those.
    """

    centres_: FloatMatrix = unfitted()  # (n_centres, n_features), unit rows
    bounds_: FloatVector = unfitted()  # (2,): similarity of no trust, of full trust
    prior_: FloatVector = unfitted()  # (n_models,)
    slope_: FloatVector = unfitted()  # (n_models,), quality per unit of log length
    length_: FloatVector = unfitted()  # (4,): column or -1, mean, least and most log length

    def fit(
        self,
        x: FloatMatrix,
        quality: FloatMatrix,
        *,
        groups: Sequence[str] = (),
        length_column: int | None = None,
        rng: np.random.Generator,
    ) -> Self:
        """Learn the centres, what similarity is usual, and the models' priors.

        Where queries carry labels of their origin (`set/benchmark/...`), every benchmark counts
        alike in the means: what comes next need not resemble the largest.
        """
        from sklearn.cluster import KMeans  # noqa: PLC0415  (training only)

        unit = unit_rows(np.asarray(x, np.float32))
        n_centres = max(1, min(_CENTRES, len(unit) // _ROWS_PER_CENTRE))
        seed = int(rng.integers(2**31))
        found = KMeans(n_centres, n_init=2, random_state=seed).fit(unit)
        # Rounded as it will be stored, so that a restored model answers the same.
        centres = unit_rows(found.cluster_centers_.astype(np.float32)).astype(np.float16)
        self.centres_ = centres.astype(np.float32)
        familiar, typical = np.quantile(self._similarity(x), [_FAMILIAR, _TYPICAL])
        # A handful of queries makes nothing familiar: what is like them alone is strange.
        sizes = np.bincount(found.labels_, minlength=n_centres)
        self.centres_ = self.centres_[sizes >= min(_FEWEST_PER_CENTRE, sizes.max())]
        width = max(typical - familiar, _LEAST_WIDTH)
        self.bounds_ = np.array([familiar - width, familiar], np.float32)
        self.prior_ = _prior(quality, groups)
        self.slope_ = np.zeros(quality.shape[1], np.float32)
        self.length_ = np.array([-1, 0, 0, 0], np.float32)
        if length_column is not None:
            length = np.asarray(x[:, length_column], np.float64)
            self.slope_ = _slopes(length, quality, groups)
            usual = np.quantile(length, _USUAL_LENGTHS)
            self.length_ = np.array([length_column, length.mean(), *usual], np.float32)
        return self

    # Of each query there are few numbers here and most calls bring one query: lists beat arrays.

    def _similarity(self, x: FloatMatrix) -> list[float]:
        nearest = np.maximum.reduce(x.dot(self.centres_.T), axis=1).tolist()
        squares = np.vecdot(x, x).tolist()
        return [
            near / max(math.sqrt(square), 1e-12)
            for near, square in zip(nearest, squares, strict=True)
        ]

    def _trust(self, similarity: list[float]) -> list[float]:
        low, high = self.bounds_.tolist()
        width = high - low
        return [min(max((each - low) / width, _LEAST_TRUST), 1.0) for each in similarity]

    def trust(self, x: FloatMatrix) -> FloatVector:
        """Return float32 (n_queries,) in [0.15, 1]: how much of a prediction to believe."""
        require_fitted(self, "centres_")
        return np.array(self._trust(self._similarity(x)), np.float32)

    def familiarity(self, x: FloatMatrix) -> Familiarity:
        """Return how far queries are from the training data, and what that means."""
        require_fitted(self, "centres_")
        similarity = self._similarity(x)
        trust = np.array(self._trust(similarity))
        return Familiarity(
            distance=1 - np.array(similarity, np.float32),
            unlike_most=trust < 1,
            unlike_all=trust <= _LEAST_TRUST,
        )

    def prior(self, x: FloatMatrix) -> FloatMatrix:
        """Return float32 (n_queries, n_models): what is believed where nothing is familiar."""
        require_fitted(self, "prior_")
        column, mean, least, most = self.length_.tolist()
        if column < 0:
            return np.broadcast_to(self.prior_, (len(x), len(self.prior_)))
        longer = [[min(max(n, least), most) - mean] for n in x[:, int(column)].tolist()]
        prior: FloatMatrix = np.array(longer, np.float32) * self.slope_
        prior += self.prior_
        np.maximum(prior, 0, out=prior)
        np.minimum(prior, 1, out=prior)
        return prior

    def shrink(
        self, x: FloatMatrix, quality: FloatMatrix, std: FloatMatrix
    ) -> tuple[FloatMatrix, FloatMatrix]:
        """Return quality drawn toward the prior, and the uncertainty widened by how far."""
        require_fitted(self, "centres_")
        doubt = [[1 - each] for each in self._trust(self._similarity(x))]
        moved: FloatMatrix = quality - self.prior(x)
        moved *= np.array(doubt, np.float32)
        return quality - moved, np.hypot(std, moved)

    def state(self) -> dict[str, np.ndarray]:
        """Return what was learned."""
        require_fitted(self, "centres_")
        return {
            "centres": self.centres_.astype(np.float16),
            "bounds": self.bounds_,
            "prior": self.prior_,
            "slope": self.slope_,
            "length": self.length_,
        }

    def restore(self, state: State) -> Self:
        """Take over what `state` returned."""
        self.centres_ = take(state, "centres", ndim=2).astype(np.float32)
        self.bounds_, self.prior_ = take(state, "bounds", ndim=1), take(state, "prior", ndim=1)
        self.slope_, self.length_ = take(state, "slope", ndim=1), take(state, "length", ndim=1)
        if self.bounds_.shape != (2,) or self.length_.shape != (4,):
            raise ValueError("the bounds of a novelty model are not two and four numbers")
        if self.slope_.shape != self.prior_.shape:
            raise ValueError("a novelty model has not as many slopes as means")
        return self


def _prior(quality: FloatMatrix, groups: Sequence[str]) -> FloatVector:
    overall = nan_mean(quality, default=0.0)
    origin = np.array(["/".join(group.split("/")[:2]) for group in groups])
    names, counts = np.unique(origin, return_counts=True)
    large = [name for name, n in zip(names, counts, strict=True) if n >= _FEWEST_PER_CENTRE]
    if len(large) <= 1:
        return overall.astype(np.float32)
    means = []
    for name in large:
        above = quality[origin == name] - overall
        known = (~np.isnan(above)).sum(axis=0)
        means.append(overall + np.nansum(above, axis=0) / (known + _PRIOR_ROWS))
    return np.asarray(np.mean(means, axis=0), np.float32)


def _slopes(length: FloatArray, quality: FloatMatrix, groups: Sequence[str]) -> FloatVector:
    """Return the slope of quality over log length within benchmarks, shrunk by its error."""
    origin = np.array(["/".join(group.split("/")[:2]) for group in groups] or [""] * len(length))
    by_length = np.empty(len(length))
    above = np.empty(quality.shape)
    for name in np.unique(origin):
        rows = origin == name
        by_length[rows] = length[rows] - length[rows].mean()
        above[rows] = quality[rows] - nan_mean(quality[rows], default=0.0)
    known = ~np.isnan(above)
    spread = (by_length[:, None] ** 2 * known).sum(axis=0)
    safe = np.maximum(spread, 1e-9)
    slope = np.nansum(by_length[:, None] * above, axis=0) / safe
    left = np.nansum((above - by_length[:, None] * slope) ** 2, axis=0)
    error = left / np.maximum(known.sum(axis=0), 1) / safe
    shrunk = slope * slope**2 / np.maximum(slope**2 + error, 1e-12)
    shrunk = np.where(spread > 1e-6, shrunk, 0.0)
    if quality.shape[1] > 2:
        # Among many models some seem to gain by length, and these would be chosen for it.
        n = known.sum() / quality.shape[1]
        kept = n**2 / (n**2 + _HALF_AT_ROWS**2)
        shrunk = shrunk.mean() + kept * (shrunk - shrunk.mean())
    return np.asarray(shrunk, np.float32)
