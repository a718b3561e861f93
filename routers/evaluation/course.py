"""Drive a workflow over answers that are at hand: a replay, a simulation."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from routers.steps import Answer, Delegate, Draft, End, Serve, Skip, Step
from routers.task import Task
from routers.workflows.base import Workflow

Respond = Callable[[Step, int], Answer | None]
"""Returns what comes of a step, numbered as told; None where it cannot be had."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How a workflow went.

    Attributes
    ----------
    rounds
        The models of all calls in their order, those that were made at the same time together;
        that of a delegated answer last.
    served
        The answer that serves; None for a refusal, and where nothing could be had. What is skipped
        is answered by the task's `model_id`.
    heard
        All answers that could be had, in the order of their numbers.
    cost_usd
        Of all calls; of an answer without a known cost, nothing.
    latency_s
        Of the slowest call of each round, added up.
    """

    rounds: tuple[tuple[str, ...], ...]
    served: Answer | None
    heard: tuple[Answer, ...]
    end: End
    cost_usd: float
    latency_s: float

    @property
    def calls(self) -> tuple[str, ...]:
        """The models of all calls in their order."""
        return tuple(model_id for each in self.rounds for model_id in each)


def drive(workflow: Workflow, task: Task, respond: Respond) -> Course:
    """Run a workflow to its end.

    A step for which `task.room` has no room brings nothing, as in the gateway; room is taken by
    what was predicted of a candidate before, and by what an answer cost after.
    """
    calls = _Calls(task, respond)
    running = workflow.run(task)
    try:
        steps = next(running)
        while True:
            steps = running.send(calls.make(steps))
    except StopIteration as stop:
        end: End = stop.value
    served = end.answer if isinstance(end, Serve) else None
    if isinstance(end, Delegate | Skip):
        model_id = end.model_id if isinstance(end, Delegate) else task.model_id
        instead = end.instead if isinstance(end, Delegate) else None
        (served,) = calls.make((Draft(model_id=model_id),))
        served = served or instead or (calls.heard[-1] if calls.heard else None)
    return Course(
        rounds=tuple(calls.rounds),
        served=served,
        heard=tuple(calls.heard),
        end=end,
        cost_usd=calls.cost_usd,
        latency_s=calls.latency_s,
    )


class _Calls:
    """The calls of one run."""

    def __init__(self, task: Task, respond: Respond) -> None:
        self._task, self._respond = task, respond
        self.rounds: list[tuple[str, ...]] = []
        self.heard: list[Answer] = []
        self.cost_usd = self.latency_s = 0.0

    def make(self, steps: Sequence[Step]) -> list[Answer | None]:
        """Return what comes of steps that are taken together."""
        room, made, results = self._task.room, list[str](), list[Answer | None]()
        for step in steps:
            answer = None
            if _has_room(self._task, step):
                room.calls -= 1
                made.append(step.model_id)
                answer = self._respond(step, len(self.heard))
            results.append(answer)
            if answer is not None:
                self._pay(answer)
        slowest_s = max(
            [each.latency_s or 0.0 for each in results if each is not None], default=0.0
        )
        self.latency_s += slowest_s
        if made:
            self.rounds.append(tuple(made))
        if room.time_s is not None:
            room.time_s -= slowest_s
        return results

    def _pay(self, answer: Answer) -> None:
        cost_usd = answer.cost_usd or 0.0
        self.heard.append(answer)
        self.cost_usd += cost_usd
        if self._task.room.cost_usd is not None:
            self._task.room.cost_usd -= cost_usd


def _has_room(task: Task, step: Step) -> bool:
    room = task.room
    if room.calls < 1 or (room.time_s is not None and room.time_s <= 0):
        return False
    if room.cost_usd is None:
        return True
    known = task.candidate(step.model_id)
    expected = None if known is None else known.cost_usd
    return (expected or 0.0) <= room.cost_usd
