"""The seam of workflows that learn while they serve, from what is said of answers.

Whoever drives one asks for a study, and then for a lesson, once the client has its answer; has the
lesson absorbed, and keeps it. Lessons are sums, so that those of several processes can be absorbed
by each of them, in any order.
"""

from abc import ABC, abstractmethod
from collections.abc import Generator, Sequence
from dataclasses import dataclass

from routers.workflows.base import Answer, End, Step, Task, Workflow
from routers.workflows.learning.lessons import Lesson


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """What is to be found out once the client has its answer.

    Attributes
    ----------
    steps
        Taken as those of a run; verdicts are noted in the task.
    chance
        How probable it was that this is looked into: for the log of decisions.
    """

    steps: Generator[Sequence[Step], Sequence[Answer | None], None]
    chance: float


class OnlineWorkflow(Workflow, ABC):
    """A workflow that requests teach."""

    @property
    def learns_online(self) -> bool:
        """Whether it wants to be taught."""
        return True

    def study(self, task: Task, end: End, served: Answer | None) -> Study | None:
        """Return what is yet to be found out, None for nothing.

        What is not studied on every request must not depend on how good its answers are.

        Parameters
        ----------
        served
            The client's answer, whole; None where it is not to be had.
        """
        del task, end, served
        return None

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
    def forget(self) -> None:
        """Believe no more than before the first lesson."""
