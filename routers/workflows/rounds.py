"""A planner asks models about parts of a request, round after round; one of them answers."""

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar

from pydantic import Field

from routers.steps import Answer, Delegate, Purpose, Question, Run, Skip, Step
from routers.task import Task
from routers.types import Conversation, Message
from routers.workflows._round_grammar import (
    CallFor,
    Part,
    TraceFaultError,
    check_turn,
    joined,
    parts_of,
    turn_of,
)
from routers.workflows._round_messages import information, planner_messages, writer_messages
from routers.workflows._round_rewards import CostWindow, format_reward
from routers.workflows.base import WORKFLOWS, Workflow

_PLANNER_MAX_TOKENS = 1_024
_ASKED_MAX_TOKENS = 512


@WORKFLOWS.register("rounds")
@dataclass(kw_only=True)
class Rounds(Workflow):
    """Have a planner split a request, and the strongest model that was asked write the answer.

    A planner is any model that keeps to a form: it thinks, calls a model by its name or answers.
    What it is told of models comes from the catalogue, the decision's predictions and what their
    answers took, so that a new candidate is called without anything being trained. A turn that
    breaks the form may be repaired once; then, and where the planner fails, what was found so far
    is all there is, and single choice answers where that is nothing.

    Attributes
    ----------
    planner
        Who plans.
    max_turns
        How many calls it may make.
    deadline_s
        How long each turn may take, the planner's and the called model's alike.
    about
        What else a planner is told of models, such as what they are good at.

    References
    ----------
    Zhang et al. 2025, Router-R1, arXiv:2506.09033, of which this has the form of traces and no
    training.
    """

    kind: ClassVar[str] = "rounds"
    describes: ClassVar[bool] = True

    planner: str
    max_turns: Annotated[int, Field(ge=1, le=4)] = 4
    deadline_s: Annotated[float, Field(gt=0, le=600, allow_inf_nan=False)] = 30.0
    about: dict[str, Annotated[str, Field(max_length=500)]] = field(default_factory=dict)

    _costs: CostWindow = field(init=False, repr=False, compare=False, default_factory=CostWindow)

    def run(self, task: Task) -> Run:
        """Plan, ask and have the answer written."""
        if not self._has_room(task):
            return Skip(why="too_little_room")
        trip = _Trip(task, boundary=f"{task.rng.getrandbits(64):016x}")
        while trip.n_calls < self.max_turns:
            if not self._has_room(task):
                trip.why = "there is no room for another round"
                break
            call = yield from self._next_call(trip)
            if not isinstance(call, CallFor):
                break
            (reply,) = yield (self._asked(call),)
            trip.heard(call, reply)
        trip.reward(self._costs)
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
                facts=trip.task.facts,
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
                trip.tell("fault", why=str(error), chars=len(turn))
                if trip.repaired or trip.task.room.calls < _FEWEST_CALLS:
                    trip.why = "the planner broke the form"
                    trip.is_broken = True
                    return None
                trip.repaired, fault = True, str(error)
                continue
            trip.planned(parts_of(turn))
            if isinstance(said, CallFor):
                return said
            trip.draft = replace(reply, text=said)
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
        room = task.room
        dearest = max(task.candidates, key=lambda each: each.cost_usd_upper or 0.0, default=None)
        if dearest is None:
            return False
        if room.calls < _FEWEST_CALLS:
            room.short_of = "calls"
        elif room.time_s is not None and room.time_s <= 0:
            room.short_of = "time"
        elif not task.may_cost((dearest.model_id, dearest.model_id)):
            room.short_of = "cost"
        else:
            return True
        return False

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
        self.draft: Answer | None = None
        self.latest: Answer | None = None
        self.cost_usd = 0.0
        self.n_calls = 0
        self.repaired = self.is_broken = False
        self.why = "the planner has its answer"
        task.notes["rounds"] = 0

    def tell(self, tag: str, **told: Any) -> None:
        """Note a part of the trace for whoever wants to be told: lengths and no texts."""
        self.task.trace.append({"tag": tag, **told})

    def planned(self, parts: Sequence[Part]) -> None:
        """Note a turn of the planner's that keeps the form."""
        self.parts += parts
        for part in parts:
            self.tell(part.name, chars=len(part.text))

    def heard(self, call: CallFor, reply: Answer | None) -> None:
        """Note what a model that was asked replied."""
        text = "" if reply is None else information(reply.text, self.boundary)
        if text:
            self.asked.append(call.model_id)
            self.latest = reply
        self.parts.append(Part("information", text or "no reply"))
        self.n_calls += 1
        self.task.notes["rounds"] = self.n_calls
        cost_usd = None if reply is None else reply.cost_usd
        self.cost_usd += cost_usd or 0.0
        self.tell("information", model=call.model_id, chars=len(text), cost_usd=cost_usd)

    def reward(self, costs: CostWindow) -> None:
        """Note what the trace is worth, as far as that can be told without a reference."""
        form = -1.0 if self.is_broken else format_reward(joined(self.parts), self.model_ids)
        self.task.notes["r_format"] = form
        if self.asked:
            costs.add(self.cost_usd)
            self.task.notes["r_cost"] = round(costs.reward(self.cost_usd), 4)

    def end(self) -> Delegate:
        """Have the strongest of those that were asked write the answer; else single choice."""
        draft = self.draft
        at_hand = self.latest
        if draft is not None and self.task.guarding.allows(draft.model_id):
            at_hand = draft
        if not self.asked:
            return Delegate(model_id=self.task.model_id, by="rounds", why=self.why, instead=at_hand)
        messages: tuple[Message, ...] = writer_messages(
            self.task.conversation,
            self.parts,
            None if draft is None else draft.text,
            boundary=self.boundary,
        )
        return Delegate(
            model_id=max(self.asked, key=self._strength),
            by="rounds",
            why=self.why,
            messages=messages,
            instead=at_hand,
        )

    def _strength(self, model_id: str) -> tuple[float, float, str]:
        known = self.task.candidate(model_id)
        quality = None if known is None else known.quality
        cost_usd = None if known is None else known.cost_usd
        return quality or 0.0, cost_usd or 0.0, model_id
