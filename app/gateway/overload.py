"""How much may go on at once, and what happens to the rest: it is told so at once."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from app.errors import OverloadedError

_TICK_S = 0.25
_STATM = Path("/proc/self/statm")
_PAGE_BYTES = 4096


@dataclass(slots=True, kw_only=True)
class Places:
    """A bounded number of requests at once, and a bounded queue before them.

    Parameters
    ----------
    max_running
        Requests that are handled at once, their streams included.
    max_waiting
        Requests that wait for a place; more are turned away at once.
    max_wait_s
        How long one may wait.
    overloaded
        Says why nothing more should come in, or None.
    """

    max_running: int
    max_waiting: int
    max_wait_s: float
    overloaded: Callable[[], str | None] = lambda: None
    running: int = field(default=0, init=False)
    _waiting: deque[asyncio.Future[None]] = field(default_factory=deque, init=False)

    @property
    def waiting(self) -> int:
        """How many wait at the moment."""
        return len(self._waiting)

    def check(self) -> None:
        """Turn away what cannot be handled anyway, before anything is done for it.

        Raises
        ------
        OverloadedError
        """
        why = self.overloaded()
        if why is not None:
            raise OverloadedError(f"the gateway is overloaded ({why}); try again")
        if self.running >= self.max_running and len(self._waiting) >= self.max_waiting:
            raise OverloadedError(
                f"the gateway handles {self.running} requests and {self.waiting} wait; try again"
            )

    async def enter(self) -> None:
        """Take a place; it has to be given back by `leave`.

        Raises
        ------
        OverloadedError
            If there is none, and no room to wait for one, or not in time.
        """
        self.check()
        if self.running < self.max_running:
            self.running += 1
            return
        place = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            async with asyncio.timeout(self.max_wait_s):
                await place
        except BaseException as error:
            if place.done() and not place.cancelled():
                self.leave()  # handed over in the very moment of giving up
            elif place in self._waiting:
                self._waiting.remove(place)
            if isinstance(error, TimeoutError):
                raise OverloadedError(
                    f"no place became free within {self.max_wait_s:g} s; try again"
                ) from error
            raise

    def leave(self) -> None:
        """Give a place back: to whoever has waited longest, if anybody does."""
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                return
        self.running -= 1


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
