"""Workflows that do what none may: they raise, know no end, want what there is not."""

import contextlib
from collections.abc import Iterator
from typing import Any

from routers.steps import Answer, Delegate, Draft, Purpose, Question, Refuse, Run, Serve, Skip
from routers.task import Task
from routers.types import Message, Role
from routers.workflows.base import WORKFLOWS, Workflow

_NOWHERE = "no-such-model"


def _raises(_task: Task) -> Run:
    raise RuntimeError("at once")


def _raises_later(task: Task) -> Run:
    yield tuple(Draft(model_id=each) for each in task.by_cost()[:2])
    raise RuntimeError("later")


def _endless(_task: Task) -> Run:
    while True:
        yield ()


def _insatiable(task: Task) -> Run:
    while True:
        yield (Draft(model_id=task.model_id),)


def _unknown(task: Task) -> Run:
    yield (Draft(model_id=_NOWHERE), Draft(model_id=task.model_id))
    yield (_question(task, _NOWHERE),)
    return Delegate(model_id=_NOWHERE, by="odd")


def _unknown_at_once(_task: Task) -> Run:
    yield from ()
    return Delegate(model_id=_NOWHERE, by="odd")


def _no_steps(_task: Task) -> Run:
    yield ("sim-nano",)  # type: ignore[misc]  # which is the fault
    return Skip(why="never")


def _no_end(task: Task) -> Run:
    yield (Draft(model_id=task.model_id),)
    return None  # type: ignore[return-value]  # which is the fault


def _serves_nothing(task: Task) -> Run:
    answers = yield (_question(task, task.model_id), Draft(model_id=task.model_id))
    served = answers[0] or Answer(number=99, model_id=_NOWHERE, text="made up")
    return Serve(answer=served, by="odd")


def _clings(task: Task) -> Run:
    try:
        (_answer,) = yield (Draft(model_id=task.model_id),)
        yield (Draft(model_id=task.by_cost()[0]),)
    finally:
        raise RuntimeError("does not let go")
    return Skip(why="never")


def _skips_midway(task: Task) -> Run:
    yield tuple(Draft(model_id=each) for each in task.by_cost()[:2])
    return Skip(why="midway")


def _refuses(task: Task) -> Run:
    yield (_question(task, task.model_id), Draft(model_id=task.model_id))
    return Refuse(by="odd", why="the request is not to be answered")


def _composes(task: Task) -> Run:
    """Have a model answer what was made of two helpers' replies."""
    first, second = task.by_cost()[:2]
    replies = yield (_question(task, first), _question(task, first), _question(task, second))
    text = " ".join(each.text for each in replies if each is not None)
    asked = task.conversation.messages[-1].text
    messages = (Message(role=Role.USER, content=f"{asked}\n{text[:200]}"),)
    return Delegate(model_id=task.model_id, by="composed", messages=messages)


def _question(task: Task, model_id: str) -> Question:
    return Question(
        model_id=model_id,
        messages=(task.conversation.messages[-1],),
        max_tokens=20,
        purpose=Purpose.HELPER,
    )


_RUNS = {
    "odd-raises": _raises,
    "odd-raises-later": _raises_later,
    "odd-endless": _endless,
    "odd-insatiable": _insatiable,
    "odd-unknown": _unknown,
    "odd-unknown-at-once": _unknown_at_once,
    "odd-no-steps": _no_steps,
    "odd-no-end": _no_end,
    "odd-serves-nothing": _serves_nothing,
    "odd-clings": _clings,
    "odd-skips-midway": _skips_midway,
    "odd-refuses": _refuses,
    "odd-composes": _composes,
}
ODD_KINDS = tuple(_RUNS)


@contextlib.contextmanager
def odd_workflows() -> Iterator[None]:
    """Have configurations know these kinds while the block runs."""
    known = WORKFLOWS._classes
    for kind, run in _RUNS.items():
        known[kind] = _kind(kind, run)
    try:
        yield
    finally:
        for kind in _RUNS:
            del known[kind]


def _kind(name: str, does: Any) -> type[Workflow]:
    class Odd(Workflow):
        kind = name

        def run(self, task: Task) -> Run:
            run: Run = does(task)
            return run

    return Odd
