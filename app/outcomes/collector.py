"""`steelyard collect`: the decision log, from Redis to files."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from app.outcomes.old_rows import StoredRow
from app.outcomes.parquet import forget, write_rows
from app.outcomes.redis import Names
from app.outcomes.rows import ContentRow, Label

_log = logging.getLogger(__name__)

GROUP = "collect"
CLAIM_AFTER_S = 60.0
"""When what another collector took and did not finish is taken over."""
FORGET_INTERVAL_S = 3600.0

_BATCH = 5_000
_TYPES: dict[bytes, tuple[str, type]] = {
    b"outcome": ("outcomes", StoredRow),
    b"label": ("labels", Label),
    b"content": ("contents", ContentRow),
}

_Entries = list[tuple[bytes, dict[bytes, bytes]]]


@dataclass(slots=True, kw_only=True)
class Collector:
    """Empty the streams into files; several may do so at once.

    An entry is deleted from Redis once its file is on the disk, never before: a collector that
    dies leaves it to the next one. Nothing is lost by that, some rows may be written twice.

    Parameters
    ----------
    client
        Of Redis, synchronous.
    consumer
        Its name among others; after a restart, the same one goes on with what it had taken.
    block_s
        How long it waits for something new.
    """

    client: Any
    names: Names
    out: Path
    consumer: str
    keep_days: float
    block_s: float = 1.0
    claim_after_s: float = CLAIM_AFTER_S
    clock: Callable[[], float] = time.monotonic
    n_rows: int = 0
    n_unreadable: int = 0
    _forget_at: float = 0.0

    def open(self) -> None:
        """Make sure that the streams and the group exist."""
        import redis  # noqa: PLC0415

        for stream in self._streams:
            try:
                self.client.xgroup_create(stream, GROUP, id="0", mkstream=True)
            except redis.ResponseError as error:
                if "BUSYGROUP" not in str(error):
                    raise

    def catch_up(self) -> int:
        """Write everything that is there; return how many rows that was."""
        before = self.n_rows
        for stream in self._streams:
            while entries := self._taken_before(stream) or self._given_up(stream):
                self._write(stream, entries)
            while entries := self._new(stream, block=False):
                self._write(stream, entries)
        now = self.clock()
        if now >= self._forget_at:
            for gone in forget(self.out, keep_days=self.keep_days):
                _log.info("deleted %s, whose time is over", gone)
            self._forget_at = now + FORGET_INTERVAL_S
        return self.n_rows - before

    def run(self, *, stopped: Callable[[], bool]) -> None:
        """Go on until `stopped`."""
        while not stopped():
            self.catch_up()
            entries = self._new(self.names.outcomes, block=True)
            if entries:
                self._write(self.names.outcomes, entries)

    @property
    def _streams(self) -> tuple[str, str]:
        return self.names.contents, self.names.outcomes

    def _taken_before(self, stream: str) -> _Entries:
        """Return what this consumer took before and did not finish."""
        return self._read(stream, "0", block_ms=None)

    def _given_up(self, stream: str) -> _Entries:
        """Return what others took and did not finish."""
        claimed = self.client.xautoclaim(
            stream,
            GROUP,
            self.consumer,
            min_idle_time=round(self.claim_after_s * 1e3),
            count=_BATCH,
        )
        return [entry for entry in claimed[1] if entry[1] is not None]

    def _new(self, stream: str, *, block: bool) -> _Entries:
        return self._read(stream, ">", block_ms=round(self.block_s * 1e3) if block else None)

    def _read(self, stream: str, start: str, *, block_ms: int | None) -> _Entries:
        found = self.client.xreadgroup(
            GROUP, self.consumer, {stream: start}, count=_BATCH, block=block_ms
        )
        entries: _Entries = found[0][1] if found else []
        return entries

    def _write(self, stream: str, entries: _Entries) -> None:
        rows: dict[str, list[Any]] = {}
        for entry_id, fields in entries:
            for name, data in (fields or {}).items():
                kind, row_type = _TYPES.get(name, ("", object))
                try:
                    rows.setdefault(kind, []).append(msgspec.json.decode(data, type=row_type))
                except msgspec.DecodeError:
                    # Of another release; it would stand in the way of all others forever.
                    self.n_unreadable += 1
                    _log.warning("entry %s cannot be read and is skipped", entry_id.decode())
        first, last = (entries[i][0].decode() for i in (0, -1))
        for kind, found in rows.items():
            if kind:
                current = [
                    each.current() if isinstance(each, StoredRow) else each for each in found
                ]
                self.n_rows += write_rows(self.out, kind, current, name=f"{first}_{last}")
        ids = [entry_id for entry_id, _ in entries]
        pipe = self.client.pipeline(transaction=False)
        pipe.xack(stream, GROUP, *ids)
        pipe.xdel(stream, *ids)
        pipe.execute()
