"""What requests teach workflows that learn while they serve: learned at once, kept, shared.

A request's lesson is believed by its own process at once. Now and then, while no request waits for
it, what came since is added to a register of the store, and what others added there is believed
too. Lessons are sums, and every one of them is added once: what several processes learned is what
one of them would have learned that served all of their requests. While the store cannot be had,
each goes on with what it knows.
"""

import asyncio
import contextlib
import hashlib
import logging
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Protocol

import msgspec
import numpy as np

from app.gateway.course import Course
from app.gateway.deployments.bandit import Bandit
from app.gateway.deployments.bandit_memory import Taught
from app.gateway.kept_lessons import (
    NO_LESSONS,
    KeptLessons,
    LessonWrite,
    decode_value,
    joined,
    value_of,
)
from app.gateway.policy import Policy
from app.gateway.request import RouteRequest
from app.stores.base import Registers, StoreError
from routers.workflows.learning.base import Beliefs, OnlineWorkflow

LESSONS_EVERY_S = 2.0
"""How often lessons are kept, and those of others learned, on average."""
KEPT_S = 90 * 86_400.0
"""For how long what was learned outlives the last request that taught it."""
MAX_BYTES = 8_000_000
"""Of one workflow; more is learned by each process for itself."""

_MAX_WRITTEN = 8
"""How many of its own writes a process remembers, for a store that loses the latest ones."""
_TRIES = 4
_IN_TIME_S = 2.0
"""How long a process that starts or ends waits for the store."""

_NO_BANDITS: Mapping[str, Bandit] = MappingProxyType({})

_log = logging.getLogger(__name__)


class Learner(Protocol):
    """Whatever requests teach: a workflow, or what a balance knows of deployments."""

    def absorb(self, lesson: Any) -> None:
        """Believe a lesson from now on, on top of what is believed."""
        ...

    def recall(self, lesson: Any | None) -> Callable[[], None]:
        """Return what has it believe a lesson and what it was born with, and nothing else.

        Raises
        ------
        ValueError
            If it is a lesson about something else.
        """
        ...

    def read_lesson(self, state: Mapping[str, np.ndarray]) -> Taught:
        """Return the lesson of a state.

        Raises
        ------
        KeyError, ValueError
            If it is none.
        """
        ...

    def gather(self) -> tuple[Taught, int] | None:
        """Return what it learned by itself since it was asked before, and of how many calls."""
        ...


