"""Who waits for a model whose deployments take only so many calls at once."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from app.calls import Call
from app.error_answers import answer_for
from app.errors import FailedToWaitError, UpstreamError
from app.gateway.deployments.balance import CallSize
from app.gateway.deployments.lease import Lease, Turn
from app.gateway.deployments.pool import DeploymentPool
from app.gateway.deployments.rooms import Room
from app.gateway.deployments.slots import Slot
from app.gateway.ledger import LedgerEntry
from app.gateway.queues.expected_wait import ExpectedWait, expected_wait
from app.gateway.queues.fair_line import FairLine
from app.gateway.queues.places import OnWaited, WaitLimits, wait_in
from app.gateway.queues.virtual_counters import INPUT_WEIGHT, OUTPUT_WEIGHT, Rank, Ticket

_FIRST_WAKE_S = 0.01
"""The soonest that somebody who waits looks again by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueRule:
    """How many may wait for a model, how long, and what batches get meanwhile."""

    max_waiting: int = 1_000
    max_wait_s: float = 30.0
    batch_max_wait_s: float = 300.0
    batch_share: float = 0.05

    @property
    def limits(self) -> WaitLimits:
        """How long each class may wait."""
        return WaitLimits(max_wait_s=self.max_wait_s, batch_max_wait_s=self.batch_max_wait_s)


@dataclass(slots=True)
class Crowd:
    """Everybody who waits, in whichever queue: where nobody does no queue has to be looked at."""

    n_waiting: int = 0


class ModelQueue:
    """The queue of models that are served at the same places.

    Parameters
    ----------
    name
        How it is told of.
    slots
        Every deployment of these models.
    crowd
        Counts who waits here, too.
    on_waited
        Told of every wait.
    """

    def __init__(
        self,
        name: str,
        slots: Mapping[str, tuple[Slot, ...]],
        *,
        pool: DeploymentPool,
        rule: QueueRule,
        crowd: Crowd,
        on_waited: OnWaited,
    ) -> None:
        self.name, self.rule = name, rule
        self._crowd = crowd
        self.line = FairLine(max_waiting=rule.max_waiting, batch_share=rule.batch_share)
        self._pool, self._on_waited = pool, on_waited
        self._slots = tuple({id(slot): slot for group in slots.values() for slot in group}.values())
        rooms = [slot.load.room for slot in self._slots if slot.load.room is not None]
        self._rooms: tuple[Room, ...] = tuple({id(room): room for room in rooms}.values())
        self._is_bounded = all(slot.load.room is not None for slot in self._slots)
        self._alarm: asyncio.TimerHandle | None = None
        for room in self._rooms:
            room.watch(self._serve)

    def has_a_turn(self, model_id: str, *, dialect: str | None = None) -> bool:
        """Return whether a call may take its lease at once: nobody waits, and there is room."""
        if self._crowd.n_waiting and self.line.n_waiting:
            return False
        return self._pool.has_room(model_id, dialect=dialect)

    def expected_wait(self, model_id: str, held_s: float, rank: Rank) -> ExpectedWait | None:
        """Return how long a call that comes now is likely to wait; None: not at all.

        Parameters
        ----------
        held_s
            How long a call of the model usually takes: until turns were seen, places become free
            so many times in that while.
        rank
            In whose name it waits.
        """
        line = self.line
        if not line.n_waiting and self._pool.has_room(model_id):
            return None
        gap_s = line.gap_s
        if gap_s is None:
            gap_s = held_s / max(sum(room.limit for room in self._rooms), 1)
        return expected_wait(line.turns(rank), gap_s)

    async def wait(
        self,
        model_id: str,
        rank: Rank,
        *,
        size: CallSize,
        take: Callable[[], Lease],
        dialect: str | None = None,
        first: bool = False,
    ) -> Lease:
        """Wait for a lease.

        Parameters
        ----------
        take
            Makes the lease, once there is room.
        dialect
            What a deployment has to speak for it.
        first
            Whether it had its turn, and goes before the others of its key.

        Raises
        ------
        FailedToWaitError
            If too many wait, or it took too long.
        """
        given: list[Lease] = []

        def wants(_ticket: Ticket) -> bool:
            if not self._pool.has_room(model_id, dialect=dialect):
                return False
            given.append(take())
            return True

        def failed(why: str) -> FailedToWaitError:
            return FailedToWaitError(
                f"{model_id} takes no more calls at once, and {why}",
                retry_after_s=self.line.estimated_wait_s(rank),
                sent=False,
            )

        def give_back(ticket: Ticket) -> None:
            given[0].turn = Turn(self.line, ticket)
            given[0].settle(None)
            given[0].release()

        limits = self.rule.limits
        self._crowd.n_waiting += 1
        try:
            ticket = await wait_in(
                self.line,
                rank,
                clock=self._pool.clock,
                limits=limits,
                read=INPUT_WEIGHT * size.input_tokens,
                written=None if size.output_tokens is None else OUTPUT_WEIGHT * size.output_tokens,
                first=first,
                wants=wants,
                joined=self._serve,
                on_waited=self._on_waited,
                give_back=give_back,
                full=lambda: failed(f"{self.line.n_waiting} wait; try again"),
                late=lambda: failed(f"none of them ended within {limits.of(rank.priority):g} s"),
            )
        finally:
            self._crowd.n_waiting -= 1
        given[0].turn = Turn(self.line, ticket)
        return given[0]

    def close(self) -> None:
        """Want to know of nothing any more."""
        for room in self._rooms:
            room.forget(self._serve)
        if self._alarm is not None:
            self._alarm.cancel()

    def _serve(self) -> None:
        """Serve who waits, as far as there is room."""
        if not self.line.n_waiting:
            return
        now = self._pool.clock()
        while self.line.n_waiting and self._has_room():
            if self.line.serve_next(now) is None:
                break
        if self.line.n_waiting:
            self._wake(now)

    def _has_room(self) -> bool:
        return not self._is_bounded or any(room.is_free for room in self._rooms)

    def _wake(self, now: float) -> None:
        """Look again when a deployment that is left alone may be called again."""
        due = min((slot.available_at for slot in self._slots if not slot.available(now)), default=0)
        if due <= now or self._alarm is not None:
            return
        seconds = max(due - now, _FIRST_WAKE_S)
        self._alarm = asyncio.get_running_loop().call_later(seconds, self._woken)

    def _woken(self) -> None:
        self._alarm = None
        self._serve()


