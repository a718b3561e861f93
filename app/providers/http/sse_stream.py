"""What reads a streamed answer of server-sent events, whatever they mean."""

from abc import ABC, abstractmethod
from typing import ClassVar

from app.errors import UpstreamError, UpstreamInvalidResponseError
from app.providers.base import Chunk
from app.providers.http.sse import SseParser


class SseStream(ABC):
    """Parses what an upstream sends; a dialect says what the events mean.

    After each `feed`, `done` says whether the answer has ended and `error` whether the stream
    failed; what came before the failure is in the chunk that was returned.

    Parameters
    ----------
    max_event_bytes
        The size at which an event is refused.
    """

    __slots__ = ("_parser", "done", "error")

    last_words: ClassVar[bytes | None] = None
    """What stands in a last event that may lack its line end, in dialects without `[DONE]`."""

    def __init__(self, max_event_bytes: int) -> None:
        self._parser = SseParser(max_event_bytes=max_event_bytes)
        self.done = False
        self.error: UpstreamError | None = None

    @property
    def pending_bytes(self) -> int:
        """How much is kept of an event whose end has not come yet."""
        return self._parser.pending_bytes

    def feed(self, data: bytes) -> Chunk | None:
        """Return what one read brought; None when that was nothing whole."""
        try:
            events = self._parser.feed(data)
        except UpstreamInvalidResponseError as error:
            self.error = error
            return None
        return self._chunk(events, data if self._parser.canonical else None)

    def close(self) -> Chunk | None:
        """Take the end of the connection: fine only after the end of the answer."""
        return self._chunk(self._parser.close(self.last_words), None)

    @abstractmethod
    def _chunk(self, events: list[bytes], as_it_came: bytes | None) -> Chunk | None:
        """Return what some events come to.

        Parameters
        ----------
        as_it_came
            The bytes that they were read from, where these may be passed on as they are.
        """
