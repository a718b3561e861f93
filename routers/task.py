"""One request as a workflow sees it: what was predicted, what may be used, what was said so far."""

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from routers.decisions import CandidateEstimate
from routers.models import ModelFacts
from routers.steps import Answer
from routers.types import Conversation, FloatVector


@dataclass(slots=True, kw_only=True)
class Room:
    """What a request may still use; whoever drives the workflow keeps it true.

    Attributes
    ----------
    calls
        Upstream calls.
    cost_usd, time_s
        None without a limit.
    short_of
        Of which of them (`calls`, `cost`, `time`) the workflow found too little to go on as it
        would have; whoever drives it tells it.
    """

    calls: int
    cost_usd: float | None = None
    time_s: float | None = None
    short_of: str | None = None


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
    text_only
        Further models that could be called but for what the request brings beside text; for
        workflows that hand on what others made of that.
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
    verdicts
        What was said of answers so far: a workflow notes it here, whoever drives it tells it.
    guarding
        What a guard said of the request, where the workflow is one.
    facts
        What is known of models beside that, for workflows that describe them.
    notes
        What the workflow tells of its way, by short names: numbers, names of modes and of models,
        and no texts, as logs keep it.
    trace
        The same step by step, for whoever asks to be told everything.
    """

    conversation: Conversation
    candidates: tuple[CandidateEstimate, ...]
    usd_per_quality: float | None
    model_id: str
    room: Room
    rng: random.Random
    x: FloatVector | None = None
    text_only: tuple[CandidateEstimate, ...] = ()
    verdicts: list[Verdict] = field(default_factory=list)
    guarding: Guarding = field(default_factory=Guarding)
    facts: Mapping[str, ModelFacts] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)
    trace: list[dict[str, Any]] = field(default_factory=list)

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
        for each in (*self.candidates, *self.text_only):
            if each.model_id == model_id:
                return each
        return None
