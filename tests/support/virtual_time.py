"""An event loop whose clock stands still while anything is to be done, however busy the machine."""

import asyncio
import selectors
from typing import Any


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Let time pass only where all wait for it: then the next timer is due at once.

    What is fast is in time, and what hangs is late, on whatever machine. Not for tests with sockets
    or threads: their work takes no time of this clock, so that all timers go off before it is done.
    """

    def __init__(self) -> None:
        self._now = 1_000.0
        super().__init__(_Idle(self))

    def time(self) -> float:
        """Return the seconds of this loop."""
        return self._now

    def pass_time(self, seconds: float) -> None:
        """Let time pass, as where something kept the loop busy."""
        self._now += seconds


class _Idle(selectors.DefaultSelector):  # type: ignore[misc, valid-type]
    """Waits for events, but never for time."""

    def __init__(self, loop: VirtualTimeLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            return super().select(None)
        events = super().select(0)
        if not events:
            self._loop.pass_time(max(timeout, 0.0))
        return events
