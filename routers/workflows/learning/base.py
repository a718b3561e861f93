"""The seam of workflows that learn while they serve, from what is said of answers.

Whoever drives one asks for a lesson once a run is over, has it absorbed, and may keep it. Lessons
are sums, so that those of several processes can be absorbed by each of them, in any order.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from routers.options import State
from routers.task import Task
from routers.workflows.base import Workflow
from routers.workflows.learning.lessons import Lesson


class Estimate(NamedTuple):
    """What is believed of a number, and between which bounds it lies nine times in ten."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Beliefs:
    """What a workflow has come to believe, in figures for whoever watches it.

    Attributes
    ----------
    threshold
        From which predicted quality on a cheap answer will do; None where there is no such thing,
        or nothing is known yet of what requests cost.
    success
        The chance of each model that its answer is good, on requests as they come.
    """

    threshold: Estimate | None = None
    success: Mapping[str, Estimate] = field(default_factory=dict)


class OnlineWorkflow(Workflow, ABC):
    """A workflow that requests teach.

    What it looks into for its own sake it looks into on a share of the requests that does not
    depend on how good the answers are.
    """

    @property
    def learns_online(self) -> bool:
        """Whether it wants to be taught."""
        return True

    @property
    @abstractmethod
    def subject(self) -> bytes:
        """What its lessons are about: those of a workflow with another subject are none for it."""

    def meet(self, models: Iterable[str]) -> None:
        """Take note of all models that requests may bring, before the first of them."""
        del models

    @abstractmethod
    def lesson(self, task: Task) -> Lesson | None:
        """Return what a request teaches, by the verdicts on its answers; None for nothing."""

    @abstractmethod
    def absorb(self, lesson: Lesson) -> None:
        """Believe a lesson from now on, on top of what is believed.

        Raises
        ------
        ValueError
            If it is a lesson about something else.
        """

    @abstractmethod
    def recall(self, lesson: Lesson | None) -> Callable[[], None]:
        """Return what has it believe a lesson and what was fitted, and nothing else.

        The work is done before, in whichever thread this is called; calling what is returned takes
        no time.

        Raises
        ------
        ValueError
            If it is a lesson about something else.
        """

    def read_lesson(self, state: State) -> Lesson:
        """Return the lesson of a state.

        Raises
        ------
        KeyError, ValueError
            If it is none.
        """
        return Lesson.restore(state)

    def gather(self) -> None:
        """Return nothing: it learns by `absorb` alone."""

    def forget(self) -> None:
        """Believe no more than before the first lesson."""
        self.recall(None)()

    @abstractmethod
    def beliefs(self) -> Beliefs:
        """Return what it has come to believe."""
