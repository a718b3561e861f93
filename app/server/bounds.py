"""What one connection may take: of the gateway's memory, of its time, of the other clients'."""

from dataclasses import dataclass
from typing import Self

from app.config import ServerConfig
from app.errors import GatewayError, HeadTooLargeError

MAX_HEAD_BYTES = 65_536
"""Of the request line, the headers and the trailers together; about what other servers allow."""

MAX_HEADERS = 200

MAX_DROPPED_BYTES = 12_000_000
"""How much of what is not parsed any more is still taken from a client: many that send a body that
is somewhat too large read the answer only once all of it is gone."""

FREE_PARTS = 10_000
LEAST_PART_BYTES = 32
"""What the pieces of a body hold on average, beyond the first ones; smaller ones are all work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """What a connection may take.

    Attributes
    ----------
    head_timeout_s, body_timeout_s
        How long the head and the body of a request may take to arrive.
    keep_alive_s
        How long a connection stays open between requests.
    max_connections
        How many there may be in this process; further ones are turned away.
    linger_s
        How long a client that was answered early may go on sending, so that it reads the answer.
    stalled_s
        How long a client may take not a single byte of an answer that waits for it.
    """

    head_timeout_s: float = 10.0
    body_timeout_s: float = 60.0
    keep_alive_s: float = 620.0
    max_connections: int = 8_000
    linger_s: float = 5.0
    stalled_s: float = 30.0

    @classmethod
    def of(cls, server: ServerConfig) -> Self:
        """Return what a configuration allows."""
        return cls(
            head_timeout_s=server.head_timeout_s,
            body_timeout_s=server.body_timeout_s,
            keep_alive_s=server.keep_alive_s,
            max_connections=server.max_connections,
        )


def head_too_large() -> GatewayError:
    """Return how a head beyond these bounds is refused."""
    return HeadTooLargeError(
        f"the head of the request exceeds {MAX_HEAD_BYTES} bytes or {MAX_HEADERS} headers"
    )
