"""A planner asks models about parts of a request, round after round; one of them answers."""

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

from pydantic import Field

from routers.steps import Answer, Delegate, Purpose, Question, Run, Skip, Step
from routers.task import Task
from routers.types import Conversation, Message
from routers.workflows._round_grammar import (
    CallFor,
    Part,
    TraceFaultError,
    check_turn,
    parts_of,
    turn_of,
)
from routers.workflows._round_messages import information, planner_messages, writer_messages
from routers.workflows.base import WORKFLOWS, Workflow

_PLANNER_MAX_TOKENS = 1_024
_ASKED_MAX_TOKENS = 512


@WORKFLOWS.register("rounds")
@dataclass(kw_only=True)
class Rounds(Workflow):
    """Have a planner split a request, and the strongest model that was asked write the answer.

    A planner is any model that keeps to a form: it thinks, calls a model by its name or answers.
    What it is told of models comes from the decision's predictions, so that a new candidate is
    called without anything being trained. A turn that breaks the form may be repaired once; then,
    and where the planner fails, what was found so far is all there is, and single choice answers
    where that is nothing.

    Attributes
    ----------
    planner
        Who plans.
    max_turns
        How many calls it may make.
    deadline_s
        How long each turn may take, the planner's and the called model's alike.
    about
        What else a planner is told of models, such as how they scored at what.

    References
    ----------
    Zhang et al. 2025, Router-R1, arXiv:2506.09033, of which this has the form of traces and no
    training.
    """

    kind: ClassVar[str] = "rounds"

    planner: str
    max_turns: Annotated[int, Field(ge=1, le=4)] = 4
    deadline_s: Annotated[float, Field(gt=0, le=600, allow_inf_nan=False)] = 30.0
    about: dict[str, Annotated[str, Field(max_length=500)]] = field(default_factory=dict)

    def run(self, task: Task) -> Run:
        """Plan, ask and have the answer written."""
        if not self._has_room(task):
            return Skip(why="too_little_room")
        trip = _Trip(task, boundary=f"{task.rng.getrandbits(64):016x}")
        while trip.n_calls < self.max_turns and self._has_room(task):
            call = yield from self._next_call(trip)
            if not isinstance(call, CallFor):
                break
            (reply,) = yield (self._asked(call),)
            trip.heard(call, reply)
        return trip.end()

    def _next_call(
        self, trip: "_Trip"
    ) -> Generator[Sequence[Step], Sequence[Answer | None], CallFor | None]:
        """Return whom the planner calls; None where it has its answer, or none is to be had."""
        fault = None
        while True:
            messages = planner_messages(
                trip.task.conversation,
                trip.task.candidates,
                trip.parts,
                about=self.about,
                n_calls=self.max_turns - trip.n_calls,
                boundary=trip.boundary,
                fault=fault,
            )
            (reply,) = yield (
                Question(
                    model_id=self.planner,
                    messages=messages,
                    max_tokens=_PLANNER_MAX_TOKENS,
                    purpose=Purpose.PLANNER,
                    deadline_s=self.deadline_s,
                ),
            )
            if reply is None:
                trip.why = "the planner failed"
                return None
            turn = turn_of(reply.text)
            try:
                said = check_turn(turn, trip.model_ids)
            except TraceFaultError as error:
                if trip.repaired or trip.task.room.calls < _FEWEST_CALLS:
                    trip.why = "the planner broke the form"
                    return None
                trip.repaired, fault = True, str(error)
                continue
            trip.parts += parts_of(turn)
            if isinstance(said, CallFor):
                return said
            trip.draft = said
            return None

    def _asked(self, call: CallFor) -> Question:
        """Return what a called model is asked: its question, and nothing else of the request."""
        return Question(
            model_id=call.model_id,
            messages=Conversation.of(call.query).messages,
            max_tokens=_ASKED_MAX_TOKENS,
            purpose=Purpose.HELPER,
            deadline_s=self.deadline_s,
        )

    def _has_room(self, task: Task) -> bool:
        """Return whether a round may be had, and the answer after it paid."""
        time_s = task.room.time_s
        dearest = max(task.candidates, key=lambda each: each.cost_usd_upper or 0.0, default=None)
        return (
            dearest is not None
            and task.room.calls >= _FEWEST_CALLS
            and (time_s is None or time_s > 0)
            and task.may_cost((dearest.model_id, dearest.model_id))
        )

    def asks(self, candidates: Iterable[str]) -> tuple[str, ...]:
        """Return the planner."""
        del candidates
        return (self.planner,)

    def doubts(self, candidates: Sequence[str]) -> list[str]:
        """Say where there is nobody to choose between, and of whom nothing is to be told."""
        if len(candidates) < 2:
            return ["there is one candidate, and nothing to plan; add another one"]
        return [
            f"`about` tells of {each!r}, which is not among the policy's candidates: "
            f"{', '.join(candidates)}"
            for each in self.about
            if each not in candidates
        ]


_FEWEST_CALLS = 3
"""A planner's turn, the call that it makes, and the answer."""


class _Trip:
    """One request on its way."""

    def __init__(self, task: Task, *, boundary: str) -> None:
        self.task, self.boundary = task, boundary
        self.model_ids = frozenset(each.model_id for each in task.candidates)
        self.parts: list[Part] = []
        self.asked: list[str] = []
        self.draft: str | None = None
        self.repaired = False
        self.why = "the planner has its answer"

    @property
    def n_calls(self) -> int:
        return sum(part.name == "call" for part in self.parts)

    def heard(self, call: CallFor, reply: Answer | None) -> None:
        text = "" if reply is None else information(reply.text, self.boundary)
        if text:
            self.asked.append(call.model_id)
        self.parts.append(Part("information", text or "no reply"))

    def end(self) -> Delegate:
        """Have the strongest of those that were asked write the answer; else single choice."""
        if not self.asked:
            return Delegate(model_id=self.task.model_id, by="rounds", why=self.why)
        messages: tuple[Message, ...] = writer_messages(
            self.task.conversation, self.parts, self.draft, boundary=self.boundary
        )
        return Delegate(
            model_id=max(self.asked, key=self._strength),
            by="rounds",
            why=self.why,
            messages=messages,
        )

    def _strength(self, model_id: str) -> tuple[float, float, str]:
        known = self.task.candidate(model_id)
        quality = None if known is None else known.quality
        cost_usd = None if known is None else known.cost_usd
        return quality or 0.0, cost_usd or 0.0, model_id
