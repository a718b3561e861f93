"""What a workflow asks for, what comes of it, and how a workflow ends."""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from routers.types import Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """Have a model answer the request as it came; nobody sees the answer unless it is served.

    Attributes
    ----------
    sample
        Which of several answers of the same model: from 1 on it is asked to vary.
    """

    model_id: str
    sample: int = 0


class Purpose(StrEnum):
    """What a question of a workflow's own is for; the role of its call."""

    JUDGE = "judge"
    """To tell whether an answer will do."""
    PLANNER = "planner"
    """To say how to go on."""
    HELPER = "helper"
    """To contribute a part of the answer."""
    GUARD = "guard"
    """To tell whether the request may be answered at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Ask a model something of the workflow's own.

    Attributes
    ----------
    deadline_s
        How long the reply may take; None for as long as the request has.
    logprobs
        Whether the log-probabilities of the reply's first tokens are wanted.
    about
        The number of the answer that is judged; None where no single one is.
    of_request
        Whether it is the request as it came, pictures and all, with `messages` before it.
    """

    model_id: str
    messages: tuple[Message, ...]
    max_tokens: int
    purpose: Purpose
    about: int | None = None
    deadline_s: float | None = None
    temperature: float = 0.0
    logprobs: bool = False
    of_request: bool = False


Step = Draft | Question


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came of a step.

    Attributes
    ----------
    number
        By which whoever drives the workflow knows it again.
    literal
        The answer proper (a letter, a number, a value) where recorded data tell it; None where it
        has to be read from the text.
    output_tokens, cost_usd, latency_s
        None where unknown.
    logprobs
        Of its tokens, natural logarithms; None where the upstream told none.
    alternatives
        Of a question's first tokens: tokens and their chances, where asked for and told.
    """

    number: int
    model_id: str
    text: str
    literal: str | None = None
    output_tokens: float | None = None
    cost_usd: float | None = None
    latency_s: float | None = None
    finish_reason: str | None = None
    logprobs: tuple[float, ...] | None = None
    alternatives: tuple[Mapping[str, float], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Serve:
    """Serve an answer that was held back.

    Attributes
    ----------
    by
        Who or what accepted it: a kind or a rule, a short name fit for a header and a label.
    score
        What it went by, on its own scale.
    why
        In a word or a few, for whoever wants to be told.
    propensity
        How probable this course was, where chance had a part in it.
    """

    answer: Answer
    by: str
    score: float | None = None
    why: str = ""
    propensity: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Delegate:
    """Have a model answer the client directly: it streams, and nobody has to accept it.

    Attributes
    ----------
    messages
        What it is asked; None for the request as it came.
    instead
        What to serve where it cannot be had; None for the latest draft. Of a reply to a question,
        the text that stands here.
    stand_ins
        Who may answer in its place where it cannot; None for any candidate that has not answered.
    """

    model_id: str
    by: str
    why: str = ""
    messages: tuple[Message, ...] | None = None
    instead: Answer | None = None
    stand_ins: tuple[str, ...] | None = None
    propensity: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Refuse:
    """Serve nothing: the request is not to be answered."""

    by: str
    why: str
    score: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Skip:
    """Leave the request to single choice, as if there were no workflow.

    Attributes
    ----------
    why
        In a word, for a header and a label.
    """

    why: str


End = Serve | Delegate | Refuse | Skip

Run = Generator[Sequence[Step], Sequence[Answer | None], End]
"""Yields steps that are taken at the same time, is sent what came of them in that order.

None stands for an answer that could not be had: the model failed or was late, its budget is used
up, or a ceiling left no room for it.
"""
