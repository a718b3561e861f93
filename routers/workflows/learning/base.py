"""The seam of workflows that learn while they serve, from what is said of answers.

Whoever drives one asks for a lesson once a run is over, has it absorbed, and may keep it. Lessons
are sums, so that those of several processes can be absorbed by each of them, in any order.
"""

from abc import ABC, abstractmethod

from routers.task import Task
from routers.workflows.base import Workflow
from routers.workflows.learning.lessons import Lesson


class OnlineWorkflow(Workflow, ABC):
    """A workflow that requests teach.

    What it looks into for its own sake it looks into on a share of the requests that does not
    depend on how good the answers are.
    """

    @property
    def learns_online(self) -> bool:
        """Whether it wants to be taught."""
        return True

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
