"""Writes the log from a thread of its own: whoever logs never waits for whoever reads.

Standard error is often a pipe. One that nobody reads is full after 64 KiB, and a write to it then
blocks until somebody does; a disk may be full, a terminal gone. Lines that cannot be written in
time are dropped and counted, and the log says how many as soon as it can.
"""

import contextlib
import io
import os
import queue
import select
import threading
from collections.abc import Callable
from typing import TextIO

MAX_WAITING = 2_000
"""Entries, each of up to a batch of lines; beyond them lines are dropped."""

_WRITTEN_AT_ONCE = 64
_LOOK_AGAIN_S = 1.0
FLUSH_S = 1.0
"""How long the end of a process may wait for what is still to be written."""

Text = Callable[[], str]
"""Makes the lines of an entry; called in the thread of the writer."""


class LogWriter:
    """Write to a stream what is put, in order.

    Parameters
    ----------
    stream
        Where it has a descriptor, a copy of that is written to: nobody else's file gets the log
        when the stream is closed, and no lock of the stream is held when the process ends.
    told
        Makes the line that says how many were dropped.
    """

    def __init__(self, stream: TextIO | None, *, told: Callable[[int], str]) -> None:
        self._stream = stream
        self._told = told
        self._fd: int | None = None
        if stream is not None:
            with contextlib.suppress(OSError, ValueError, io.UnsupportedOperation):
                self._fd = os.dup(stream.fileno())
        # Its `put` may be called by a signal's handler while it is being called.
        self._waiting: queue.SimpleQueue[tuple[Text, int] | threading.Event | None] = (
            queue.SimpleQueue()
        )
        self._pid = 0
        self._lock = threading.RLock()
        self._untold = 0
        self._torn = False
        self.dropped_lines = 0

    def put(self, text: Text, *, n_lines: int) -> None:
        """Have lines written, or drop them; never waits."""
        if self._waiting.qsize() >= MAX_WAITING:
            self._drop(n_lines)
            return
        self._start()
        self._waiting.put((text, n_lines))

    def flush(self, *, timeout_s: float = FLUSH_S) -> bool:
        """Wait a moment until what was put is written; return whether it is."""
        if self._pid != os.getpid():
            return True
        written = threading.Event()
        self._waiting.put(written)
        return written.wait(timeout_s)

    def close(self) -> None:
        """Write what was put as far as that takes no longer than a moment, and end."""
        if self.flush() and self._pid == os.getpid():
            self._waiting.put(None)

    def _start(self) -> None:
        """Start the thread: at the first line, and again in a process that was forked."""
        if self._pid == os.getpid():
            return
        with self._lock:
            if self._pid != os.getpid():
                if self._pid:
                    self._waiting = queue.SimpleQueue()
                self._pid = os.getpid()
                threading.Thread(target=self._run, name="steelyard-log", daemon=True).start()

    def _drop(self, n_lines: int) -> None:
        with self._lock:
            self.dropped_lines += n_lines
            self._untold += n_lines

    # --- in the thread ------------------------------------------------------------------------

    def _run(self) -> None:
        waiting = self._waiting
        while True:
            entry = waiting.get()
            lines, n_lines = [], 0
            while isinstance(entry, tuple):
                made = self._made(*entry)
                if made:
                    lines.append(made)
                    n_lines += entry[1]
                if len(lines) == _WRITTEN_AT_ONCE or waiting.empty():
                    break
                entry = waiting.get()
            if lines:
                self._write("".join(lines), n_lines)
            if isinstance(entry, threading.Event):
                entry.set()
            elif entry is None:
                self._end()
                return

    def _end(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
        self._stream = self._fd = None

    def _made(self, text: Text, n_lines: int) -> str:
        try:
            return text()
        except Exception:  # noqa: BLE001  (what somebody logs may be unprintable: the others go on)
            self._drop(n_lines)
            return ""

    def _write(self, text: str, n_lines: int) -> None:
        with self._lock:
            untold, self._untold = self._untold, 0
        if untold:
            text = self._told(untold) + text
        try:
            self._write_all(text)
        except (OSError, ValueError):  # nobody reads, the disk is full, the stream is closed
            with self._lock:
                self._untold += untold
            self._drop(n_lines)

    def _write_all(self, text: str) -> None:
        if self._fd is None:
            if self._stream is None:
                raise OSError("there is nowhere to write to")
            self._stream.write(text)
            self._stream.flush()
            return
        # A line that was cut off when the last write failed ends here.
        left = memoryview(("\n" * self._torn + text).encode("utf-8", "backslashreplace"))
        while left:
            try:
                written = os.write(self._fd, left)
            except BlockingIOError:  # somebody made the pipe we share non-blocking
                select.select((), (self._fd,), (), _LOOK_AGAIN_S)
                continue
            self._torn = left[written - 1] != ord("\n")
            left = left[written:]
