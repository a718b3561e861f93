"""A stream whose answer is held back: it begins all the same once that takes long."""

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

from app.api.pings import Pings


class Waiting:
    """Begin a stream, and keep it alive, while its answer is being held back.

    A context manager around the wait for the answer; when it has ended nothing more of it is on its
    way. One timer, and a task only where the stream is begun early.

    Parameters
    ----------
    after_s
        How long an answer is held back in silence.
    held_s
        Returns for how long it is by now; None while none is.
    begin
        Sends the headers.
    pings
        What keeps the stream alive from then on.
    """

    __slots__ = ("_after_s", "_begin", "_beginning", "_held_s", "_pings", "_timer")

    def __init__(
        self,
        *,
        after_s: float,
        held_s: Callable[[], float | None],
        begin: Callable[[], Awaitable[None]],
        pings: Pings,
    ) -> None:
        self._after_s = after_s
        self._held_s = held_s
        self._begin = begin
        self._pings = pings
        self._timer: asyncio.TimerHandle | None = None
        self._beginning: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._look_again(self._after_s)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._beginning is not None:
            self._beginning.cancel()  # a client that reads nothing keeps it waiting
            await asyncio.gather(self._beginning, return_exceptions=True)
            await self._pings.__aexit__(None, None, None)

    def _look_again(self, after_s: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(after_s, self._look)

    def _look(self) -> None:
        held_s = self._held_s()
        left_s = self._after_s - (held_s or 0.0)
        if left_s > 0:
            self._look_again(left_s)
            return
        self._beginning = asyncio.get_running_loop().create_task(self._begin_early())

    async def _begin_early(self) -> None:
        await self._begin()
        await self._pings.__aenter__()
