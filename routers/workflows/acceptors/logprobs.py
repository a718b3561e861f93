"""Accept an answer whose tokens its model was sure of."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from routers.decision.acceptance import mean_logprob
from routers.steps import Answer
from routers.task import Task
from routers.workflows.acceptors.base import ACCEPTORS, Judging


@ACCEPTORS.register("logprobs")
@dataclass(frozen=True, slots=True, kw_only=True)
class LogprobsAcceptor:
    """Hold the mean log-probability of the tokens against a threshold.

    Attributes
    ----------
    least_mean
        The natural logarithm that the mean has to reach: 0 is certain, -0.7 one chance in two.
    without
        What becomes of an answer whose upstream tells no log-probabilities.
    """

    wants_logprobs: ClassVar[bool] = True
    reads_text_only: ClassVar[bool] = False

    least_mean: Annotated[float, Field(ge=-100, le=0, allow_inf_nan=False)]
    without: Literal["reject", "accept"] = "reject"

    @property
    def model_ids(self) -> tuple[str, ...]:
        """None is asked."""
        return ()

    def accept(self, task: Task, answer: Answer) -> Judging:
        """Compare the mean with the threshold."""
        yield from ()
        mean = None if answer.logprobs is None else mean_logprob(answer.logprobs)
        if mean is None:
            return task.judged(
                answer,
                accepted=self.without == "accept",
                by="logprobs",
                why="no log-probabilities",
            )
        accepted = mean >= self.least_mean
        how = "reaches" if accepted else "is below"
        return task.judged(
            answer,
            accepted=accepted,
            by="logprobs",
            score=mean,
            why=f"mean {mean:.4f} {how} {self.least_mean:g}",
        )
