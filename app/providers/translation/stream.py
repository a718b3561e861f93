"""What reads a streamed answer of server-sent events and tells it in OpenAI's."""

from abc import abstractmethod

from app.errors import UpstreamInvalidResponseError
from app.providers.base import Chunk
from app.providers.http.sse import Comment
from app.providers.http.sse_stream import SseStream
from app.providers.translation.answers import ChatEvents


class TranslatedStream(SseStream):
    """Parses what an upstream sends; a dialect says it in `ChatEvents`.

    Parameters
    ----------
    events
        Where the answer is told.
    max_event_bytes
        The size at which an event is refused.
    """

    def __init__(self, events: ChatEvents, *, max_event_bytes: int) -> None:
        super().__init__(max_event_bytes)
        self._events = events

    @abstractmethod
    def _take(self, data: bytes) -> None:
        """Say what one event says.

        Raises
        ------
        UpstreamInvalidResponseError
            If it is none of the dialect.
        """

    def _chunk(self, events: list[bytes], as_it_came: bytes | None) -> Chunk | None:  # noqa: ARG002
        self._read(events)
        return self._events.take()

    def _read(self, events: list[bytes]) -> None:
        try:
            for event in events:
                if type(event) is Comment:
                    self._events.comment(event)
                elif event:
                    self._take(event)
                if self.done or self.error is not None:
                    break
        except UpstreamInvalidResponseError as error:
            self.error = error