class ModelQueues:
    """The queues of all models with a limited deployment.

    Parameters
    ----------
    rules
        By model.
    on_waited
        Told of every wait: the queue's name first.
    """

    def __init__(
        self,
        pool: DeploymentPool,
        rules: Mapping[str, QueueRule],
        *,
        on_waited: Callable[[str], OnWaited],
    ) -> None:
        self._crowd = Crowd()
        self._queues: dict[str, ModelQueue] = {}
        self.all: list[ModelQueue] = []
        for group in _groups(pool):
            name = next(iter(group))
            queue = ModelQueue(
                name,
                group,
                pool=pool,
                rule=rules.get(name, QueueRule()),
                crowd=self._crowd,
                on_waited=on_waited(name),
            )
            self.all.append(queue)
            self._queues |= dict.fromkeys(group, queue)
        if self._queues:
            pool.times.expects_waits(self)

    @property
    def n_waiting(self) -> int:
        """How many calls wait for any model, those included that were served this very moment."""
        return self._crowd.n_waiting

    def of(self, model_id: str) -> ModelQueue | None:
        """Return the queue of a model; None where it takes whatever comes."""
        return self._queues.get(model_id)

    def expected_wait(self, model_id: str, held_s: float, rank: Rank) -> ExpectedWait | None:
        """Return how long a call that comes now is likely to wait; None: not at all."""
        queue = self._queues.get(model_id)
        return None if queue is None else queue.expected_wait(model_id, held_s, rank)

    def close(self) -> None:
        """Let go of the places, which others may go on using."""
        for queue in self.all:
            queue.close()


async def lease_in_turn(
    queue: ModelQueue,
    model_id: str,
    entry: LedgerEntry,
    *,
    size: CallSize,
    take: Callable[[], Lease],
    dialect: str | None,
    first: bool,
    failures: list[tuple[Call, UpstreamError]],
) -> Lease:
    """Wait for a lease until it is the request's turn.

    Parameters
    ----------
    failures
        Is told where that did not come.

    Raises
    ------
    FailedToWaitError
    """
    role, began = entry.next_role, entry.clock()
    entry.wait_begins(began)
    try:
        return await queue.wait(
            model_id, entry.rank, size=size, take=take, dialect=dialect, first=first
        )
    except FailedToWaitError as error:
        waited_s = entry.clock() - began
        code = answer_for(error).code
        call = entry.called(role, model_id, "", duration_s=waited_s, error=code)
        failures.append((call, error))
        raise
    finally:
        entry.wait_ends(entry.clock())
        entry.queued_s += entry.clock() - began


def _groups(pool: DeploymentPool) -> list[dict[str, tuple[Slot, ...]]]:
    """Return the models that share limited places, directly or by way of others, together."""
    groups: list[tuple[dict[str, tuple[Slot, ...]], set[int]]] = []
    for model_id, slots in pool.by_model():
        rooms = {id(slot.load.room) for slot in slots if slot.load.room is not None}
        if not rooms:
            continue
        group = {model_id: slots}
        sharing = [each for each in groups if each[1] & rooms]
        for each in sharing:
            group = {**each[0], **group}
            rooms |= each[1]
            groups.remove(each)
        groups.append((group, rooms))
    return [group for group, _ in groups]