@dataclass(slots=True, eq=False)
class Pupil:
    """What learns, what requests taught it, and what of that is kept.

    Attributes
    ----------
    name
        Of its register: another policy, another artifact, or other models have another one.
    policy
        Whose it is; of a balance, its model's.
    workflow
        Of the configuration that serves.
    """

    name: str
    policy: str
    workflow: Learner
    _version: str | None = None
    """Of the value that is in the store, as far as known."""
    _kept: KeptLessons = NO_LESSONS
    _is_lost: bool = False
    """Whether the store does not have what it had."""
    _sending: LessonWrite | None = None
    _written: deque[LessonWrite] = field(default_factory=lambda: deque(maxlen=_MAX_WRITTEN))
    """By this process, of late."""
    _fresh: Taught | None = None
    _n_fresh: int = 0
    _is_thinking: bool = False
    _meanwhile: Taught | None = None
    """What was learned while the workflow was thinking over what it knows."""
    _using: asyncio.Lock = field(default_factory=asyncio.Lock)
    _is_too_large: bool = False

    @property
    def title(self) -> str:
        """What it is, for whoever reads the log."""
        whose = "policy" if isinstance(self.workflow, OnlineWorkflow) else "the balance of"
        return f"{whose} {self.policy}"

    @property
    def n_waiting(self) -> int:
        """How many lessons the store does not have yet."""
        return self._n_fresh + (0 if self._sending is None else self._sending.n_lessons)

    def learn(self, lesson: Taught) -> None:
        """Believe a lesson from now on, and have it kept later."""
        self.workflow.absorb(lesson)
        self._add(lesson, 1)

    def _add(self, lesson: Taught, n: int) -> None:
        self._fresh, self._n_fresh = joined(self._fresh, lesson), self._n_fresh + n
        if self._is_thinking:
            self._meanwhile = joined(self._meanwhile, lesson)

    def _gather(self) -> None:
        """Have kept what it learned by itself, and believes already."""
        gathered = self.workflow.gather()
        if gathered is not None:
            self._add(*gathered)

    def follow(self, workflow: Learner) -> None:
        """Have the workflow of a new configuration know what the one before it knew."""
        if workflow is not self.workflow:
            self._gather()
            workflow.recall(self._beside(self._kept.lesson))()
            self.workflow = workflow

    async def keep(self, registers: Registers) -> None:
        """Believe what others added to the store, and add what was learned since.

        Raises
        ------
        StoreError
            What could not be added will be.
        """
        if self._is_too_large:
            return
        async with self._using:
            self._gather()
            for _ in range(_TRIES):
                await self._read(registers)
                if await self._write(registers):
                    return

    def _beside(self, kept: Taught | None) -> Taught | None:
        """Return what the store has and, on top of it, what it does not have yet."""
        sending = None if self._sending is None else self._sending.lesson
        return joined(joined(kept, sending), self._fresh)

    async def _read(self, registers: Registers) -> None:
        if await registers.version(self.name) == self._version:
            return
        found = await registers.read(self.name)
        if found is None:
            self._version, self._is_lost = None, self._kept.n_writes > 0
            return
        self._version, data = found
        known = await asyncio.to_thread(self._read_value, data)
        if known is None:
            self._is_lost = True
            return
        mine, before = self._sending, self._kept
        arrived = mine is not None and mine.version in known.versions
        if mine is not None and arrived:
            self._sending = None
            if known.versions[-1] == mine.version:  # nobody else had anything to add
                self._written.append(replace(mine, number=known.n_writes))
                self._kept = known
                return
        missing = [each for each in self._written if known.lacks(before, each.number, each.version)]
        for each in reversed(missing):
            self._written.remove(each)
            self._fresh = each.lesson if self._fresh is None else joined(each.lesson, self._fresh)
            self._n_fresh += each.n_lessons
        await self._think_over(known)

    async def _think_over(self, known: KeptLessons) -> None:
        """Have the workflow believe what is in the store and what is not yet, and nothing else."""
        thinking: Learner | None = None
        self._is_thinking = True
        try:
            while thinking is not self.workflow:  # once more where a new configuration serves now
                self._gather()
                thinking, self._meanwhile = self.workflow, None
                believe = await asyncio.to_thread(thinking.recall, self._beside(known.lesson))
        except ValueError as error:
            _log.warning("what %s learned is about something else: %s", self.title, error)
            self._is_lost = True
            return
        else:
            self._gather()
        finally:
            self._is_thinking = False
        believe()
        self._kept = known
        if self._meanwhile is not None:
            self.workflow.absorb(self._meanwhile)

    def _read_value(self, data: bytes) -> KeptLessons | None:
        try:
            value = decode_value(data)
            state = {
                name: np.frombuffer(numbers, "<f8").reshape(shape)
                for name, (shape, numbers) in value.arrays.items()
            }
            lesson = self.workflow.read_lesson(state) if state else None
        except (msgspec.DecodeError, KeyError, ValueError) as error:
            _log.warning("what %s learned cannot be read: %s", self.title, error)
            return None
        return KeptLessons(value.n_writes, tuple(value.versions), lesson)

    async def _write(self, registers: Registers) -> bool:
        """Add what the store does not have; return whether nothing more is to be done."""
        if self._sending is None:
            if self._fresh is None and not self._is_lost:
                return True
            self._sending = LessonWrite(uuid.uuid4().hex, self._fresh, self._n_fresh)
            self._fresh, self._n_fresh = None, 0
        mine, after = self._sending, self._kept.with_(self._sending)
        data = await asyncio.to_thread(value_of, after)
        if len(data) > MAX_BYTES:
            _log.warning(
                "what %s learned is too large to be kept: %d bytes, of at most %d",
                *(self.title, len(data), MAX_BYTES),
            )
            self._is_too_large = True
            return True
        put = await registers.replace(
            self.name, data, version=mine.version, after=self._version, lifetime_s=KEPT_S
        )
        if put:
            self._version, self._kept, self._is_lost = mine.version, after, False
            self._written.append(replace(mine, number=after.n_writes))
            self._sending = None
        return put and self._fresh is None


