"""Whether the process has as much to do as it can: how late its loop is, how full its memory."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

_TICK_S = 0.25
_STATM = Path("/proc/self/statm")
_PAGE_BYTES = 4096


@dataclass(slots=True, kw_only=True)
class LoadWatch:
    """Watch how late the event loop is and how much memory the process holds.

    Parameters
    ----------
    max_lag_s
        From this lag on, new requests are turned away.
    max_rss_bytes
        From this resident size on, likewise; None never.
    on_sample
        Told of lag in seconds and resident bytes, a few times a second.
    """

    max_lag_s: float
    max_rss_bytes: int | None = None
    on_sample: Callable[[float, int], None] = lambda _lag, _rss: None
    clock: Callable[[], float] = time.monotonic
    lag_s: float = field(default=0.0, init=False)
    rss_bytes: int = field(default=0, init=False)

    def overloaded(self) -> str | None:
        """Say what is too much, or None."""
        if self.lag_s >= self.max_lag_s:
            return "its event loop lags"
        if self.max_rss_bytes is not None and self.rss_bytes >= self.max_rss_bytes:
            return "its memory is full"
        return None

    async def run(self) -> None:
        """Sample until cancelled."""
        while True:
            due = self.clock() + _TICK_S
            await asyncio.sleep(_TICK_S)
            self.sample(max(self.clock() - due, 0.0), resident_bytes())

    def sample(self, lag_s: float, rss_bytes: int) -> None:
        """Take note of one sample; a single late tick is half forgotten by the next."""
        self.lag_s = max(lag_s, self.lag_s / 2 if self.lag_s > 1e-6 else 0.0)
        self.rss_bytes = rss_bytes
        self.on_sample(lag_s, rss_bytes)


def resident_bytes() -> int:
    """Return the resident size of this process; 0 where the system does not tell."""
    try:
        return int(_STATM.read_text().split()[1]) * _PAGE_BYTES
    except (OSError, ValueError, IndexError):
        return 0
