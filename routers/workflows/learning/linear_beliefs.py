"""Linear beliefs about the success of models, learned from the outcomes of those that were tried.

Arrays may have leading axes, so that many worlds are simulated at once.

References
----------
Liu et al. 2023, Contextual combinatorial bandits with probabilistically triggered arms,
arXiv:2303.17110 (C²-UCB-T, VAC²-UCB); Abbasi-Yadkori et al. 2011, Improved algorithms for linear
stochastic bandits (the radius; solving anew only now and then).
"""

import math
from typing import NamedTuple

import numpy as np

from routers.numeric import FloatArray, clipped
from routers.workflows.learning.lessons import Lesson

LEAST_VARIANCE = 0.02
"""Of a success that seems certain: no observation counts more than fifty others."""

_CONFIDENCE = 0.05
"""The chance that the truth lies outside the radius, in theory."""

_INTERVAL_Z = 1.645
"""Of the intervals that are told: nine in ten."""

_STALE = 0.01
"""Beliefs are solved anew once so much of what was observed came on top: a decision that is so
little behind costs next to no regret, solving for every request would."""

PRECISION, MOMENT, OBSERVED = "precision", "moment", "observed"


def arm_features(context: FloatArray, n_models: int) -> FloatArray:
    """Return [context; which model; their product] of every model, (..., n_models, n_columns).

    Parameters
    ----------
    context
        (..., n), what is known of requests.
    """
    lead, n = context.shape[:-1], context.shape[-1]
    which = np.eye(n_models)
    phi = np.zeros((*lead, n_models, n_columns(n, n_models)))
    phi[..., :n] = context[..., None, :]
    phi[..., n : n + n_models] = which
    product = which[:, :, None] * context[..., None, None, :]
    phi[..., n + n_models :] = product.reshape(*lead, n_models, n_models * n)
    return phi


def n_columns(n_context: int, n_models: int) -> int:
    """Return the width of `arm_features`."""
    return n_context + n_models + n_context * n_models


class Belief(NamedTuple):
    """The chance of success of models, and how much higher it may well be: (..., n_models)."""

    mean: FloatArray
    bonus: FloatArray

    @property
    def optimistic(self) -> FloatArray:
        """As high as it may well be."""
        return clipped(self.mean + self.bonus, 0.0, 1.0)


class LinearBeliefs:
    """Ridge regression of what success differs from what was predicted.

    Parameters
    ----------
    shape
        Of the moment: leading axes, and the width of the features.
    ridge
        How strongly predictions are held to.
    weighted
        Whether observations count by the inverse of the greatest variance that is believable.
    optimism
        Of the theoretical radius, how much is taken.
    """

    def __init__(
        self, shape: tuple[int, ...], *, ridge: float, weighted: bool, optimism: float
    ) -> None:
        self._ridge, self._weighted, self._optimism = ridge, weighted, optimism
        self._known = Lesson(
            sums={
                PRECISION: np.zeros((*shape, shape[-1])),
                MOMENT: np.zeros(shape),
                OBSERVED: np.zeros(1),
            }
        )
        self._solved_at = -1.0
        self._theta, self._inverse, self._radius = self._solve()

    @property
    def known(self) -> Lesson:
        """Everything that was learned."""
        return self._known

    def learn(self, lesson: Lesson) -> None:
        """Believe what was observed.

        Raises
        ------
        ValueError
            If it is a lesson about something else.
        """
        self._known = self._known.then_alike(lesson)
        if self._known.sums[OBSERVED][0] > self._solved_at * (1 + _STALE):
            self._theta, self._inverse, self._radius = self._solve()

    def believe(self, phi: FloatArray, predicted: FloatArray | float) -> Belief:
        """Return what is believed of models.

        Parameters
        ----------
        phi
            (..., n_models, width).
        predicted
            Their predicted chances, (..., n_models).
        """
        mean = clipped(predicted + (phi @ self._theta[..., None])[..., 0], 0.0, 1.0)
        variance = np.maximum(((phi @ self._inverse) * phi).sum(axis=-1), 0)
        return Belief(mean, self._optimism * self._radius[..., None] * np.sqrt(variance))

    def spread(self, phi: FloatArray) -> FloatArray:
        """Return by how much the chances of models may be wrong, nine times in ten.

        By how they scatter, as far as that is known: not by the radius, which holds for all
        requests at once.
        """
        variance = np.maximum(((phi @ self._inverse) * phi).sum(axis=-1), 0)
        noise = 1.0 if self._weighted else 0.5
        return np.asarray(_INTERVAL_Z * noise * np.sqrt(variance), np.float64)

    def lesson(
        self,
        phi: FloatArray,
        predicted: FloatArray | float,
        success: FloatArray,
        tried: FloatArray | float = 1.0,
    ) -> Lesson:
        """Return what outcomes teach, as a sum: in which order they are learned does not matter.

        Parameters
        ----------
        success
            (..., n), from 0 to 1.
        tried
            (..., n), 0 for what was not tried and is no outcome, 1 else.
        """
        weight = tried * np.ones_like(success)
        if self._weighted:
            mean, bonus = self.believe(phi, predicted)
            weight = weight / cautious_variance(mean - bonus, mean + bonus)
        weighed = phi * weight[..., None]
        return Lesson(
            sums={
                PRECISION: np.swapaxes(weighed, -1, -2) @ phi,
                MOMENT: (weighed * (success - predicted)[..., None]).sum(axis=-2),
                OBSERVED: np.array([np.sum(tried * np.ones_like(success))], np.float64),
            }
        )

    def _solve(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        sums = self._known.sums
        self._solved_at = float(sums[OBSERVED][0])
        n = sums[MOMENT].shape[-1]
        ridge = self._ridge * (1 / 0.25 if self._weighted else 1.0)
        precision = sums[PRECISION] + ridge * np.eye(n)
        inverse = np.asarray(np.linalg.inv(precision), np.float64)
        theta = (inverse @ sums[MOMENT][..., None])[..., 0]
        gained = np.maximum(np.linalg.slogdet(precision)[1] - n * math.log(ridge), 0)
        # A success or a failure scatters by 1/2 at most; what was weighted, by 1.
        noise = 1.0 if self._weighted else 0.5
        radius = noise * np.sqrt(gained + 2 * math.log(1 / _CONFIDENCE)) + math.sqrt(ridge)
        return theta, inverse, np.asarray(radius, np.float64)


def cautious_variance(low: FloatArray, high: FloatArray) -> FloatArray:
    """Return the greatest variance of a success whose chance lies within [low, high]."""
    nearest = np.minimum(np.maximum(0.5, clipped(low, 0.0, 1.0)), clipped(high, 0.0, 1.0))
    return np.asarray(np.maximum(nearest * (1 - nearest), LEAST_VARIANCE), np.float64)
