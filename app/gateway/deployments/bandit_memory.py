"""What a bandit remembers of deployments: sums that forget, or the latest calls themselves.

Both forget by calls, not by time: no clock can make them forget at once. Both come apart into
lessons that follow each other, so that what several gateways saw is, put together, what one of them
would have seen that took all of their calls.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from routers.numeric import FloatArray
from routers.workflows.learning.lessons import Lesson

MAX_WINDOW = 20_000
"""Of calls that are remembered one by one; each is a few bytes of every write to the store."""

_NOTHING = (0.0, 0.0)
_MAX_UNIT = 1e100
"""Where sums that grow are counted in calls again: far from what a float cannot hold."""
_SIZE = "size"
_ARM = "arm/"


class Taught(Protocol):
    """What some calls taught: comes before or after what others did."""

    def then(self, later: Any) -> Any:
        """Return this and what came later, of the same memory, as one."""
        ...

    def state(self) -> Mapping[str, np.ndarray]:
        """Return it as plain arrays."""
        ...


class Memory(Protocol):
    """What is remembered of the arms of one bandit."""

    def arms(self) -> Iterable[str]:
        """Go through the arms of which something is remembered."""
        ...

    def in_force(self) -> "Memory":
        """Return the memory to go by now: itself, or one of those that it consists of."""
        ...

    def learn(self, outcomes: Sequence[tuple[str, float]]) -> None:
        """Remember more outcomes, in their order: an arm, and from 0 to 1."""
        ...

    def counts(self, arm: str) -> tuple[float, float]:
        """Return how much of good and of bad is remembered of an arm."""
        ...

    def gather(self) -> tuple[Taught, int] | None:
        """Return what was learned since this was asked before, and of how many calls; once."""
        ...

    def absorb(self, lesson: Taught) -> None:
        """Remember what others learned, after everything else."""
        ...

    def recall(self, lesson: Taught | None) -> None:
        """Remember a lesson, and nothing else."""
        ...

    def restore(self, state: Mapping[str, np.ndarray]) -> Taught:
        """Return the lesson of a state.

        Raises
        ------
        KeyError, ValueError
            If it is none of this memory.
        """
        ...


class Fading:
    """Sums of which a little is forgotten with every call.

    Parameters
    ----------
    memory
        About how many calls count; infinity forgets nothing.
    """

    def __init__(self, memory: float) -> None:
        self._keep = 1.0 - 1.0 / memory
        self._grows = 1.0 / self._keep
        self._unit = 1.0
        """What an outcome of now counts in the sums: it grows, so that none of them has to fade."""
        self._sums: dict[str, list[float]] = {}
        self._fresh: dict[str, list[float]] = {}
        self._n_fresh = 0

    def learn(self, outcomes: Sequence[tuple[str, float]]) -> None:
        """Remember more outcomes, in their order: an arm, and from 0 to 1; some hundred at most."""
        unit, grows = self._unit, self._grows
        gained: dict[str, list[float]] = {}
        for arm, reward in outcomes:
            unit *= grows
            mine = gained.get(arm)
            if mine is None:
                mine = gained[arm] = [0.0, 0.0]
            good = reward * unit
            mine[0] += good
            mine[1] += unit - good
        self._unit = unit
        self._n_fresh += len(outcomes)
        for sums in (self._sums, self._fresh):
            for arm, (good, bad) in gained.items():
                before = sums.get(arm, _NOTHING)
                sums[arm] = [before[0] + good, before[1] + bad]
        if unit > _MAX_UNIT:
            self._sums, self._fresh = self._in_calls(self._sums), self._in_calls(self._fresh)
            self._unit = 1.0

    def arms(self) -> Iterable[str]:
        """Go through the arms of which something is remembered."""
        return self._sums

    def in_force(self) -> "Fading":
        """Return itself."""
        return self

    def counts(self, arm: str) -> tuple[float, float]:
        """Return how much of good and of bad is remembered of an arm."""
        good, bad = self._sums.get(arm, _NOTHING)
        return good / self._unit, bad / self._unit

    def gather(self) -> tuple[Lesson, int] | None:
        """Return what was learned since this was asked before, and of how many calls; once."""
        n = self._n_fresh
        if not n:
            return None
        # A share of nothing at all is no lesson that a store would take.
        sums = _arrays(self._in_calls(self._fresh))
        lesson = Lesson(sums=sums, keep=max(self._keep**n, 1e-300))
        self._fresh, self._n_fresh = {}, 0
        return lesson, n

    def absorb(self, lesson: Taught) -> None:
        """Remember what others learned, after everything else."""
        mine = Lesson(sums=_arrays(self._in_calls(self._sums)))
        self.recall(mine.then(_sums_of(lesson)))

    def recall(self, lesson: Taught | None) -> None:
        """Remember a lesson, and nothing else."""
        sums = {} if lesson is None else _sums_of(lesson).sums
        unit = self._unit
        self._sums = {
            arm: [float(each[0]) * unit, float(each[1]) * unit] for arm, each in sums.items()
        }

    def _in_calls(self, sums: Mapping[str, Sequence[float]]) -> dict[str, list[float]]:
        unit = self._unit
        return {arm: [good / unit, bad / unit] for arm, (good, bad) in sums.items()}

    def restore(self, state: Mapping[str, np.ndarray]) -> Lesson:
        """Return the lesson of a state.

        Raises
        ------
        KeyError, ValueError
            If it is none of this memory.
        """
        lesson = Lesson.restore(dict(state))
        if any(each.shape != (2,) or (each < 0).any() for each in lesson.sums.values()):
            raise ValueError("a bandit counts good and bad of each deployment")
        return lesson


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowLesson:
    """The latest outcomes, oldest first, and how many are remembered at most."""

    outcomes: tuple[tuple[str, float], ...]
    size: int

    def then(self, later: Taught) -> "WindowLesson":
        """Return this and what came later as one."""
        if not isinstance(later, WindowLesson):
            raise TypeError("a lesson of another memory")
        together = (*self.outcomes, *later.outcomes)
        return WindowLesson(outcomes=together[-self.size :], size=self.size)

    def state(self) -> dict[str, np.ndarray]:
        """Return it as plain arrays: of each arm, the places and values of its outcomes."""
        found: dict[str, list[tuple[int, float]]] = {}
        for place, (arm, reward) in enumerate(self.outcomes):
            found.setdefault(_ARM + arm, []).append((place, reward))
        arrays = {name: np.array(each, np.float64) for name, each in found.items()}
        return {_SIZE: np.array([float(self.size)]), **arrays}


class Window:
    """The latest calls, one by one, whatever deployment took them.

    Parameters
    ----------
    size
        How many.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._outcomes: deque[tuple[str, float]] = deque()
        self._counts: dict[str, list[float]] = {}
        self._fresh: deque[tuple[str, float]] = deque(maxlen=size)
        self._n_fresh = 0

    def learn(self, outcomes: Sequence[tuple[str, float]]) -> None:
        """Remember more outcomes, in their order: an arm, and from 0 to 1."""
        for arm, reward in outcomes:
            self._add(arm, reward)
        self._fresh.extend(outcomes)
        self._n_fresh += len(outcomes)

    def arms(self) -> Iterable[str]:
        """Go through the arms of which something is remembered."""
        return self._counts

    def in_force(self) -> "Window":
        """Return itself."""
        return self

    def counts(self, arm: str) -> tuple[float, float]:
        """Return how much of good and of bad is remembered of an arm."""
        n, good = self._counts.get(arm, _NOTHING)
        # What adding and taking away of parts of 1 leaves behind is not below nothing.
        good = 0.0 if good < 0.0 else min(good, n)
        return good, n - good

    def gather(self) -> tuple[WindowLesson, int] | None:
        """Return what was learned since this was asked before, and of how many calls; once."""
        n = self._n_fresh
        if not n:
            return None
        lesson = WindowLesson(outcomes=tuple(self._fresh), size=self._size)
        self._fresh.clear()
        self._n_fresh = 0
        return lesson, n

    def absorb(self, lesson: Taught) -> None:
        """Remember what others learned, after everything else."""
        for arm, reward in _outcomes_of(lesson):
            self._add(arm, reward)

    def recall(self, lesson: Taught | None) -> None:
        """Remember a lesson, and nothing else."""
        self._outcomes.clear()
        self._counts.clear()
        if lesson is not None:
            self.absorb(lesson)

    def restore(self, state: Mapping[str, np.ndarray]) -> WindowLesson:
        """Return the lesson of a state.

        Raises
        ------
        KeyError, ValueError
            If it is none of this memory.
        """
        size = int(np.asarray(state[_SIZE], np.float64).reshape(-1)[0])
        placed = sorted(
            (float(place), name.removeprefix(_ARM), float(reward))
            for name, each in state.items()
            if name.startswith(_ARM)
            for place, reward in np.asarray(each, np.float64).reshape(-1, 2)
        )
        outcomes = tuple((arm, reward) for _, arm, reward in placed)
        if size != self._size or not all(0.0 <= reward <= 1.0 for _, reward in outcomes):
            raise ValueError("a window of another size, or of what is no outcome")
        return WindowLesson(outcomes=outcomes[-size:], size=size)

    def _add(self, arm: str, reward: float) -> None:
        self._outcomes.append((arm, reward))
        mine = self._counts.get(arm)
        if mine is None:
            mine = self._counts[arm] = [0.0, 0.0]
        mine[0] += 1.0
        mine[1] += reward
        if len(self._outcomes) > self._size:
            gone, lost = self._outcomes.popleft()
            counts = self._counts[gone]
            counts[0] -= 1.0
            counts[1] -= lost


def _arrays(sums: Mapping[str, Iterable[float]]) -> dict[str, FloatArray]:
    return {arm: np.array(list(each), np.float64) for arm, each in sums.items()}


def _sums_of(lesson: Taught) -> Lesson:
    if not isinstance(lesson, Lesson):
        raise TypeError("a lesson of another memory")
    return lesson


def _outcomes_of(lesson: Taught) -> tuple[tuple[str, float], ...]:
    if not isinstance(lesson, WindowLesson):
        raise TypeError("a lesson of another memory")
    return lesson.outcomes
