"""The time of the store that batches are kept in, which all processes that work at them go by."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from app.stores.jobs import Jobs


@dataclass(slots=True, kw_only=True)
class StoreClock:
    """Tells seconds since the epoch as the store does, so that no process's own clock matters.

    Parameters
    ----------
    clock
        Seconds that no change of the time of day moves; goes on from what the store said last.
    wall
        Seconds since the epoch, by which it goes until the store said something.
    """

    jobs: Jobs
    clock: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    _ahead_s: float | None = None
    """Of `clock`."""

    async def set(self) -> float:
        """Ask the store, and return its time.

        Raises
        ------
        StoreError
        """
        now = await self.jobs.now()
        # An answer that was long on its way makes it slow by that, never fast.
        self._ahead_s = now - self.clock()
        return now

    def __call__(self) -> float:
        """Return the time."""
        return self.wall() if self._ahead_s is None else self.clock() + self._ahead_s
