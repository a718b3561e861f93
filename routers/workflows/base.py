"""The workflow seam: several calls for one answer, as a generator of steps.

A workflow says what is to be called and hears what came of it; whoever drives it makes the calls.
The gateway drives it over the network (`app/gateway`), `routers/evaluation/course.py` over recorded
answers, so that what was measured is what happens. It knows no network, no clock and no store.
"""

import random
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from routers.base import Labels
from routers.decision.knob import KnobCurve
from routers.errors import RoutingConfigError
from routers.numeric import FloatArray
from routers.options import State, build
from routers.registry import Registry
from routers.types import (
    CandidateEstimate,
    Conversation,
    FloatMatrix,
    FloatVector,
    Message,
    Predictions,
)

# --- what a workflow may ask for --------------------------------------------------------------


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
    """

    model_id: str
    messages: tuple[Message, ...]
    max_tokens: int
    purpose: Purpose
    deadline_s: float | None = None
    temperature: float = 0.0
    logprobs: bool = False


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


# --- how a workflow ends ----------------------------------------------------------------------


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
        What to serve where it cannot be had; None for the latest draft.
    """

    model_id: str
    by: str
    why: str = ""
    messages: tuple[Message, ...] | None = None
    instead: Answer | None = None
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


# --- what a workflow is told ------------------------------------------------------------------


@dataclass(slots=True, kw_only=True)
class Room:
    """What a request may still use; whoever drives the workflow keeps it true.

    Attributes
    ----------
    calls
        Upstream calls.
    cost_usd, time_s
        None without a limit.
    """

    calls: int
    cost_usd: float | None = None
    time_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What was said of an answer that was held back.

    Attributes
    ----------
    by
        Who said it, a short name fit for a label.
    score
        What it went by, on its own scale; None where there was nothing to go by.
    why
        In a word or a few, for whoever wants to be told.
    """

    answer: Answer
    accepted: bool
    by: str
    score: float | None = None
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardVerdict:
    """What a guard said of the request itself.

    Attributes
    ----------
    by
        Which guard: `rule`, `fast` or `slow`; `none` where none of them could tell.
    harmful
        None where nobody could tell.
    score
        The chance that it is harmful, where one was told.
    why
        In a word or a few.
    """

    by: str
    harmful: bool | None
    score: float | None = None
    why: str = ""


@dataclass(slots=True, kw_only=True)
class Guarding:
    """How far a request has come past a guard; whoever drives the workflow holds to it.

    Attributes
    ----------
    single
        Why one choice has to answer the request once it may be answered, in a word; None where
        nothing is in the way of several calls.
    unseen
        Whether the request brings more than text, or what cannot be told as messages.
    further
        What a model reads of the request besides its messages, such as descriptions of tools.
    verdict
        The guard's; None before.
    models
        The only models that may answer; None for all candidates.
    """

    single: str | None = None
    unseen: bool = False
    further: str = ""
    verdict: GuardVerdict | None = None
    models: frozenset[str] | None = None

    @property
    def is_open(self) -> bool:
        """Whether it was found harmless, so that nothing is left to hold to."""
        return self.verdict is not None and self.verdict.harmful is False

    def allows(self, model_id: str) -> bool:
        """Return whether a model may answer, as far as the guard is concerned."""
        return self.models is None or model_id in self.models


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One request, and what was predicted of it.

    Attributes
    ----------
    candidates
        The models that may be called, as the decision knows them: what broke a hard constraint is
        not among them. Predicted quality and cost may be unknown.
    usd_per_quality
        The exchange rate that the knob came down to: 0 takes the cheapest, infinity the best.
        None where no router predicts.
    model_id
        What single choice would take.
    x
        The features that the artifact's router saw, (n_features,); None without one.
    room
        What may still be used; changes while the workflow runs.
    rng
        The only source of randomness.
    cost_quality
        The position of the knob, where the request is decided by one: a workflow that was
        calibrated itself knows better than single choice what it comes down to.
    verdicts
        What was said of answers so far: a workflow notes it here, whoever drives it tells it.
    guarding
        What a guard said of the request, where the workflow is one.
    """

    conversation: Conversation
    candidates: tuple[CandidateEstimate, ...]
    usd_per_quality: float | None
    model_id: str
    room: Room
    rng: random.Random
    x: FloatVector | None = None
    cost_quality: float | None = None
    verdicts: list[Verdict] = field(default_factory=list)
    guarding: Guarding = field(default_factory=Guarding)

    def judged(
        self, answer: Answer, *, accepted: bool, by: str, score: float | None = None, why: str
    ) -> Verdict:
        """Note what is said of an answer, and return it."""
        verdict = Verdict(answer=answer, accepted=accepted, by=by, score=score, why=why)
        self.verdicts.append(verdict)
        return verdict

    def may_cost(self, model_ids: Iterable[str]) -> bool:
        """Return whether an answer of each, at the most that it may cost, fits into the room."""
        left_usd = self.room.cost_usd
        if left_usd is None:
            return True
        upper = [
            None if each is None else each.cost_usd_upper for each in map(self.candidate, model_ids)
        ]
        known = [cost for cost in upper if cost is not None]
        return len(known) == len(upper) and sum(known) <= left_usd

    def by_cost(self) -> tuple[str, ...]:
        """Return the candidates in the order of what they are expected to cost, unknown last."""
        ordered = sorted(
            self.candidates,
            key=lambda each: (each.cost_usd is None, each.cost_usd or 0.0, each.model_id),
        )
        return tuple(each.model_id for each in ordered)

    def candidate(self, model_id: str) -> CandidateEstimate | None:
        """Return what was predicted of a model, if it may be called."""
        return next((each for each in self.candidates if each.model_id == model_id), None)


