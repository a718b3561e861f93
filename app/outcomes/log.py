"""The outcome log: one row per request, appended by every process, for training and accounting.

What is recorded waits in a bounded buffer; a thread turns it into rows and writes them, so that
the event loop neither serialises nor waits for a disk. What does not fit is dropped and counted. A
crash loses what waited: the last quarter of a second.
"""

import asyncio
import logging
import math
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Generic, Protocol, TypeVar

from app.concurrency.flusher import Flusher, write_isolated
from app.outcomes.rows import (
    ContentRow,
    Decided,
    Label,
    Labelled,
    OutcomeRow,
    Row,
    storable,
)

_log = logging.getLogger(__name__)

DEFAULT_CAPACITY = 10_000
MAX_TEXT_BYTES = 64_000_000
"""Of texts that wait to be written, together."""
FLUSH_INTERVAL_S = 0.25
PURGE_INTERVAL_S = 60.0
MAX_LABEL_CHANGES = 10
"""How often a label may become another one."""

_BATCH = 2_000
_MOST = 2**62

_T = TypeVar("_T")


class Sink(Protocol):
    """Where rows go; every method blocks, and is called by one thread at a time."""

    errors: tuple[type[Exception], ...]
    """What writing raises while the sink cannot be used; nothing has then been written, or it may
    be written once more without being there twice."""

    def open(self) -> None:
        """Connect, create what is missing.

        Raises
        ------
        ConfigError
            If the place can never work.
        """
        ...

    def write(self, rows: Sequence[Row]) -> None:
        """Append rows; one that is there already is left as it is."""
        ...

    def blames_row(self, error: Exception) -> bool:
        """Return whether writing failed because of a row, and others can be written."""
        ...

    def find(self, decision_id: str) -> Decided | None:
        """Return what is known of a decision."""
        ...

    def label(self, label: Label, *, max_changes: int) -> Labelled:
        """Keep what somebody thought; atomic."""
        ...

    def purge(self) -> bool:
        """Delete a part of what is over; return whether there is more."""
        ...

    def close(self) -> None:
        """Let go."""
        ...


