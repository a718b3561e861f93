"""Beliefs about chances in cells, such as the bins of a score, that fade as requests go by.

Arrays may have leading axes, so that many worlds are simulated at once.

References
----------
Raj and Kalyani 2017, Taming non-stationary bandits: a Bayesian approach, arXiv:1707.09727.
"""

import math
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from routers.numeric import FloatArray
from routers.workflows.learning.lessons import Lesson

Learner = Literal["thompson", "ucb", "greedy"]
"""How one goes by a belief: drawn from it at random, as high as it may well be, by its mean."""

UCB_Z = 2.0
"""So many standard deviations above its mean a chance may well be."""

TRIED, GOOD = "tried", "good"


class Chance(NamedTuple):
    """What is believed of chances: their mean and how much they may differ from it."""

    mean: FloatArray
    std: FloatArray

    def taken(self, learner: Learner, drawn: FloatArray | float) -> FloatArray:
        """Return what a learner takes the chances for.

        Parameters
        ----------
        drawn
            From a standard normal distribution, for those that draw.
        """
        z = {"thompson": drawn, "ucb": UCB_Z, "greedy": 0.0}[learner]
        return np.asarray(self.mean + z * self.std, np.float64)


class CellBeliefs:
    """Counts of outcomes in cells.

    Parameters
    ----------
    shape
        Leading axes, and the number of cells.
    prior_observations
        What the prediction of a chance weighs, in outcomes.
    memory
        After so many requests an outcome counts for a third of what it did; None keeps all.
    """

    def __init__(
        self, shape: tuple[int, ...], *, prior_observations: float, memory: float | None
    ) -> None:
        self._prior_observations = prior_observations
        self._keep = 1.0 if memory is None else 1 - 1 / memory
        self._known = Lesson(sums={TRIED: np.zeros(shape), GOOD: np.zeros(shape)})

    @property
    def known(self) -> Lesson:
        """Everything that was learned and is not yet forgotten."""
        return self._known

    def learn(self, lesson: Lesson) -> None:
        """Believe what was observed.

        Raises
        ------
        ValueError
            If it is a lesson about something else.
        """
        self._known = self._known.then_alike(lesson)

    def chances(self, cells: NDArray[np.intp], predicted: FloatArray | float) -> Chance:
        """Return what is believed of some cells, in which a chance is predicted; (..., n)."""
        tried = np.take_along_axis(self._known.sums[TRIED], cells, -1)
        good = np.take_along_axis(self._known.sums[GOOD], cells, -1)
        n = self._prior_observations + tried
        mean = (self._prior_observations * predicted + good) / n
        return Chance(mean, np.sqrt(np.maximum(mean * (1 - mean), 0.25 / n) / (n + 1)))

    def chance(self, cell: int, predicted: float) -> tuple[float, float]:
        """Return what is believed of one cell, without the cost of arrays."""
        tried = float(self._known.sums[TRIED][cell])
        n = self._prior_observations + tried
        good = float(self._known.sums[GOOD][cell])
        mean = (self._prior_observations * predicted + good) / n
        return mean, math.sqrt(max(mean * (1 - mean), 0.25 / n) / (n + 1))

    def lesson(
        self,
        cells: NDArray[np.intp],
        good: FloatArray,
        tried: FloatArray | float = 1.0,
        *,
        n_requests: int = 1,
    ) -> Lesson:
        """Return what outcomes teach, (..., n) each; without any, what time does.

        Parameters
        ----------
        tried
            0 for what is no outcome, 1 else.
        n_requests
            How many requests they come from.
        """
        shape = self._known.sums[TRIED].shape
        which = cells[..., None] == np.arange(shape[-1])
        counts = np.broadcast_to(tried, cells.shape)[..., None] * which
        return Lesson(
            sums={
                TRIED: counts.sum(axis=-2),
                GOOD: (counts * good[..., None]).sum(axis=-2),
            },
            keep=self._keep**n_requests,
        )
