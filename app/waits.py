"""What is told of requests that wait in a queue."""

from enum import StrEnum

GATEWAY_QUEUE = "gateway"
"""What the queue for the gateway's places is called; others are called by their model."""


class WaitEnded(StrEnum):
    """How a wait in a queue ended."""

    SERVED = "served"
    TIMEOUT = "timeout"
    DISPLACED = "displaced"
    """It had to make room for who has fewer requests waiting, or is more urgent."""
    LEFT = "left"
    """Its client went away, or another model answered."""