class OutcomeLog(Generic[_T]):
    """Buffer what is recorded and have a thread write it.

    Parameters
    ----------
    encode
        Turns what was recorded into rows; runs in the thread. What it fails on is dropped.
    capacity
        How much may wait to be written.
    max_text_bytes
        How many bytes of texts may wait to be written.
    on_drop
        Notified of everything that is lost.
    on_restart
        Notified of the thread, should it die and be followed by another one.
    """

    def __init__(
        self,
        sink: Sink,
        encode: Callable[[_T], Iterable[Row]],
        *,
        capacity: int = DEFAULT_CAPACITY,
        max_text_bytes: int = MAX_TEXT_BYTES,
        on_drop: Callable[[int], None] = lambda _n: None,
        on_restart: Callable[[str], None] = lambda _name: None,
    ) -> None:
        self._sink = sink
        self._encode = encode
        self._capacity = capacity
        self._max_text_bytes = max_text_bytes
        self._on_drop = on_drop
        self._items: deque[tuple[_T, int]] = deque()
        self._pending: list[Row] = []
        self._n_encoded = 0
        # Each is written by one thread only.
        self._bytes_in = 0
        self._bytes_out = 0
        self._dropped = 0
        self._lost = 0
        self._purge_at = 0.0
        self._using = threading.Lock()
        self._is_open = False
        self._failing = False
        self._flusher = Flusher(
            self._flush,
            name="steelyard-outcomes",
            interval_s=FLUSH_INTERVAL_S,
            errors=(sqlite3.Error, *sink.errors),
            on_restart=on_restart,
        )

    @property
    def dropped(self) -> int:
        """How much was lost since the start, because too much waited or it could not be written."""
        return self._dropped + self._lost

    @property
    def problem(self) -> str | None:
        """Why nothing is written at the moment, None where all is well."""
        self._flusher.check()
        return self._flusher.problem

    @property
    def healthy(self) -> bool:
        """Whether the last write succeeded."""
        return self.problem is None

    async def open(self) -> None:
        """Open the sink and start writing.

        Raises
        ------
        ConfigError
            If it cannot be used.
        """
        await asyncio.to_thread(self._open)

    def has_room_for(self, n_bytes: int) -> bool:
        """Return whether texts of this size may wait to be written."""
        return self._bytes_in - self._bytes_out + n_bytes <= self._max_text_bytes

    def record(self, item: _T, *, text_bytes: int = 0) -> None:
        """Leave something to be written; never waits."""
        if len(self._items) + self._n_encoded >= self._capacity:
            self._dropped += 1
            self._on_drop(1)
            return
        self._bytes_in += text_bytes
        self._items.append((item, text_bytes))

    async def find(self, decision_id: str) -> Decided | None:
        """Return what is known of a decision, this process' latest ones included.

        Raises
        ------
        sqlite3.Error, or one of the sink's `errors`
        """
        return await asyncio.to_thread(self._find, decision_id)

    async def label(self, label: Label) -> Labelled:
        """Keep what somebody thought of a decision; returns when it is written.

        Raises
        ------
        sqlite3.Error, or one of the sink's `errors`
        """
        return await asyncio.to_thread(self._label, label)

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """What `find` and `label` raise while the sink cannot be used."""
        return (sqlite3.Error, *self._sink.errors)

    async def aclose(self) -> None:
        """Write what waits and close the sink."""
        await asyncio.to_thread(self._close)

    def _open(self) -> None:
        self._sink.open()
        self._is_open = True
        self._flusher.start()

    def _close(self) -> None:
        self._flusher.close()
        if self._is_open:
            lost = len(self._items) + self._n_encoded
            if lost:
                self._lost += lost
                self._on_drop(lost)
            self._items.clear()
            self._pending, self._n_encoded = [], 0
            self._sink.close()
            self._is_open = False

    def _find(self, decision_id: str) -> Decided | None:
        self._flush()
        with self._using:
            return self._sink.find(decision_id)

    def _label(self, label: Label) -> Labelled:
        with self._using:
            return self._sink.label(label, max_changes=MAX_LABEL_CHANGES)

    def _flush(self) -> None:
        with self._using:
            if not self._is_open:
                return
            while self._items or self._pending:
                if not self._pending:
                    self._encode_some()
                self._write()
            now = time.monotonic()
            if now >= self._purge_at and not self._sink.purge():
                self._purge_at = now + PURGE_INTERVAL_S

    def _encode_some(self) -> None:
        """Turn the oldest items into rows; the event loop appends at the other end."""
        for _ in range(min(len(self._items), _BATCH)):
            item, text_bytes = self._items.popleft()
            self._n_encoded += 1
            try:
                self._pending.extend(map(_readable, self._encode(item)))
            except Exception as error:  # noqa: BLE001  (it is logged, and the rest goes on)
                self._lose(error)
            self._bytes_out += text_bytes

    def _write(self) -> None:
        """Write what was encoded; one row that cannot be must not keep all others from it."""
        left = self._pending
        done: set[int] = set()

        def written(rows: Sequence[Row]) -> None:
            done.update(map(id, rows))

        def lost(row: Row, error: Exception) -> None:
            try:
                # Rather with another value than not at all; texts are all or nothing.
                if isinstance(row, OutcomeRow):
                    self._sink.write([storable(row)])
                else:
                    self._lose(error)
            except Exception as again:
                if not self._sink.blames_row(again):
                    raise
                self._lose(again)
            written([row])

        try:
            write_isolated(
                left,
                self._sink.write,
                blames_item=self._sink.blames_row,
                written=written,
                lost=lost,
            )
        finally:
            if done or not left:
                self._pending = [row for row in left if id(row) not in done]
                self._n_encoded = len(self._pending)

    def _lose(self, error: Exception) -> None:
        if not self._failing:
            _log.error(
                "an outcome cannot be written; further ones are only counted", exc_info=error
            )
        self._failing = True
        self._lost += 1
        self._on_drop(1)


def _readable(row: Row) -> Row:
    """Return a row that can be read again wherever it goes.

    As JSON, a time that is no number would be none; a table of whole numbers has 64 bits for each.
    """
    if isinstance(row, ContentRow):
        return row
    try:
        times = row.time + row.decide_s + row.overhead_s + row.duration_s
        counts = (
            (row.input_tokens or 0)
            + (row.cached_input_tokens or 0)
            + (row.cache_write_tokens or 0)
            + (row.output_tokens or 0)
            + (row.reasoning_tokens or 0)
            + (row.cost_nusd or 0)
            + (row.predicted_cost_nusd or 0)
        )
        fits = math.isfinite(times) and -_MOST < counts < _MOST
    except (TypeError, OverflowError):
        fits = False
    return row if fits else storable(row)
