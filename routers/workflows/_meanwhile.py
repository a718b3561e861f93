"""Take the steps of several generators at the same time."""

from collections.abc import Generator, Sequence
from typing import TypeVar

from routers.steps import Answer, Step

T = TypeVar("T")

Steps = Generator[Sequence[Step], Sequence[Answer | None], T]


def meanwhile(runs: Sequence[Steps[T]]) -> Steps[list[T]]:
    """Run generators of steps side by side, and return what each of them returns, in order."""
    results: dict[int, T] = {}
    waiting: dict[int, Sequence[Step]] = {}
    for at, run in enumerate(runs):
        try:
            waiting[at] = tuple(next(run))
        except StopIteration as stop:
            results[at] = stop.value
    while waiting:
        answers = yield tuple(step for steps in waiting.values() for step in steps)
        taken, still = 0, dict[int, Sequence[Step]]()
        for at, steps in waiting.items():
            heard = answers[taken : taken + len(steps)]
            taken += len(steps)
            try:
                still[at] = tuple(runs[at].send(heard))
            except StopIteration as stop:
                results[at] = stop.value
        waiting = still
    return [results[at] for at in range(len(runs))]
