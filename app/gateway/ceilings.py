"""What a workflow may use for one request: calls, money, time."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from app.gateway.course import Course
from app.gateway.ledger import LedgerEntry
from app.gateway.money.bid import bid_for
from app.gateway.questions import question_about, question_of
from app.gateway.request import RouteRequest
from app.keys import NUSD_PER_USD, to_nusd
from routers.decisions import Decision
from routers.models import ModelSpec
from routers.steps import Draft, Purpose, Step
from routers.task import Task

_PACE_WEIGHT = 0.2
"""Of the newest answer in what a model's answers usually take."""


@dataclass(frozen=True, slots=True)
class Paces:
    """What answers of models usually take until they are whole; shared by all requests."""

    seconds: dict[str, float] = field(default_factory=dict)

    def took(self, model_id: str, seconds: float) -> None:
        """Learn from one more answer."""
        before = self.seconds.get(model_id, seconds)
        self.seconds[model_id] = before + _PACE_WEIGHT * (seconds - before)


class Ceilings:
    """The room that is left to one workflow.

    A step for which there is none is not taken: a model that the request may not use, a call too
    many, an answer that would probably cost more than is left, or take longer. What is begun is
    cut to what is left of the money, so that it holds whatever was predicted.

    Parameters
    ----------
    specs
        Of every model that there is, for its prices.
    """

    def __init__(
        self,
        task: Task,
        entry: LedgerEntry,
        decision: Decision,
        course: Course,
        *,
        specs: Mapping[str, ModelSpec],
        paces: Paces,
    ) -> None:
        room = task.room
        self._task, self._entry, self._decision, self._course = task, entry, decision, course
        self._specs, self._paces = specs, paces
        self._limit_nusd = None if room.cost_usd is None else to_nusd(room.cost_usd)
        self._late = entry.clock() + (math.inf if room.time_s is None else room.time_s)

    @property
    def left_s(self) -> float:
        """What is left of the time."""
        return self._late - self._entry.clock()

    def take(self, step: Step, request: RouteRequest, *, committed_nusd: int = 0) -> int | None:
        """Take the room of a step: return what it may cost, in billionths of a US dollar.

        None where there is no room for it; which ceiling that was is noted.

        Parameters
        ----------
        request
            What is asked in the step.
        committed_nusd
            What others that are begun with it may cost.
        """
        room, model_id = self._task.room, step.model_id
        if model_id not in self._specs or (
            isinstance(step, Draft) and self._task.candidate(model_id) is None
        ):
            return None
        if _contributes(step) and not self._task.guarding.allows(model_id):
            return None
        room.time_s = self.left_s
        why, most_nusd = None, 0
        if room.calls < 1:
            why = "calls"
        elif room.time_s <= self._paces.seconds.get(model_id, 0.0):
            why = "time"
        elif self._limit_nusd is not None:
            left_nusd = self._limit_nusd - self._spent_nusd - committed_nusd
            room.cost_usd = left_nusd / NUSD_PER_USD
            most = self._most_nusd(step, request, left_nusd)
            why, most_nusd = ("cost", 0) if most is None else (None, most)
        if why is not None:
            self._course.ceiling = why
            return None
        room.calls -= 1
        return most_nusd

    def leaves(self, model_id: str, request: RouteRequest) -> bool:
        """Return whether the money that is left would do for an answer, and cut it to that."""
        if self._limit_nusd is None:
            return True
        left_nusd = self._limit_nusd - self._spent_nusd
        return self._most_nusd(Draft(model_id=model_id), request, left_nusd) is not None

    @property
    def _spent_nusd(self) -> int:
        return to_nusd(sum([call.cost_usd or 0.0 for call in self._entry.calls]))

    def _most_nusd(self, step: Step, request: RouteRequest, left_nusd: int) -> int | None:
        spec = self._specs[step.model_id]
        if spec.prices.cost_usd(input_tokens=0, output_tokens=0) is None:
            return None
        bid = bid_for(request, self._decision, spec, self._entry.extras)
        if bid.least_nusd > left_nusd:
            return None
        limit = bid.limit_for(left_nusd)
        if limit is not None and isinstance(step, Draft):
            limits = self._entry.max_output_tokens
            limits[step.model_id] = min(limits.get(step.model_id, limit), limit)
        return min(bid.most_nusd, left_nusd)


def _contributes(step: Step) -> bool:
    """Return whether an answer is made of what comes of a step, which a guard may restrict."""
    return isinstance(step, Draft) or step.purpose in {Purpose.HELPER, Purpose.PLANNER}


def asked_in(request: RouteRequest, step: Step) -> RouteRequest:
    """Return what is asked in a step of a request."""
    if isinstance(step, Draft):
        return request
    if step.of_request:
        return question_about(request, step.messages, max_tokens=step.max_tokens)
    return question_of(
        request, step.messages, max_tokens=step.max_tokens, temperature=step.temperature
    )
