"""A sign of life during long steps."""

import threading
import time
from collections.abc import Callable

EVERY_S = 30.0


class Ticker:
    """Say again and again what is being done, and for how long, until it is stopped."""

    def __init__(
        self, line: str, *, say: Callable[[str], object], every_s: float = EVERY_S
    ) -> None:
        self._line = line
        self._say = say
        self._every_s = every_s
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ticker", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Say nothing from now on."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        began = time.monotonic()
        while not self._stopped.wait(self._every_s):
            self._say(f"  still {self._line} ({time.monotonic() - began:.0f} s)")
