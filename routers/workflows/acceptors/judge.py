"""Accept an answer that another model finds good enough."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from routers.decision.acceptance import JUDGE_MAX_TOKENS, good_chance, judge_messages
from routers.decision.causal_llm import ScorerReply
from routers.steps import Answer, Purpose, Question
from routers.task import Task
from routers.text.conversation import conversation_text
from routers.workflows.acceptors.base import ACCEPTORS, Judging


@ACCEPTORS.register("judge")
@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeAcceptor:
    """Ask a model to grade the answer, from 1 to 5.

    Attributes
    ----------
    model
        Who grades; one of `models`, and none of the policy's candidates.
    least_chance
        The least chance of a 4 or a 5: by the log-probabilities of the grade where the model's
        upstream gives them, else the grade is taken for certain.
    deadline_s
        How long the judge may take.
    without
        What becomes of an answer that no grade could be had of.
    """

    wants_logprobs: ClassVar[bool] = False
    reads_text_only: ClassVar[bool] = True

    model: str
    least_chance: Annotated[float, Field(gt=0, le=1)] = 0.5
    deadline_s: Annotated[float, Field(gt=0, le=600, allow_inf_nan=False)] = 10.0
    without: Literal["reject", "accept"] = "reject"

    @property
    def model_ids(self) -> tuple[str, ...]:
        """The judge."""
        return (self.model,)

    def accept(self, task: Task, answer: Answer) -> Judging:
        """Have the answer graded; both texts are data to the judge, whatever they say."""
        asked = conversation_text(task.conversation)
        request = "\n\n".join(part for part in (asked.system, asked.history, asked.prompt) if part)
        boundary = f"{task.rng.getrandbits(64):016x}"
        question = Question(
            model_id=self.model,
            messages=judge_messages(request, answer.text, boundary=boundary),
            max_tokens=JUDGE_MAX_TOKENS,
            purpose=Purpose.JUDGE,
            deadline_s=self.deadline_s,
            logprobs=True,
            about=answer.number,
        )
        (reply,) = yield (question,)
        grade, chance = None, 0.0
        if reply is not None:
            grade, chance = good_chance(
                ScorerReply(text=reply.text, top_logprobs=reply.alternatives)
            )
        if grade is None:
            why = "no reply of the judge" if reply is None else "the judge's reply is no grade"
            return task.judged(answer, accepted=self.without == "accept", by="judge", why=why)
        return task.judged(
            answer,
            accepted=chance >= self.least_chance,
            by="judge",
            score=chance,
            why=f"grade {grade}",
        )
