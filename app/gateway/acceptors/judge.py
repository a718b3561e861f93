"""Accept an answer that another model finds good enough."""

import secrets
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from app.gateway.acceptors.base import ACCEPTORS, Ask, HeldAnswer, Verdict
from routers.decision.acceptance import JUDGE_MAX_TOKENS, good_chance, judge_messages
from routers.text.conversation import conversation_text
from routers.types import Conversation


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

    async def accept(self, conversation: Conversation, held: HeldAnswer, ask: Ask) -> Verdict:
        """Have the answer graded; both texts are data to the judge, whatever they say."""
        asked = conversation_text(conversation)
        request = "\n\n".join(part for part in (asked.system, asked.history, asked.prompt) if part)
        messages = judge_messages(request, held.text, boundary=secrets.token_hex(8))
        reply = await ask(self.model, messages, JUDGE_MAX_TOKENS, self.deadline_s)
        grade, chance = (None, 0.0) if reply is None else good_chance(reply)
        if grade is None:
            why = "no reply of the judge" if reply is None else "the judge's reply is no grade"
            return Verdict(accepted=self.without == "accept", by="judge", why=why)
        return Verdict(
            accepted=chance >= self.least_chance, by="judge", score=chance, why=f"grade {grade}"
        )