# --- what a workflow learns from --------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedAnswers:
    """What models answered to the queries of an outcome table, in its order.

    Attributes
    ----------
    models
        Names of the columns.
    literals
        str objects (n_queries, n_models): the answer proper; '' where none could be read. None
        where nobody told it: it has to be read from the text, or the model was not asked.
    texts
        The same of whole answers, None objects where there are none; None in place of the array
        where no text was kept at all.
    latency_s
        float64 (n_queries, n_models), how long each answer took, NaN where nobody told; None where
        nobody told at all.
    verified
        float (n_queries, n_models): of a model's votes on its own answer, the share that called
        it correct, NaN where there were none; None where nobody was asked.
    """

    models: tuple[str, ...]
    literals: NDArray[np.object_]
    texts: NDArray[np.object_] | None = None
    latency_s: FloatArray | None = None
    verified: NDArray[np.floating] | None = None

    def __len__(self) -> int:
        return len(self.literals)

    def rows(self, index: Sequence[int] | np.ndarray) -> "RecordedAnswers":
        """Return the answers to some queries, in the order of `index`."""
        return RecordedAnswers(
            models=self.models,
            literals=self.literals[index],
            texts=None if self.texts is None else self.texts[index],
            latency_s=None if self.latency_s is None else self.latency_s[index],
            verified=None if self.verified is None else self.verified[index],
        )

    def columns(self, models: Sequence[str]) -> "RecordedAnswers":
        """Return the answers of some models, in that order."""
        at = [self.models.index(each) for each in models]
        return RecordedAnswers(
            models=tuple(models),
            literals=self.literals[:, at],
            texts=None if self.texts is None else self.texts[:, at],
            latency_s=None if self.latency_s is None else self.latency_s[:, at],
            verified=None if self.verified is None else self.verified[:, at],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowContext:
    """What a workflow may learn from; a workflow reads what it needs.

    Attributes
    ----------
    x
        float32 (n_queries, n_features), what the router saw.
    conversations
        The queries themselves.
    labels
        Quality and output tokens, aligned with `x`.
    predictions
        Of the router, by a fit that has not seen the query.
    answers
        Aligned with `labels`, the same models in the same order.
    cost_usd
        (n_queries, n_models), what each answer cost, at the prices of the artifact.
    predicted_cost_usd
        (n_queries, n_models), what each was expected to cost before.
    folds
        (n_queries,), which part of a cross-fit each query belongs to; equal prompts share one.
    rng
        The only source of randomness.
    """

    x: FloatMatrix
    conversations: Sequence[Conversation]
    labels: Labels
    predictions: Predictions
    answers: RecordedAnswers
    cost_usd: FloatArray
    predicted_cost_usd: FloatArray
    folds: NDArray[np.intp]
    rng: np.random.Generator

    def rows(self, index: np.ndarray) -> "WorkflowContext":
        """Return some of the queries, in the order of `index`."""
        return WorkflowContext(
            x=self.x[index],
            conversations=[self.conversations[i] for i in index],
            labels=self.labels.rows(index),
            predictions=self.predictions.rows(index),
            answers=self.answers.rows(index),
            cost_usd=self.cost_usd[index],
            predicted_cost_usd=self.predicted_cost_usd[index],
            folds=self.folds[index],
            rng=self.rng,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """How a workflow would have gone on recorded answers; arrays are (n_rates, n_queries).

    Attributes
    ----------
    cost_usd
        Of all calls.
    quality
        Of the answer that served; NaN where it is not known.
    n_calls
        How many calls it took.
    """

    cost_usd: FloatArray
    quality: FloatArray
    n_calls: FloatArray


# --- the seam ---------------------------------------------------------------------------------


@dataclass(kw_only=True)
class Workflow(ABC):
    """One way to come to an answer by several calls; its fields are its options.

    One object serves many requests at the same time: `run` keeps what it needs in its own locals.
    """

    kind: ClassVar[str]
    learns: ClassVar[bool] = False
    """Whether it has to be fitted from recorded answers before it can run."""
    reads_features: ClassVar[bool] = False
    """Whether it makes use of `Task.x`, which takes time to make."""
    heeds_knob: ClassVar[bool] = False
    """Whether `Task.usd_per_quality` steers it: else a request with a knob of its own is answered
    by single choice."""
    guards: ClassVar[bool] = False
    """Whether it tells which requests may be answered: then no request goes around it, and what
    one choice has to answer (`Task.guarding.single`) passes it first."""
    tunable: ClassVar[bool] = False
    """Whether what was fitted runs under other options than those that it was fitted with."""

    @property
    def wants_logprobs(self) -> bool:
        """Whether the log-probabilities of drafts are to be had from their upstreams."""
        return False

    @property
    def reads_text_only(self) -> bool:
        """Whether it cannot tell of an answer to images, sounds or files."""
        return True

    @abstractmethod
    def run(self, task: Task) -> Run:
        """Come to an answer, step by step.

        Nothing may be raised for what an upstream or a model does: a step that brought nothing is
        sent as None.
        """

    def asks(self, candidates: Iterable[str]) -> tuple[str, ...]:
        """Return the models that may be called beyond the candidates, such as a judge."""
        del candidates
        return ()

    def doubts(self, candidates: Sequence[str]) -> list[str]:
        """Return what keeps it from working with these candidates, a sentence each."""
        del candidates
        return []

    def fit(self, context: WorkflowContext) -> Self:
        """Learn from recorded answers."""
        del context
        return self

    def rates(self, context: WorkflowContext) -> FloatArray | None:
        """Return the exchange rates at which its own knob is calibrated, from 0 to infinity.

        None for a workflow that goes by the rates of single choice.
        """
        del context
        return None

    def rehearse(self, context: WorkflowContext, usd_per_quality: Sequence[float]) -> Rehearsal:
        """Return how `run` would go on recorded answers, at each exchange rate.

        Only for workflows that have `rates` of their own.
        """
        raise NotImplementedError

    def calibrate(self, knob: KnobCurve) -> None:
        """Take over what positions of the knob come down to; for those that have `rates`."""
        raise NotImplementedError

    def rate_at(self, t: float) -> float:
        """Return what a position of the knob comes down to; for those that have `rates`."""
        raise NotImplementedError

    def state(self) -> dict[str, np.ndarray]:
        """Return everything that was learned as named plain arrays."""
        return {}

    def restore(self, state: State, models: Sequence[str]) -> Self:
        """Take over what `state` returned; runs are then the same."""
        del state, models
        return self


WORKFLOWS: Registry[Workflow] = Registry("routers.workflows", noun="workflow")
"""Workflows by kind."""


def make_workflow(options: Mapping[str, Any]) -> Workflow:
    """Make a workflow of its options, of which `kind` names it; what learns is not fitted yet.

    Raises
    ------
    RoutingConfigError
        If there is no such kind, or an option does not fit.
    """
    kind = options.get("kind")
    if not isinstance(kind, str):
        raise RoutingConfigError(
            f"a workflow needs its kind, one of: {', '.join(WORKFLOWS.kinds())}"
        )
    kind = kind.replace("_", "-")
    rest = {name: value for name, value in options.items() if name != "kind"}
    return build(WORKFLOWS.get(kind), rest, noun=f"workflow {kind!r}")
