"""A thread that writes what the event loop leaves behind, every so often and at the end.

No item keeps others from being written: one that cannot be is found, dropped and told. And no
exception ends the writing: a thread that dies nevertheless is followed by another one.
"""

import logging
import sqlite3
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

_OF_VALUES = (
    sqlite3.DataError,
    sqlite3.IntegrityError,
    sqlite3.InterfaceError,
    sqlite3.NotSupportedError,
)


def blames_value(error: Exception) -> bool:
    """Return whether SQLite failed because of a value, not because of its place or state."""
    if isinstance(error, sqlite3.ProgrammingError):
        return "binding parameter" in str(error)
    if isinstance(error, sqlite3.Error):
        return isinstance(error, _OF_VALUES)
    return not isinstance(error, OSError | MemoryError)


class Flusher:
    """Call `flush` in a thread of its own every `interval_s` and once more when closed.

    `flush` must keep what it could not write.

    Parameters
    ----------
    errors
        Those whose text may be told to whoever asks whether all is well.
    on_restart
        Told the name of a thread that died and was followed by another one.
    """

    def __init__(
        self,
        flush: Callable[[], None],
        *,
        name: str,
        interval_s: float,
        errors: tuple[type[Exception], ...] = (sqlite3.Error,),
        on_restart: Callable[[str], None] = lambda _name: None,
    ) -> None:
        self._errors = errors
        self._flush = flush
        self._name = name
        self._interval_s = interval_s
        self._on_restart = on_restart
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._reviving = threading.Lock()
        self._ended = False
        self.problem: str | None = None
        """Why nothing is written at the moment, in a few words."""

    @property
    def healthy(self) -> bool:
        """Whether the last flush worked."""
        return self.problem is None

    def start(self) -> None:
        """Start the thread."""
        thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        thread.start()
        self._thread = thread

    def check(self) -> None:
        """Start another thread if the one that writes is gone, however that came about."""
        thread = self._thread
        if thread is not None and not thread.is_alive():
            self._follow(thread)

    def close(self) -> None:
        """Flush for the last time; blocks until it is done."""
        self._stop.set()
        with self._reviving:
            thread, self._thread = self._thread, None
        if thread is None:
            return
        thread.join()
        if not self._ended:
            self._try()

    def _run(self) -> None:
        try:
            while not self._stop.wait(self._interval_s):
                self._try()
            self._try()
            self._ended = True
        except BaseException as error:  # noqa: BLE001  (nobody waits for this thread)
            self.problem = f"its thread died ({type(error).__name__})"
            _log.critical("%s died; another thread goes on", self._name, exc_info=error)
            self._follow(threading.current_thread())

    def _follow(self, dead: threading.Thread) -> None:
        with self._reviving:
            if self._thread is dead and not self._stop.is_set():
                self.problem = self.problem or "its thread died"
                self.start()
                self._on_restart(self._name)

    def _try(self) -> None:
        try:
            self._flush()
        except Exception as error:  # noqa: BLE001  (whatever it is, later ones must be written)
            if self.problem is None:
                _log.exception("%s cannot write and will try again: %s", self._name, error)
            told = str(error) if isinstance(error, self._errors) else type(error).__name__
            self.problem = f"cannot write: {told}"
        else:
            if self.problem is not None:
                _log.warning("%s writes again", self._name)
            self.problem = None


def write_isolated(
    items: Sequence[_T],
    write: Callable[[Sequence[_T]], None],
    *,
    blames_item: Callable[[Exception], bool],
    written: Callable[[Sequence[_T]], None],
    lost: Callable[[_T, Exception], None],
) -> None:
    """Write items together; where one of them cannot be written, find it and write the others.

    Parameters
    ----------
    write
        Writes all of what it is given, or nothing.
    blames_item
        Whether what it raised is due to an item; else nothing can be written at the moment.
    written, lost
        Notified of items that are done with.

    Raises
    ------
    Exception
        What no item is to be blamed for; what was not told of before is still to be written.
    """
    try:
        write(items)
    except Exception as error:  # what it is says `blames_item`, which knows the sink
        if not blames_item(error):
            raise
        if len(items) == 1:
            lost(items[0], error)
            return
        middle = len(items) // 2
        for half in (items[:middle], items[middle:]):
            write_isolated(half, write, blames_item=blames_item, written=written, lost=lost)
    else:
        written(items)
