"""The body of an answer as it arrives, never waited for without end."""

import asyncio
from collections.abc import AsyncIterator

import httpx

from app.errors import UpstreamInvalidResponseError, UpstreamTimeoutError, UpstreamUnavailableError
from app.providers._http import error_from_exception


class Reads:
    """The body of one answer, each read bounded by a deadline or an idle time."""

    __slots__ = ("_body", "_deadline", "_loop", "_timeouts", "heard")

    def __init__(
        self, stream: httpx.AsyncByteStream, timeouts: dict[str, float | None], deadline: float
    ) -> None:
        self._body: AsyncIterator[bytes] = stream.__aiter__()
        self._timeouts = timeouts
        self._deadline: float | None = deadline
        self._loop = asyncio.get_running_loop()
        self.heard: list[bytes] = []
        """What `all` has read so far."""

    def expect_every(self, idle_s: float) -> None:
        """Forget the deadline; from now on each read may take this long."""
        self._deadline = None
        self._timeouts["read"] = idle_s

    async def next(self) -> bytes | None:
        """Return the next read, None at the end."""
        if self._deadline is not None:
            self._timeouts["read"] = max(0.0, self._deadline - self._loop.time())
        try:
            return await anext(self._body, None)
        except httpx.TransportError as error:
            raise error_from_exception(error) from error

    async def all(self, max_bytes: int) -> bytes:
        """Return the whole body."""
        parts = self.heard
        total = 0
        while (data := await self.next()) is not None:
            parts.append(data)
            total += len(data)
            if total > max_bytes:
                raise UpstreamInvalidResponseError(
                    f"the upstream's answer is longer than {max_bytes} bytes"
                )
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def as_far_as_possible(self, max_bytes: int) -> bytes:
        """Return the body of a failure, or what could be had of it: the failure is known."""
        parts: list[bytes] = []
        try:
            while max_bytes > 0 and (data := await self.next()) is not None:
                parts.append(data)
                max_bytes -= len(data)
        except (UpstreamUnavailableError, UpstreamTimeoutError):
            pass
        return b"".join(parts)
