"""What reads a streamed answer, whatever its dialect."""

from typing import Protocol

from app.errors import UpstreamError
from app.providers.base import Chunk


class AnswerStream(Protocol):
    """Parses one streamed answer; see `app.providers.chat.stream.ChatStream`."""

    done: bool
    error: UpstreamError | None

    @property
    def pending_bytes(self) -> int:
        """How much is kept of an event whose end has not come yet."""

    def feed(self, data: bytes) -> Chunk | None:
        """Return what one read brought; None when that was nothing whole."""

    def close(self) -> Chunk | None:
        """Take the end of the connection; return what that completes."""
