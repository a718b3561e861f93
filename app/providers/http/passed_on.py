"""Streams that are passed on event by event as they come, and read on the way.

For upstreams that speak the client's own dialect: what it gets is what the upstream wrote, byte for
byte, and what every answer is accounted by is read of it all the same.
"""

import re
from abc import ABC, abstractmethod

from app.errors import UpstreamError, UpstreamInvalidResponseError
from app.providers.base import Chunk
from app.providers.http.errors import Headers
from app.providers.http.sse import MAX_EVENT_BYTES
from app.usage import ToldUsage

_SPACE = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")
"""What ends an event: the end of its last line, and an empty one."""
_OVERLAP = 3
"""How far back the end of an event may begin that the next read completes."""


class Found:
    """What the events of one read said."""

    __slots__ = (
        *("content_chars", "content_events", "finish_reason", "has_content", "model", "usage"),
    )

    def __init__(self) -> None:
        self.has_content = False
        self.content_events = 0
        self.content_chars = 0
        self.usage: ToldUsage | None = None
        self.model: str | None = None
        self.finish_reason: str | None = None

    def add_content(self, n_chars: int) -> None:
        """Count a piece of the answer."""
        self.has_content = True
        self.content_events += n_chars > 0
        self.content_chars += n_chars


class PassedOnStream(ABC):
    """Passes on what an upstream sends; a dialect says what it means.

    After each `feed`, `done` says whether the answer has ended and `error` whether the stream
    failed; the event that says so is not passed on, but is in the error.

    Parameters
    ----------
    headers
        Response headers for the first chunk.
    dialect
        In which the stream is written.
    last_words
        What of the dialect's names may stand in a last event that lacks the end of its line.
    max_event_bytes
        A longer event is refused.
    """

    def __init__(
        self,
        headers: Headers = (),
        *,
        dialect: str,
        last_words: tuple[bytes, ...],
        max_event_bytes: int = MAX_EVENT_BYTES,
    ) -> None:
        self.done = False
        self.error: UpstreamError | None = None
        self._headers = tuple(headers)
        self._dialect = dialect
        self._last_words = last_words
        self._max_event_bytes = max_event_bytes
        self._pending = bytearray()

    @property
    def pending_bytes(self) -> int:
        """How much is kept of an event whose end has not come yet."""
        return len(self._pending)

    def feed(self, data: bytes) -> Chunk | None:
        """Return what one read brought; None when that was nothing whole."""
        if not self._pending and data.endswith(b"\n\n") and b"\r" not in data:
            return self._read(data, data[:-2].split(b"\n\n"))
        seen = max(len(self._pending) - _OVERLAP, 0)
        self._pending += data
        end = 0
        # Whose lines end in CR LF sends the LF yet: cut before it, the last one would be lost.
        cut = len(self._pending) if self._pending.endswith(b"\r\n\r") else -1
        for found in _SPACE.finditer(self._pending, seen):
            end = found.end() if found.end() != cut else end
        if end == 0:
            if len(self._pending) > self._max_event_bytes:
                self.error = UpstreamInvalidResponseError(
                    f"the upstream sent an event of over {self._max_event_bytes} bytes"
                )
            return None
        whole = bytes(self._pending[:end])
        del self._pending[:end]
        return self._read(whole, _SPACE.split(whole))

    def close(self) -> Chunk | None:
        """Take the end of the connection; servers that forget the last line end are understood."""
        rest, self._pending = bytes(self._pending), bytearray()
        if not any(word in rest for word in self._last_words):
            return None
        return self._read(rest + b"\n\n", _SPACE.split(rest))

    @abstractmethod
    def _take(self, data: bytes, found: Found) -> None:
        """Read the data of one event.

        Raises
        ------
        UpstreamInvalidResponseError
            If it is none of the dialect.
        """

    def _read(self, whole: bytes, events: list[bytes]) -> Chunk | None:
        found = Found()
        passed = whole
        try:
            for event in events:
                data = _data_of(event)
                if not data:
                    continue
                self._take(data, found)
                if self.error is not None:
                    # What came before it is the client's; the error itself is told as one.
                    passed = whole[: whole.index(event)] if event in whole else b""
                    break
        except UpstreamInvalidResponseError as error:
            self.error, passed = error, b""
        if not passed:
            return None
        headers, self._headers = self._headers, ()
        return Chunk(
            data=passed,
            has_content=found.has_content,
            usage=found.usage,
            content_events=found.content_events,
            content_chars=found.content_chars,
            response_model=found.model,
            finish_reason=found.finish_reason,
            headers=headers,
            dialect=self._dialect,
        )


def _data_of(event: bytes) -> bytes:
    """Return the data of an event; empty of a comment, or of what has none."""
    name, _, data = event.partition(b"\ndata: ")
    if b"\n" not in data and b"\r" not in event and b"\n" not in name and data:
        return data  # as nearly all come: a line of its name, and one of its data
    lines = [line for line in event.splitlines() if line.startswith(b"data:")]
    return b"\n".join(line[5:].removeprefix(b" ") for line in lines)
