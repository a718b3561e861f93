"""The body of an answer as it arrives, never waited for without end."""

import asyncio
from collections.abc import AsyncIterator

import httpx

from app.errors import UpstreamInvalidResponseError, UpstreamTimeoutError, UpstreamUnavailableError
from app.providers.http.errors import error_from_exception

MAX_SILENT_BYTES = 4 * 1024 * 1024
"""How much an upstream may send before the first content of its answer: what begins a stream (token
ids of the prompt, a filter's findings) is larger than one thinks, a flood larger still."""

_BLANKS = b" \t\r\n\xef\xbb\xbf"
"""What may stand before an answer, and says nothing; a byte order mark too."""


def first_byte(body: bytes) -> bytes:
    """Return the first byte that says something; empty for none."""
    return body.lstrip(_BLANKS)[:1]


class Reads:
    """The body of one answer, each read bounded by a deadline or an idle time."""

    __slots__ = ("_ahead", "_body", "_deadline", "_loop", "_silent_bytes", "_timeouts", "heard")

    def __init__(
        self, body: AsyncIterator[bytes], timeouts: dict[str, float | None], deadline: float
    ) -> None:
        self._body = body
        self._ahead: bytes | None = None
        self._silent_bytes = 0
        self._timeouts = timeouts
        self._deadline: float | None = deadline
        self._loop = asyncio.get_running_loop()
        self.heard: list[bytes] = []
        """What `all` has read so far."""

    def expect_every(self, idle_s: float) -> None:
        """Forget the deadline: the answer has begun, and each read may take this long."""
        self._deadline = None
        self._timeouts["read"] = idle_s

    def bound_silence(self, pending_bytes: int) -> None:
        """Give up an answer that goes on and on without a beginning.

        Parameters
        ----------
        pending_bytes
            Of them, what is part of an event that has not ended, which has a bound of its own.
        """
        if self._deadline is not None and self._silent_bytes - pending_bytes > MAX_SILENT_BYTES:
            raise UpstreamInvalidResponseError(
                f"the upstream sent over {MAX_SILENT_BYTES} bytes without an answer"
            )

    def check_began(self) -> None:
        """Refuse an answer that has ended without anything in it."""
        if self._deadline is not None:
            raise UpstreamInvalidResponseError("the upstream's answer is empty")

    async def first(self) -> bytes:
        """Return the first byte that says something, and leave it to be read; empty for none."""
        parts: list[bytes] = []
        first = b""
        while not first and (data := await self.next()) is not None:
            parts.append(data)
            first = first_byte(data)
            if not first:
                self.bound_silence(0)
        if parts:
            self._ahead = parts[0] if len(parts) == 1 else b"".join(parts)
        return first

    async def next(self) -> bytes | None:
        """Return the next read, None at the end."""
        if self._ahead is not None:
            ahead, self._ahead = self._ahead, None
            return ahead
        if self._deadline is not None:
            self._timeouts["read"] = max(0.0, self._deadline - self._loop.time())
        try:
            data: bytes | None = await anext(self._body, None)
        except httpx.TransportError as error:
            raise error_from_exception(error) from error
        if data is not None and self._deadline is not None:
            self._silent_bytes += len(data)
        return data

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
