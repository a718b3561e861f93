"""What a score is worth: per model, a monotone map from what was learned to expected quality."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from routers.numeric import FloatArray, isotonic, sigmoid
from routers.options import State, take
from routers.types import FloatMatrix, FloatVector

ISOTONIC_FROM = 1000
"""Known outcomes from which on a model's map is isotonic regression; a logistic curve below."""

_KNOTS = 65
_NEWTON_STEPS = 50
_PENALTY = 1e-2
_USUAL_ROWS = 100.0
"""What the common slope counts for in that of a model: some four hundred uncertain outcomes."""

_CLEARLY = 2.0
"""Standard errors by which isotonic regression has to be better than a logistic curve."""

_SUREST = 0.01
"""How near to 0 and 1 what domains let expect is believed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreScale:
    """Expected quality at evenly spaced scores, straight in between, per model.

    Where domains let expect something of a query, that and the score are weighed first, by one
    logistic regression over all models: a score that tells nothing beyond the domain changes
    nothing then. Every model has a map of its own to its mean quality; how steep it is, is drawn
    to what all models have in common, since between models that are nearly as good a slope that is
    a little steeper decides everything.

    Attributes
    ----------
    weights
        float32 (2,), none negative: what a unit of the score, and one of the expected log-odds,
        count for.
    low, per_score
        float32 (n_maps,): the weighed score of the first knot, and knots per unit.
    values
        float32 (n_knots, n_maps), non-decreasing down every column. The last map is that of all
        models together, for one of which no outcomes were learned, and of the score alone.

    References
    ----------
    Platt 1999, Probabilistic outputs for support vector machines; Zadrozny and Elkan 2002,
    Transforming classifier scores into accurate multiclass probability estimates.
    """

    weights: FloatVector
    low: FloatVector
    per_score: FloatVector
    values: FloatMatrix

    @classmethod
    def fit(
        cls, scores: FloatMatrix, quality: FloatMatrix, expected: FloatMatrix | None = None
    ) -> Self:
        """Learn the maps from scores of rows that the score was not learned on.

        Parameters
        ----------
        scores, quality
            (n_queries, n_models); outcomes are NaN where a model was not tried.
        expected
            The same: quality that domains let expect, by outcomes of other queries.
        """
        known = ~np.isnan(quality)
        odds = None if expected is None else log_odds(expected)
        weights = _weigh(scores[known], None if odds is None else odds[known], quality[known])
        weighed = np.asarray(weights[0] * scores, np.float64)
        if odds is not None:
            weighed += weights[1] * odds
        maps = [
            _map(weighed[at, i], quality[at, i].astype(np.float64)) for i, at in enumerate(known.T)
        ]
        # Of another model only its score is known: what that counts for alone.
        alone = _weigh(scores[known], None, quality[known])[0]
        first, last, values = _map(
            alone * scores[known].astype(np.float64), quality[known].astype(np.float64)
        )
        unit = max(float(alone), 1e-9)
        maps.append((first / unit, last / unit, values))
        low, high = (np.array([each[i] for each in maps]) for i in (0, 1))
        return cls(
            weights=weights,
            low=low.astype(np.float32),
            per_score=((_KNOTS - 1) / (high - low)).astype(np.float32),
            values=np.stack([each[2] for each in maps], axis=1).astype(np.float32),
        )

    def quality(self, scores: FloatMatrix, expected: FloatMatrix | None = None) -> FloatMatrix:
        """Return the expected quality of the trained models, float32 (n_queries, n_models)."""
        n = scores.shape[1]
        weighed = scores * self.weights[0]
        if expected is not None:
            weighed += self.weights[1] * log_odds(expected)
        return self._read(weighed, self.low[:n], self.per_score[:n], np.arange(n))

    def quality_of_another(self, scores: FloatVector) -> FloatMatrix:
        """Return the expected quality of a model that was not trained, float32 (n_queries, 1)."""
        last = len(self.low) - 1
        column = np.asarray(scores, np.float32)[:, None]
        return self._read(column, self.low[last:], self.per_score[last:], np.array([last]))

    def _read(
        self, scores: FloatMatrix, low: FloatVector, per_score: FloatVector, maps: np.ndarray
    ) -> FloatMatrix:
        at = (scores - low) * per_score
        np.maximum(at, 0, out=at)
        np.minimum(at, _KNOTS - 1, out=at)
        below = np.minimum(at.astype(np.intp), _KNOTS - 2)
        at -= below
        first = self.values[below, maps]
        return np.asarray(first + at * (self.values[below + 1, maps] - first), np.float32)

    def state(self) -> dict[str, np.ndarray]:
        """Return the arrays to store."""
        return {
            "scale.weights": self.weights,
            "scale.low": self.low,
            "scale.per_score": self.per_score,
            "scale.values": self.values,
        }

    @classmethod
    def restore(cls, state: State) -> Self:
        """Read what `state` returned.

        Raises
        ------
        KeyError, ValueError
            If an array is missing or has the wrong shape.
        """
        weights, low, per_score = (
            take(state, f"scale.{name}", ndim=1) for name in ("weights", "low", "per_score")
        )
        values = take(state, "scale.values", ndim=2)
        if values.shape != (_KNOTS, len(low)) or len(per_score) != len(low) or len(weights) != 2:
            raise ValueError("the scales of a router's scores do not fit together")
        return cls(weights=weights, low=low, per_score=per_score, values=values)


def log_odds(quality: FloatMatrix) -> FloatMatrix:
    """Return the log-odds of qualities, held away from certainty."""
    p = np.minimum(np.maximum(quality, _SUREST), 1 - _SUREST)
    return np.asarray(np.log(p / (1 - p)), np.float32)


def _weigh(scores: FloatVector, odds: FloatVector | None, quality: FloatVector) -> FloatVector:
    """Return what score and expected log-odds count for, none below 0; together they predict."""
    given = [scores] if odds is None else [scores, odds]
    columns = np.column_stack(given).astype(np.float64)
    target = quality.astype(np.float64)
    slopes = regress(columns, target)[:-1]
    if len(slopes) > 1 and slopes.min() < 0:
        # One of the two is of no use, or worse.
        kept = int(slopes.argmax())
        alone = regress(columns[:, kept : kept + 1], target)[0]
        slopes = np.where(np.arange(2) == kept, alone, 0.0)
    weights = np.zeros(2, np.float32)
    weights[: len(slopes)] = np.maximum(slopes, 0)
    return weights


def regress(
    columns: FloatArray,
    quality: FloatArray,
    *,
    usual: float = 0.0,
    penalty: float = _PENALTY,
) -> FloatArray:
    """Return slopes, then the intercept, of a logistic regression on few columns.

    Parameters
    ----------
    usual, penalty
        What slopes are drawn to, and how much, per standard deviation of their columns.
    """
    center, spread = columns.mean(axis=0), np.maximum(columns.std(axis=0), 1e-9)
    z = np.column_stack([(columns - center) / spread, np.ones(len(columns))])
    # Half an observation of either outcome keeps certainty away where all went alike.
    target = (quality * len(z) + 0.5) / (len(z) + 1)
    mean = float(target.mean())
    weights = np.zeros(z.shape[1])
    weights[-1] = np.log(mean / (1 - mean))
    held = np.append(np.full(columns.shape[1], penalty), 1e-9)
    mid = np.append(usual * spread, 0.0)
    weights[:-1] = mid[:-1]
    for _ in range(_NEWTON_STEPS):
        p = sigmoid(z @ weights)
        hessian = (z.T * (p * (1 - p))) @ z + np.diag(held)
        step = np.linalg.solve(hessian, z.T @ (target - p) - held * (weights - mid))
        step *= min(1.0, 2.0 / max(float(np.abs(step).max()), 1e-12))
        weights += step
        if np.abs(step).max() < 1e-8:
            break
    slopes = weights[:-1] / spread
    return np.append(slopes, weights[-1] - slopes @ center)


def _map(scores: FloatArray, quality: FloatArray) -> tuple[float, float, FloatArray]:
    """Return the least and largest score, and the quality at the knots between."""
    low, high = float(scores.min()), float(scores.max())
    if not high - low > 1e-6 * max(1.0, abs(low)):
        low, high = low - 0.5, low + 0.5
    knots = np.linspace(low, high, _KNOTS)
    if len(scores) < ISOTONIC_FROM or not _steps_are_better(scores, quality):
        return low, high, _logistic(scores, quality, knots)
    return low, high, _steps(scores, quality, knots)


def _steps_are_better(scores: FloatArray, quality: FloatArray) -> bool:
    """Return whether isotonic regression errs less on one half of the rows, fitted on the other."""
    gained = np.empty(len(scores))
    for first in (0, 1):
        learned, held = slice(first, None, 2), slice(1 - first, None, 2)
        by_curve, by_steps = (
            fitted(scores[learned], quality[learned], scores[held]) - quality[held]
            for fitted in (_logistic, _steps)
        )
        gained[held] = by_curve**2 - by_steps**2
    return bool(gained.mean() > _CLEARLY * gained.std() / np.sqrt(len(gained)))


def _steps(scores: FloatArray, quality: FloatArray, at: FloatArray) -> FloatArray:
    """Return isotonic regression at some scores, straight between the middles of its steps.

    Within a step scores still tell queries apart.
    """
    order = np.argsort(scores, kind="stable")
    steps = isotonic(quality[order])
    _, first, count = np.unique(steps, return_index=True, return_counts=True)
    totals = np.add.reduceat(scores[order], first)
    return np.asarray(np.interp(at, totals / count, steps[first]))


def _logistic(scores: FloatArray, quality: FloatArray, at: FloatArray) -> FloatArray:
    """Return a logistic curve at some scores, near to one of slope 1; it never falls."""
    slope, intercept = regress(scores[:, None], quality, usual=1.0, penalty=_USUAL_ROWS)
    if slope < 0:
        mean = (float(quality.sum()) + 0.5) / (len(quality) + 1)
        return np.full(len(at), mean)
    return sigmoid(slope * at + intercept)
