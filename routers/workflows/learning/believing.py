"""Workflows whose beliefs are sums: of what was fitted, and of lessons on top of it."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

import numpy as np

from routers.options import State, prefixed, under
from routers.workflows.learning.base import OnlineWorkflow
from routers.workflows.learning.lessons import Lesson

_PRIOR = "prior."


class Learns(Protocol):
    """What takes lessons in."""

    def learn(self, lesson: Lesson) -> None:
        """Believe what was observed; a `ValueError` if it is about something else."""


BeliefsT = TypeVar("BeliefsT", bound=Learns)


@dataclass(kw_only=True)
class BelievingWorkflow(OnlineWorkflow, Generic[BeliefsT]):
    """A workflow that requests teach by lessons, and recorded answers by a first one.

    Call `_begin` wherever what beliefs are about changes: they begin anew with what was fitted.
    """

    _prior: Lesson | None = field(init=False, repr=False)
    """What was fitted; None for nothing."""
    _beliefs: BeliefsT = field(init=False, repr=False)

    @abstractmethod
    def _untaught(self) -> BeliefsT:
        """Return what is believed where nothing was observed."""

    def absorb(self, lesson: Lesson) -> None:
        """Believe a lesson from now on."""
        self._beliefs.learn(lesson)

    def recall(self, lesson: Lesson | None) -> Callable[[], None]:
        """Return what has it believe a lesson and what was fitted, and nothing else."""
        beliefs = self._beginning()
        if lesson is not None:
            beliefs.learn(lesson)

        def believe() -> None:
            self._beliefs = beliefs

        return believe

    def _begin(self, prior: Lesson | None) -> None:
        """Believe what was fitted, and nothing else."""
        self._prior = prior
        self._beliefs = self._beginning()

    def _beginning(self) -> BeliefsT:
        """Return what is believed before the first lesson."""
        beliefs = self._untaught()
        if self._prior is not None:
            beliefs.learn(self._prior)
        return beliefs

    def _prior_state(self) -> dict[str, np.ndarray]:
        """Return what was fitted as plain arrays; lessons of requests are kept elsewhere."""
        return {} if self._prior is None else prefixed(_PRIOR, self._prior.state())

    @staticmethod
    def _prior_of(state: State) -> Lesson | None:
        """Return what was fitted, of a state; `KeyError` or `ValueError` if it does not fit."""
        prior = under(_PRIOR, state)
        return Lesson.restore(prior) if prior else None
