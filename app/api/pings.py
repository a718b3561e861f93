"""Signs of life in a stream that is silent, so that nobody on the way takes it for dead."""

import asyncio
from types import TracebackType
from typing import Self

from starlette.types import Message, Send


class Pings:
    """Send `ping` whenever nothing was sent for `every_s` seconds; 0 sends none.

    A context manager around the middle of a stream: it begins after the headers and the first
    content, and when it has ended nothing more of it is on its way. What it is used beside has to
    send whole events, so that a comment never stands inside of one.

    One timer serves the whole stream; a task is made only for a comment that is due.
    """

    __slots__ = ("_every_s", "_last", "_loop", "_ping_event", "_send", "_sending", "_timer")

    def __init__(self, send: Send, *, every_s: float, ping: bytes) -> None:
        self._send = send
        self._every_s = every_s
        self._ping_event = ping
        self._loop = asyncio.get_running_loop()
        self._last = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None
        self._sending: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        if self._every_s > 0:
            self._timer = self._loop.call_later(self._every_s, self._look)
        return self

    def sent(self) -> None:
        """Note that something was sent."""
        self._last = self._loop.time()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._sending is not None:
            self._sending.cancel()  # a client that reads nothing keeps it waiting
            await asyncio.gather(self._sending, return_exceptions=True)

    def _look(self) -> None:
        left_s = self._last + self._every_s - self._loop.time()
        if left_s <= 0:
            if self._sending is None or self._sending.done():
                self._sending = self._loop.create_task(self._ping())
            left_s = self._every_s
            self.sent()
        self._timer = self._loop.call_later(left_s, self._look)

    async def _ping(self) -> None:
        message: Message = {
            "type": "http.response.body",
            "body": self._ping_event,
            "more_body": True,
        }
        await self._send(message)
