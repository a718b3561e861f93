"""The acceptor seam: whether an answer that was held back will do."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

from routers.decision.causal_llm import ScorerReply
from routers.registry import Registry
from routers.types import Conversation, Message


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldAnswer:
    """A complete answer that the client has not got yet.

    Attributes
    ----------
    logprobs
        Of its tokens, natural logarithms; None where the upstream told none.
    """

    model_id: str
    text: str
    finish_reason: str | None = None
    logprobs: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What an acceptor says of one answer.

    Attributes
    ----------
    by
        The kind of the acceptor, or the rule of the cascade that spoke in its place.
    score
        What it went by, on the acceptor's own scale; None where there was nothing to go by.
    why
        In a word or a few, for whoever wants to be told.
    """

    accepted: bool
    by: str
    score: float | None = None
    why: str


Ask = Callable[[str, Sequence[Message], int, float], Awaitable[ScorerReply | None]]
"""Asks a model a question: its id, the messages, the longest reply in tokens, seconds to wait.

The call is reserved for and booked like every other. None where no reply could be had: the model
failed or was late, is being left alone, or no budget pays for it.
"""


class Acceptor(Protocol):
    """One way to tell whether an answer will do.

    A frozen dataclass: its fields are the options that a policy sets. It is made once per policy
    and used for many requests at the same time, so it remembers nothing.
    """

    wants_logprobs: ClassVar[bool]
    """Whether the log-probabilities of the answer's tokens are to be had from its upstream."""
    reads_text_only: ClassVar[bool]
    """Whether it cannot tell of an answer to images, sounds or files."""

    @property
    def model_ids(self) -> tuple[str, ...]:
        """The models that it asks."""
        ...

    async def accept(self, conversation: Conversation, held: HeldAnswer, ask: Ask) -> Verdict:
        """Return whether an answer to a conversation will do.

        Nothing may be raised where a model that is asked fails: that is a verdict too.
        """
        ...


ACCEPTORS: Registry[Acceptor] = Registry("app.gateway.acceptors", noun="acceptor")
"""Ways to accept answers by kind."""
