"""A pipeline to Redis: calls that meet are sent together, every wait is bounded, no error gets by.

While a batch is on its way, calls gather for the next one, so that under load many requests share a
round trip (and most of what the client costs); alone, a call is sent at once. Nothing is ever sent
twice, except scripts that Redis did not know and therefore did not run.

A call costs one future; batches, replies and clocks are callbacks, and only connecting is a task.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from hiredis import ReplyError

from app.redis_client.connection import Command, Done, pack
from app.stores.base import StoreAnsweredError, StoreError, StoreFullError, StoreNotAskedError

MAX_WAITING = 4096
"""Commands that may wait; a loop so far behind is better told than joined."""
MAX_BATCH = 512
_LAST_LOOK = 0.1
"""Share of the timeout that is left to find a reply that had come before it."""


@dataclass(slots=True)
class _Call:
    commands: Sequence[Command]
    packed: bytes
    future: asyncio.Future[list[Any]]
    since_s: float
    """How long the pipeline had been on its way, all in all, when the call came."""


class PipelineCircuit:
    """Opens after `failures` round trips in a row that failed; lets one through after `open_s`."""

    def __init__(self, *, failures: int, open_s: float) -> None:
        self._most = failures
        self._open_s = open_s
        self._failures = 0
        self._retry_at = 0.0
        self._probing = False

    def allows(self, now: float) -> bool:
        """Return whether to ask now; after a failure, True is said to one caller only."""
        if self._failures < self._most:
            return True
        if self._probing or now < self._retry_at:
            return False
        self._probing = True
        return True

    def succeeded(self) -> None:
        """Note a round trip."""
        self._failures, self._probing = 0, False

    def failed(self, now: float) -> None:
        """Note a round trip that failed."""
        self._failures += 1
        self._retry_at, self._probing = now + self._open_s, False

    def given_up(self) -> None:
        """Note that the caller who was let through did not ask after all."""
        self._probing = False


class Link(Protocol):
    """A connection, as the pipeline uses it."""

    @property
    def is_open(self) -> bool:
        """Whether a batch may be sent."""
        ...

    def send(self, packed: bytes, n_commands: int, done: Done) -> None:
        """Send commands; `done` is called once with their replies, or a failure."""
        ...

    def close(self) -> None:
        """Disconnect at once; a batch on its way fails."""
        ...

    async def wait_closed(self) -> None:
        """Wait until it is closed."""
        ...


class Pipeline:
    """Send commands to Redis in batches, one at a time.

    Parameters
    ----------
    connect
        Makes a connection.
    scripts
        Source of every script by its SHA-1, for servers that do not know it (yet, or any more).
    timeout_s
        How long a round trip may take, connecting included. A call waits no longer than this for
        its turn, so that it ends within twice as long (and what the loop was busy elsewhere).
    circuit
        When not to ask at all.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[Link]],
        *,
        scripts: Mapping[str, str],
        timeout_s: float,
        circuit: PipelineCircuit,
    ) -> None:
        self.make_room: Callable[[], Awaitable[bool]] | None = None
        """Called where Redis is full; what it refused is sent again if there is room then."""
        self._connect = connect
        self._scripts = scripts
        self._timeout_s = timeout_s
        self._circuit = circuit
        self._link: Link | None = None
        self._left: Link | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._waiting: deque[_Call] = deque()
        self._n_waiting = 0
        self._batch: list[_Call] | None = None
        self._departing = False
        self._on_way_s = 0.0
        self._left_at: float | None = None
        self._ends_at = 0.0
        self._last_look = False
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    async def call(self, *commands: Command) -> list[Any]:
        """Return the replies to some commands, sent together but not as a transaction.

        Raises
        ------
        StoreError
            If any failed; others may have been carried out.
        StoreNotAskedError
            If none was sent.
        UnusableValueError
            If they cannot be sent at all.
        """
        loop = asyncio.get_running_loop()
        if self._closed:
            raise StoreNotAskedError("the store is closed")
        if self._n_waiting + len(commands) > MAX_WAITING:
            raise StoreNotAskedError("too many calls wait for Redis")
        # Here, where what cannot be packed concerns nobody else.
        packed = pack(commands)
        now = loop.time()
        if not self._circuit.allows(now):
            raise StoreNotAskedError("Redis failed several times; asking again shortly")
        call = _Call(commands, packed, loop.create_future(), self._travelled_s(now))
        self._waiting.append(call)
        self._n_waiting += len(commands)
        if self._batch is None and not self._departing:
            # Not at once: whoever else asks in this turn of the loop comes along.
            self._departing = True
            loop.call_soon(self._depart)
        replies = await call.future
        for reply in replies:
            if isinstance(reply, ReplyError):
                return await self._mended(commands, replies)
        return replies

    async def aclose(self) -> None:
        """Fail what waits and disconnect."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        batch, self._batch = self._batch, None
        if batch is not None:
            self._fail(batch, StoreError("the store was closed meanwhile"))
        self._fail(self._waiting, StoreNotAskedError("the store is closed"))
        self._waiting.clear()
        connecting = self._connecting
        self._disconnect()
        if connecting is not None:
            await asyncio.wait({connecting})
        if self._left is not None:
            await self._left.wait_closed()

    async def _mended(self, commands: Sequence[Command], replies: list[Any]) -> list[Any]:
        """Return replies once scripts that Redis did not know were sent; raise other errors."""
        unknown = _all_that(replies, lambda text: text.startswith("NOSCRIPT"))
        if unknown:
            await self._again([self._with_source(commands[i]) for i in unknown], unknown, replies)
        full = _all_that(replies, _is_full)
        if full and self.make_room is not None and await self.make_room():
            # A full server refuses before anything is done.
            await self._again([commands[i] for i in full], full, replies)
        for reply in replies:
            if isinstance(reply, ReplyError):
                kind = StoreFullError if _is_full(str(reply)) else StoreAnsweredError
                raise kind(f"Redis: {reply}") from reply
        return replies

    async def _again(
        self, commands: Sequence[Command], places: Sequence[int], replies: list[Any]
    ) -> None:
        """Ask again, and put the new replies in the places of the old ones."""
        try:
            again = await self.call(*commands)
        except StoreNotAskedError as error:
            raise StoreError(str(error)) from error  # the others were carried out
        for i, reply in zip(places, again, strict=True):
            replies[i] = reply

    def _depart(self) -> None:
        """Send the next batch, if anybody waits."""
        self._departing = False
        batch: list[_Call] = []
        while self._waiting and not batch:
            batch = self._next_batch()
        if not batch:
            return
        loop = asyncio.get_running_loop()
        self._batch, self._left_at = batch, loop.time()
        self._ends_at = self._left_at + (1.0 - _LAST_LOOK) * self._timeout_s
        self._last_look = False
        if self._timer is None:
            self._timer = loop.call_at(self._ends_at, self._look)
        if self._link is not None and self._link.is_open:
            self._send(self._link, batch)
        else:
            self._connecting = loop.create_task(self._reach(batch))

    async def _reach(self, batch: list[_Call]) -> None:
        try:
            link = await self._connect()
        except Exception as error:  # noqa: BLE001  (whatever it is, Redis cannot be asked)
            self._connecting = None
            self._arrived(batch, error)
            return
        self._connecting, self._link = None, link
        self._send(link, batch)

    def _send(self, link: Link, batch: list[_Call]) -> None:
        if len(batch) == 1:
            packed, n_commands = batch[0].packed, len(batch[0].commands)
        else:
            packed = b"".join([call.packed for call in batch])
            n_commands = sum([len(call.commands) for call in batch])
        try:
            link.send(packed, n_commands, lambda outcome: self._arrived(batch, outcome))
        except Exception as error:  # noqa: BLE001  (as above)
            self._arrived(batch, error)

    def _arrived(self, batch: list[_Call], outcome: list[Any] | Exception) -> None:
        """Hand out replies, or a failure, unless they were given up."""
        if self._batch is not batch:
            return
        now = asyncio.get_running_loop().time()
        travelled_s = self._travelled_s(now) - self._on_way_s
        self._batch = self._left_at = None
        if isinstance(outcome, Exception):
            self._on_way_s += travelled_s
            self._circuit.failed(now)
            self._disconnect()
            error = outcome if isinstance(outcome, StoreError) else _failure(outcome)
            self._fail(batch, error)
        else:
            # An answer that came later than it may have was kept waiting by a busy loop.
            self._on_way_s += min(travelled_s, self._timeout_s)
            self._circuit.succeeded()
            self._hand_out(batch, outcome)
            for reply in outcome:
                if isinstance(reply, ReplyError) and _is(reply, "READONLY"):
                    # The server became a replica; its name may lead to the new master.
                    self._disconnect()
                    break
        if self._waiting and not self._departing:
            self._departing = True
            asyncio.get_running_loop().call_soon(self._depart)

    def _look(self) -> None:
        """See whether the batch has been on its way for too long."""
        self._timer = None
        if self._batch is None:
            return  # whoever departs next winds the clock again: not once for every batch
        loop = asyncio.get_running_loop()
        now = loop.time()
        if now >= self._ends_at:
            if self._last_look:
                took = f"{self._timeout_s * 1000:.0f} ms"
                self._arrived(self._batch, StoreError(f"Redis did not answer in {took}"))
                return
            # A loop that was busy wakes up with the reply unread, or the call not even sent.
            # That is our slowness and not that of Redis: the time is given back.
            self._last_look = True
            late_s = min(now - self._ends_at, self._timeout_s)
            self._ends_at = now + late_s + _LAST_LOOK * self._timeout_s
        self._timer = loop.call_at(self._ends_at, self._look)

    def _disconnect(self) -> None:
        """Leave nothing that could answer late: it must not meet the next call."""
        connecting, self._connecting = self._connecting, None
        if connecting is not None:
            connecting.cancel()
        if self._link is not None:
            self._link.close()
            self._left, self._link = self._link, None

    def _next_batch(self) -> list[_Call]:
        """Take calls from the queue that somebody still waits for, and not for too long."""
        batch: list[_Call] = []
        size = 0
        while self._waiting and (not batch or size + len(self._waiting[0].commands) <= MAX_BATCH):
            call = self._waiting.popleft()
            self._n_waiting -= len(call.commands)
            if call.future.done():
                continue
            if self._on_way_s - call.since_s > self._timeout_s:
                call.future.set_exception(StoreNotAskedError("waited too long for Redis"))
                continue
            batch.append(call)
            size += len(call.commands)
        if not batch:
            self._circuit.given_up()
        return batch

    def _travelled_s(self, now: float) -> float:
        """How long round trips took; time in which the event loop was busy elsewhere is not it."""
        return self._on_way_s + (0.0 if self._left_at is None else now - self._left_at)

    def _hand_out(self, batch: Sequence[_Call], replies: list[Any]) -> None:
        if len(batch) == 1:
            if not batch[0].future.done():
                batch[0].future.set_result(replies)
            return
        start = 0
        for call in batch:
            end = start + len(call.commands)
            if not call.future.done():
                call.future.set_result(replies[start:end])
            start = end

    def _fail(self, calls: Sequence[_Call] | deque[_Call], error: StoreError) -> None:
        for call in calls:
            if not call.future.done():
                call.future.set_exception(type(error)(*error.args))

    def _with_source(self, command: Command) -> Command:
        return ("EVAL", self._scripts[str(command[1])], *command[2:])


def _is(error: ReplyError, code: str) -> bool:
    return str(error).startswith(code)


def _all_that(replies: Sequence[Any], say: Callable[[str], bool]) -> list[int]:
    """Return the places of errors whose text is such."""
    return [
        i for i, reply in enumerate(replies) if isinstance(reply, ReplyError) and say(str(reply))
    ]


def _failure(error: Exception) -> StoreError:
    failure = StoreError(f"Redis: {error or type(error).__name__}")
    failure.__cause__ = error
    return failure


def _is_full(text: str) -> bool:
    return "OOM " in text
