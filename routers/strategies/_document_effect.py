"""What the numbers of documents let expect of each model, whatever is asked."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from routers.numeric import FloatArray, nan_mean, sigmoid
from routers.options import State, take
from routers.strategies._score_scale import log_odds, regress
from routers.types import FloatMatrix

_PENALTY = 5.0
"""Per standard deviation of a column; some twenty uncertain outcomes."""

_FOLDS = 5
_FEWEST = 20
"""Of a model with fewer outcomes only the mean is believed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentEffect:
    """A logistic regression per model on the signals of documents, which are 0 without any.

    Attributes
    ----------
    weights
        float32 (n_models, n_columns + 1): of the signals, of the log-odds that domains let expect
        where there are such, and an intercept.
    """

    weights: FloatMatrix

    @classmethod
    def fit(cls, signals: FloatMatrix, quality: FloatMatrix, expected: FloatMatrix | None) -> Self:
        """Learn what signals are worth to each model.

        Parameters
        ----------
        signals
            (n_queries, n_signals), as `ragrouter` centres them.
        quality
            (n_queries, n_models), NaN where a model was not tried.
        expected
            The same: what domains let expect, by outcomes of other queries.
        """
        return cls(weights=_weights(signals, quality, expected).astype(np.float32))

    @staticmethod
    def out_of_fold(
        signals: FloatMatrix,
        quality: FloatMatrix,
        expected: FloatMatrix | None,
        *,
        rng: np.random.Generator,
    ) -> FloatMatrix:
        """Return what is expected of every row by regressions that did not see it."""
        out = np.empty(quality.shape, np.float32)
        fold = rng.permutation(len(quality)) % _FOLDS
        for held in range(_FOLDS):
            train, test = fold != held, fold == held
            told = None if expected is None else expected[train]
            effect = DocumentEffect.fit(signals[train], quality[train], told)
            told = None if expected is None else expected[test]
            out[test] = effect.quality(signals[test], told)
        return out

    def quality(self, signals: FloatMatrix, expected: FloatMatrix | None) -> FloatMatrix:
        """Return expected quality, float32 (n_queries, n_models)."""
        n_signals = signals.shape[1]
        logit = signals.dot(self.weights[:, :n_signals].T) + self.weights[:, -1]
        if expected is not None:
            logit += log_odds(expected) * self.weights[:, n_signals]
        return np.asarray(sigmoid(logit), np.float32)

    def state(self) -> dict[str, np.ndarray]:
        """Return the arrays to store."""
        return {"effect.weights": self.weights}

    @classmethod
    def restore(cls, state: State) -> Self:
        """Read what `state` returned.

        Raises
        ------
        KeyError, ValueError
            If the array is missing or has the wrong shape.
        """
        return cls(weights=take(state, "effect.weights", ndim=2))


def _weights(
    signals: FloatMatrix, quality: FloatMatrix, expected: FloatMatrix | None
) -> FloatArray:
    odds = None if expected is None else log_odds(expected)
    n_columns = signals.shape[1] + (odds is not None)
    means: FloatArray = nan_mean(quality, default=0.5)
    weights = np.zeros((quality.shape[1], n_columns + 1))
    for model, mean in enumerate(means):
        known = ~np.isnan(quality[:, model])
        columns = [signals[known]] if odds is None else [signals[known], odds[known, model, None]]
        if known.sum() < _FEWEST:
            bounded = min(max(float(mean), 0.01), 0.99)
            weights[model, -1] = np.log(bounded / (1 - bounded))
            continue
        weights[model] = regress(
            np.hstack(columns).astype(np.float64),
            quality[known, model].astype(np.float64),
            penalty=_PENALTY,
        )
    return weights
