"""A thread that writes what the event loop leaves behind, every so often and at the end."""

import logging
import sqlite3
import threading
from collections.abc import Callable

_log = logging.getLogger(__name__)


class Flusher:
    """Call `flush` in a thread of its own every `interval_s` and once more when closed.

    An error of `errors` is logged once until it is over; `flush` must keep what it could not
    write.
    """

    def __init__(
        self,
        flush: Callable[[], None],
        *,
        name: str,
        interval_s: float,
        errors: tuple[type[Exception], ...] = (sqlite3.Error,),
    ) -> None:
        self._errors = errors
        self._flush = flush
        self._name = name
        self._interval_s = interval_s
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.healthy = True

    def start(self) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Flush for the last time; blocks until it is done."""
        if self._thread is not None:
            self._stop.set()
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        while not self._stop.wait(self._interval_s):
            self._try()
        self._try()

    def _try(self) -> None:
        try:
            self._flush()
        except self._errors as error:
            if self.healthy:
                _log.exception("%s cannot write and will try again: %s", self._name, error)
            self.healthy = False
        else:
            if not self.healthy:
                _log.warning("%s writes again", self._name)
            self.healthy = True
