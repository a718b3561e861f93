"""What the stub saw, so that a test can prove what reached the upstream and what did not."""

import asyncio
from collections import deque
from enum import StrEnum
from typing import Any

import msgspec

MAX_ENTRIES = 1000


class Ended(StrEnum):
    """How a request ended, as the stub saw it."""

    RUNNING = "running"
    COMPLETE = "complete"
    FAULT = "fault"
    CLIENT_GONE = "client_gone"


class LogEntry(msgspec.Struct, kw_only=True):
    """One request.

    Attributes
    ----------
    number
        Counts up from 0 over the life of the stub.
    body
        The request as JSON; None if it was none.
    headers
        Of the request, names in lower case.
    chunks_sent
        Events of a stream, or 1 for a whole answer.
    connection
        Counts up from 0; the same for requests that came over the same connection.
    """

    number: int
    model: str | None
    stream: bool
    body: Any
    headers: list[tuple[str, str]]
    connection: int
    fault: str | None = None
    status: int | None = None
    chunks_sent: int = 0
    bytes_sent: int = 0
    ended: Ended = Ended.RUNNING


class RequestLog:
    """The newest requests, and a way to wait for one."""

    def __init__(self) -> None:
        self.entries: deque[LogEntry] = deque(maxlen=MAX_ENTRIES)
        self.count = 0
        self._changed: asyncio.Future[None] | None = None

    def open(self, **fields: Any) -> LogEntry:
        """Add the entry of a request that has begun."""
        entry = LogEntry(number=self.count, **fields)
        self.count += 1
        self.entries.append(entry)
        self._announce()
        return entry

    def close(self, entry: LogEntry, ended: Ended) -> None:
        """Note how a request ended."""
        entry.ended = ended
        self._announce()

    def clear(self) -> None:
        """Forget every entry; numbers go on."""
        self.entries.clear()

    async def wait_for(self, ended: Ended, *, timeout_s: float, since: int = 0) -> bool:
        """Wait until a request numbered `since` or later stands at `ended`; False if none does."""
        try:
            async with asyncio.timeout(timeout_s):
                while not any(e.ended is ended and e.number >= since for e in self.entries):
                    if self._changed is None:
                        self._changed = asyncio.get_running_loop().create_future()
                    await asyncio.shield(self._changed)
        except TimeoutError:
            return False
        return True

    def _announce(self) -> None:
        changed, self._changed = self._changed, None
        if changed is not None:
            changed.set_result(None)