class Pupils:
    """Everybody that requests teach; outlives configurations.

    Parameters
    ----------
    registers
        Where lessons are kept.
    """

    def __init__(self, registers: Registers) -> None:
        self._registers = registers
        self._pupils: dict[str, Pupil] = {}
        self._serving: frozenset[str] = frozenset()
        self._is_new = asyncio.Event()

    def __iter__(self) -> Iterator[Pupil]:
        return iter([each for each in self._pupils.values() if each.name in self._serving])

    def of(
        self, policies: Mapping[str, Policy], *, bandits: Mapping[str, Bandit] = _NO_BANDITS
    ) -> dict[str, Pupil]:
        """Return the pupils of a configuration that is to serve, by its policies.

        They know what those of the one before knew, where it is about the same.

        Parameters
        ----------
        bandits
            By model, what learns where its calls are answered; they learn by themselves.
        """
        found = {}
        for policy in policies.values():
            workflow = None if policy.workflow is None else policy.workflow.workflow.taught
            if not isinstance(workflow, OnlineWorkflow) or not workflow.learns_online:
                continue
            workflow.meet(sorted(spec.model_id for spec in policy.candidates))
            name = _name_of(policy, workflow)
            found[policy.name] = self._taught(name, policy.name, workflow)
        alone = [
            self._taught(
                hashlib.sha256(b"balance\n" + context.subject).hexdigest()[:32],
                model_id,
                context,
            )
            for model_id, bandit in bandits.items()
            for context in bandit.contexts()
        ]
        self._serving = frozenset(pupil.name for pupil in (*found.values(), *alone))
        return found

    def _taught(self, name: str, policy: str, learner: Learner) -> Pupil:
        pupil = self._pupils.get(name)
        if pupil is None:
            pupil = self._pupils[name] = Pupil(name, policy, learner)
            self._is_new.set()  # it has still to read what is known of old
        pupil.follow(learner)
        return pupil

    async def keep(self) -> None:
        """Keep what was learned, and believe what others learned; what fails is done later."""
        for name, pupil in tuple(self._pupils.items()):
            try:
                await pupil.keep(self._registers)
            except StoreError as error:
                # The store counts it, and says so once.
                _log.debug("lessons of %s wait: %s", pupil.title, error)
                continue
            if name not in self._serving and not pupil.n_waiting:
                self._pupils.pop(name, None)

    async def keep_forever(self, wait: Callable[[], float]) -> None:
        """Keep what is learned until cancelled.

        Parameters
        ----------
        wait
            Returns how long to wait until the next time, in seconds.
        """
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait()):
                    await self._is_new.wait()
            self._is_new.clear()
            try:
                await self.keep()
            except Exception:  # noqa: BLE001  (learning must not stop for good)
                _log.exception("what was learned could not be kept")

    async def keep_in_time(self) -> None:
        """Keep what was learned, and believe what others did, if that is possible now."""
        try:
            async with asyncio.timeout(_IN_TIME_S):
                await self.keep()
        except TimeoutError:
            _log.warning("what was learned could not be read or kept in time")


def teach(request: RouteRequest, course: Course | None, pupils: Mapping[str, Pupil]) -> None:
    """Have a request's workflow learn what the verdicts on its answers teach."""
    if course is None or course.task is None or request.policy is None:
        return
    pupil, rule = pupils.get(request.policy.name), request.workflow
    learner = None if rule is None else rule.workflow.taught
    if pupil is None or not isinstance(learner, OnlineWorkflow):
        return
    lesson = learner.lesson(course.task)
    if lesson is not None:
        pupil.learn(lesson)


def beliefs_of(pupils: Iterable[Pupil]) -> list[tuple[str, Beliefs, int]]:
    """Return what each policy believes, and how many of its lessons the store does not have."""
    return [
        (each.policy, workflow.beliefs(), each.n_waiting)
        for each in pupils
        if isinstance(workflow := each.workflow, OnlineWorkflow)
    ]


def _name_of(policy: Policy, workflow: OnlineWorkflow) -> str:
    digest = hashlib.sha256(workflow.subject)
    digest.update(f"{policy.name}\n{policy.artifact.version}".encode())
    return digest.hexdigest()[:32]
