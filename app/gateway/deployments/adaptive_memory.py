"""Memories of several lengths side by side, of which the longest one that still holds counts.

How long a bandit should remember depends on how fast the world changes, which nobody can tell it:
a long memory sees small differences, a short one sees that a deployment began to fail. As in ADWIN
(Bifet and Gavalda 2007, Learning from Time-Changing Data with Adaptive Windowing), what is long ago
counts until the outcomes of late contradict it. Whether they do is told as in GLR-klUCB (Besson et
al., arXiv 1902.01575), by a likelihood ratio of Bernoulli rates. Both papers drop the past at a
change; here nothing is dropped, as every length fades by itself: which of them counts follows from
their sums alone, so that gateways that put these together go by the same one.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from app.gateway.deployments.bandit_memory import Memory, Taught

CONTRADICTION_NATS = 3.0
"""How much more probable, in logarithms, the late outcomes of a deployment may be at their own rate
than at the one of a longer memory, before that does not count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RungLessons:
    """What some calls taught the memories of every length, the shortest first."""

    rungs: tuple[Taught, ...]

    def then(self, later: Taught) -> "RungLessons":
        """Return this and what came later as one."""
        if not isinstance(later, RungLessons):
            raise TypeError("a lesson of another memory")
        together = zip(self.rungs, later.rungs, strict=True)
        return RungLessons(rungs=tuple(mine.then(theirs) for mine, theirs in together))

    def state(self) -> dict[str, np.ndarray]:
        """Return it as plain arrays, named by their rungs."""
        return {
            f"{number}/{name}": array
            for number, rung in enumerate(self.rungs)
            for name, array in rung.state().items()
        }


class Ladder:
    """Memories of several lengths, all of which learn.

    Parameters
    ----------
    rungs
        At least one, the shortest first.
    """

    def __init__(self, rungs: Sequence[Memory]) -> None:
        self._rungs = tuple(rungs)

    def learn(self, outcomes: Sequence[tuple[str, float]]) -> None:
        """Remember more outcomes, in their order: an arm, and from 0 to 1."""
        for rung in self._rungs:
            rung.learn(outcomes)

    def arms(self) -> Iterable[str]:
        """Go through the arms of which something is remembered."""
        return self._rungs[-1].arms()

    def in_force(self) -> Memory:
        """Return the longest memory that no shorter one contradicts, of any arm."""
        found, *longer = self._rungs
        late: list[tuple[str, float, float, float]] = []
        for rung in longer:
            for arm in found.arms():
                good, bad = found.counts(arm)
                if good + bad > 0.0:
                    late.append((arm, good, bad, _at_own_rate(good, bad)))
            rates: dict[str, tuple[float, float]] = {}
            for arm, good, bad, at_own in late:
                logs = rates.get(arm)
                if logs is None:
                    logs = rates[arm] = _log_rates(*rung.counts(arm))
                if at_own - good * logs[0] - bad * logs[1] > CONTRADICTION_NATS:
                    return found
            found = rung
        return found

    def counts(self, arm: str) -> tuple[float, float]:
        """Return how much of good and of bad is remembered of an arm, as far as it counts."""
        return self.in_force().counts(arm)

    def gather(self) -> tuple[RungLessons, int] | None:
        """Return what was learned since this was asked before, and of how many calls; once."""
        gathered = [each for each in (rung.gather() for rung in self._rungs) if each is not None]
        if not gathered:
            return None
        return RungLessons(rungs=tuple(lesson for lesson, _ in gathered)), gathered[0][1]

    def absorb(self, lesson: Taught) -> None:
        """Remember what others learned, after everything else."""
        for rung, each in zip(self._rungs, _rungs_of(lesson), strict=True):
            rung.absorb(each)

    def recall(self, lesson: Taught | None) -> None:
        """Remember a lesson, and nothing else."""
        lessons = [None] * len(self._rungs) if lesson is None else _rungs_of(lesson)
        for rung, each in zip(self._rungs, lessons, strict=True):
            rung.recall(each)

    def restore(self, state: Mapping[str, np.ndarray]) -> RungLessons:
        """Return the lesson of a state.

        Raises
        ------
        KeyError, ValueError
            If it is none of this memory.
        """
        lessons = []
        for number, rung in enumerate(self._rungs):
            mark = f"{number}/"
            mine = {
                name.removeprefix(mark): array
                for name, array in state.items()
                if name.startswith(mark)
            }
            lessons.append(rung.restore(mine))
        return RungLessons(rungs=tuple(lessons))


def _at_own_rate(good: float, bad: float) -> float:
    """Return the logarithm of how probable outcomes are at the rate that they have themselves."""
    n, found = good + bad, 0.0
    if good > 0.0:
        found += good * math.log(good / n)
    if bad > 0.0:
        found += bad * math.log(bad / n)
    return found


def _log_rates(good: float, bad: float) -> tuple[float, float]:
    """Return the logarithms of the rates of good and bad.

    With half an outcome of each kind: what was never seen is not impossible.
    """
    total = math.log(good + bad + 1.0)
    return math.log(good + 0.5) - total, math.log(bad + 0.5) - total


def _rungs_of(lesson: Taught) -> tuple[Taught, ...]:
    if not isinstance(lesson, RungLessons):
        raise TypeError("a lesson of another memory")
    return lesson.rungs
