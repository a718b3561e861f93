"""The beginning of an answer, by reference, for whoever looks at it after the request."""

import msgspec

from app.gateway.request import RouteRequest
from app.paths import CHAT_COMPLETIONS
from app.providers.base import Chunk
from routers.models import Capability

BEGINNING_BYTES = 3_000
"""Some twelve events of a stream: enough to see whether an answer declines to answer."""
WHOLE_BYTES = 64_000
"""Of an answer that has to be read whole."""


class Excerpt(msgspec.Struct, kw_only=True, eq=False):
    """Pieces of an answer.

    Attributes
    ----------
    room_bytes
        How much is still kept.
    is_whole
        Whether nothing was left out.
    """

    room_bytes: int = BEGINNING_BYTES
    streamed: bool = False
    pieces: list[bytes] = msgspec.field(default_factory=list)
    dialect: str = CHAT_COMPLETIONS
    is_whole: bool = True

    def saw(self, chunk: Chunk) -> bool:
        """Keep what a chunk brings; return whether there is no more room."""
        if chunk.data:
            self.pieces.append(chunk.data)
            self.dialect = chunk.dialect
            self.room_bytes -= len(chunk.data)
            if self.room_bytes < 0:
                self.is_whole = False
                return True
        return False


def excerpt_of(request: RouteRequest) -> Excerpt:
    """Return what an answer's beginning is kept in; all of it where it may have to hold JSON."""
    if Capability.TOOLS in request.demand.capabilities or "response_format" in request.fields:
        return Excerpt(streamed=request.stream, room_bytes=WHOLE_BYTES)
    return Excerpt(streamed=request.stream)
