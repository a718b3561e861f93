"""One lane to Redis: calls that meet are sent together, every wait is bounded, no error gets by.

While a batch is on its way, calls gather for the next one, so that under load many requests share a
round trip (and most of what the client costs); alone, a call is sent at once. Nothing is ever sent
twice, except scripts that Redis did not know and therefore did not run.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from redis.exceptions import NoScriptError, ReadOnlyError

from app.stores._base import StoreError, StoreNotAskedError

Command = tuple[str | bytes | int, ...]

MAX_WAITING = 4096
"""Commands that may wait; a loop so far behind is better told than joined."""
MAX_BATCH = 512
_LAST_LOOK = 0.1
"""Share of the timeout that is left to find a reply that had come before it."""


@dataclass(slots=True)
class _Call:
    commands: Sequence[Command]
    future: asyncio.Future[list[Any]]
    since_s: float
    """How long the lane had been on its way, all in all, when the call came."""


class Circuit:
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


class Lane:
    """Send commands to Redis in pipelines, one at a time.

    Parameters
    ----------
    connect
        Makes the client, in the event loop.
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
        connect: Callable[[], Any],
        *,
        scripts: Mapping[str, str],
        timeout_s: float,
        circuit: Circuit,
    ) -> None:
        self._connect = connect
        self._scripts = scripts
        self._timeout_s = timeout_s
        self._circuit = circuit
        self._client: Any = None
        self._waiting: deque[_Call] = deque()
        self._n_waiting = 0
        self._on_way_s = 0.0
        self._left_at: float | None = None
        self._runner: asyncio.Task[None] | None = None
        self._closed = False

    async def call(self, *commands: Command) -> list[Any]:
        """Return the replies to some commands, sent together but not as a transaction.

        Raises
        ------
        StoreError
            If any failed; others may have been carried out.
        StoreNotAskedError
            If none was sent.
        """
        loop = asyncio.get_running_loop()
        if self._closed:
            raise StoreNotAskedError("the store is closed")
        if self._n_waiting + len(commands) > MAX_WAITING:
            raise StoreNotAskedError("too many calls wait for Redis")
        if not self._circuit.allows(loop.time()):
            raise StoreNotAskedError("Redis failed several times; asking again shortly")
        call = _Call(commands, loop.create_future(), self._travelled_s(loop.time()))
        self._waiting.append(call)
        self._n_waiting += len(commands)
        if self._runner is None:
            self._runner = loop.create_task(self._run())
        replies = await call.future
        unknown = [i for i, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if unknown:
            try:
                again = await self.call(*(self._with_source(commands[i]) for i in unknown))
            except StoreNotAskedError as error:
                raise StoreError(str(error)) from error  # the others were carried out
            for i, reply in zip(unknown, again, strict=True):
                replies[i] = reply
        for reply in replies:
            if isinstance(reply, Exception):
                raise StoreError(f"Redis: {reply}") from reply
        return replies

    async def aclose(self) -> None:
        """Fail what waits and disconnect."""
        self._closed = True
        runner, self._runner = self._runner, None
        if runner is not None:
            runner.cancel()
            await asyncio.wait({runner})
        self._fail(self._waiting, StoreNotAskedError("the store is closed"))
        self._waiting.clear()
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(Exception):  # a server that is gone is closed well enough
                await client.aclose()

    async def _run(self) -> None:
        while self._waiting:
            batch = self._next_batch()
            if not batch:
                continue
            loop = asyncio.get_running_loop()
            self._left_at = loop.time()
            try:
                replies = await self._round_trip([c for call in batch for c in call.commands])
            except StoreError as error:
                self._on_way_s, self._left_at = self._travelled_s(loop.time()), None
                self._circuit.failed(loop.time())
                self._fail(batch, error)
            except asyncio.CancelledError:
                self._fail(batch, StoreError("the store was closed meanwhile"))
                raise
            else:
                # An answer that came later than it may have was kept waiting by a busy loop.
                travelled_s = self._travelled_s(loop.time()) - self._on_way_s
                self._on_way_s += min(travelled_s, self._timeout_s)
                self._left_at = None
                self._circuit.succeeded()
                self._hand_out(batch, replies)
        self._runner = None

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

    async def _round_trip(self, commands: Sequence[Command]) -> list[Any]:
        loop = asyncio.get_running_loop()
        task = asyncio.ensure_future(self._send(commands))
        try:
            patience_s = (1.0 - _LAST_LOOK) * self._timeout_s
            ends_at = loop.time() + patience_s
            await asyncio.wait({task}, timeout=patience_s)
            if not task.done():
                # A loop that was busy wakes up with the reply unread, or the call not even sent.
                # That is our slowness and not that of Redis: the time is given back.
                late_s = min(loop.time() - ends_at, self._timeout_s)
                await asyncio.wait({task}, timeout=late_s + _LAST_LOOK * self._timeout_s)
        finally:
            if not task.done():
                task.cancel()  # redis-py disconnects: a late reply must not meet the next call
                await asyncio.wait({task}, timeout=self._timeout_s)
        if task.cancelled() or not task.done():
            raise StoreError(f"Redis did not answer in {self._timeout_s * 1000:.0f} ms")
        error = task.exception()
        if error is not None:
            raise StoreError(f"Redis: {error}") from error
        return task.result()

    async def _send(self, commands: Sequence[Command]) -> list[Any]:
        if self._client is None:
            self._client = self._connect()
        pipeline = self._client.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        replies: list[Any] = await pipeline.execute(raise_on_error=False)
        if any(isinstance(reply, ReadOnlyError) for reply in replies):
            # The server became a replica; its name may lead to the new master.
            await self._client.connection_pool.disconnect()
        return replies

    def _hand_out(self, batch: Sequence[_Call], replies: Sequence[Any]) -> None:
        start = 0
        for call in batch:
            end = start + len(call.commands)
            if not call.future.done():
                call.future.set_result(list(replies[start:end]))
            start = end

    def _fail(self, calls: Sequence[_Call] | deque[_Call], error: StoreError) -> None:
        for call in calls:
            if not call.future.done():
                call.future.set_exception(type(error)(*error.args))

    def _with_source(self, command: Command) -> Command:
        return ("EVAL", self._scripts[str(command[1])], *command[2:])
