"""The outcome log: one row per request, appended by every process, for training and accounting.

Rows wait in a bounded queue and are written by a thread; the event loop never waits for the disk.
What does not fit is dropped and counted. A crash loses the rows of the last moments. Texts are kept
only where the operator opted in, in a table of their own and until a time of their own.
"""

import asyncio
import dataclasses
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from app.stores._flusher import Flusher
from app.stores.sqlite import connect

OUTCOMES_NAME = "outcomes.sqlite3"
DEFAULT_CAPACITY = 10_000
FLUSH_INTERVAL_S = 0.25
PURGE_INTERVAL_S = 60.0

_PURGE_ROWS = 10_000
_SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeRow:
    """What is kept of one request; money in billionths of a US dollar, times in seconds.

    Attributes
    ----------
    time
        When it ended, in seconds since the epoch.
    input_tokens, cached_input_tokens, output_tokens, reasoning_tokens
        Cached ones are among the input tokens, reasoning ones among the output tokens.
    estimated
        Whether the token counts are ours, because the upstream told none.
    cost_nusd
        None where the price is not known, which is not zero.
    predicted_quality, predicted_cost_nusd
        Of the model that was picked, at the time of the decision.
    propensity
        Probability of the pick, for off-policy evaluation.
    """

    request_id: str
    decision_id: str
    time: float
    key_id: str | None
    team: str | None
    policy: str
    policy_version: str
    model: str | None
    reason: str | None
    status: int
    error: str | None
    input_tokens: int | None
    cached_input_tokens: int | None
    output_tokens: int | None
    reasoning_tokens: int | None
    estimated: bool
    cost_nusd: int | None
    predicted_quality: float | None
    predicted_cost_nusd: int | None
    decide_s: float
    overhead_s: float
    time_to_first_token_s: float | None
    duration_s: float
    propensity: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentRow:
    """The texts of one request that may be kept until `expires_at`, in seconds since the epoch."""

    request_id: str
    expires_at: float
    content: bytes


_COLUMNS = tuple(field.name for field in dataclasses.fields(OutcomeRow))
_SQL_TYPES = {
    "request_id": "TEXT NOT NULL",
    "decision_id": "TEXT NOT NULL",
    "time": "REAL NOT NULL",
    "status": "INTEGER NOT NULL",
    "estimated": "INTEGER NOT NULL",
}
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS outcomes (
    id INTEGER PRIMARY KEY, {", ".join(f"{name} {_SQL_TYPES.get(name, '')}" for name in _COLUMNS)}
);
CREATE INDEX IF NOT EXISTS outcomes_by_time ON outcomes (time);
CREATE TABLE IF NOT EXISTS contents (
    request_id TEXT PRIMARY KEY, expires_at REAL NOT NULL, content BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS contents_by_expiry ON contents (expires_at);
"""
# Names come from the dataclass above; values are parameters always.
_INSERT = f"INSERT INTO outcomes ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"  # noqa: S608
_SELECT = f"SELECT id, {', '.join(_COLUMNS)} FROM outcomes WHERE id > ? ORDER BY id LIMIT ?"  # noqa: S608
_INSERT_CONTENT = (
    "INSERT OR REPLACE INTO contents (request_id, expires_at, content) VALUES (?, ?, ?)"
)


class OutcomeLog:
    """Append rows to `outcomes.sqlite3`; several processes may do so at once.

    Parameters
    ----------
    data_dir
        Where the file is.
    capacity
        How many rows may wait to be written.
    keep_s
        How long rows are kept; None keeps them for good.
    clock
        Seconds since the epoch.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        capacity: int = DEFAULT_CAPACITY,
        keep_s: float | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._path = data_dir / OUTCOMES_NAME
        self._keep_s = keep_s
        self._clock = clock
        self._capacity = capacity
        self._rows: deque[OutcomeRow | ContentRow] = deque()
        self._dropped = 0
        self._purge_at = 0.0
        self._connection: sqlite3.Connection | None = None
        self._flusher = Flusher(self._flush, name="steelyard-outcomes", interval_s=FLUSH_INTERVAL_S)

    @property
    def dropped(self) -> int:
        """How many rows were lost since the start because too many waited."""
        return self._dropped

    @property
    def healthy(self) -> bool:
        """Whether the last write succeeded."""
        return self._flusher.healthy

    async def open(self) -> None:
        """Open the file and start writing.

        Raises
        ------
        ConfigError
            If the file cannot be used.
        """
        await asyncio.to_thread(self._open)

    def record(self, row: OutcomeRow | ContentRow) -> None:
        """Leave a row to be written; never waits."""
        if len(self._rows) >= self._capacity:
            self._dropped += 1
        else:
            self._rows.append(row)

    async def aclose(self) -> None:
        """Write what waits and close the file."""
        await asyncio.to_thread(self._close)

    def _open(self) -> None:
        self._connection = connect(self._path, schema=_SCHEMA, version=_SCHEMA_VERSION)
        # Expired texts are overwritten, not only unlinked.
        self._connection.execute("PRAGMA secure_delete = ON")
        self._flusher.start()

    def _close(self) -> None:
        self._flusher.close()
        if self._connection is not None:
            self._dropped += len(self._rows)
            self._rows.clear()
            self._connection.close()
            self._connection = None

    def _flush(self) -> None:
        connection = self._connection
        if connection is None:
            return
        # Rows leave the queue once they are committed; the event loop appends at the other end.
        batch = [self._rows[i] for i in range(len(self._rows))]
        if batch:
            with connection:
                connection.executemany(
                    _INSERT, (_values(row) for row in batch if isinstance(row, OutcomeRow))
                )
                connection.executemany(
                    _INSERT_CONTENT,
                    (
                        (row.request_id, row.expires_at, row.content)
                        for row in batch
                        if isinstance(row, ContentRow)
                    ),
                )
            for _ in batch:
                self._rows.popleft()
        if self._clock() >= self._purge_at:
            self._purge(connection)

    def _purge(self, connection: sqlite3.Connection) -> None:
        """Delete what is over, a part at a time, so that other processes get their turn."""
        now = self._clock()
        with connection:
            expired = connection.execute(
                "DELETE FROM contents WHERE rowid IN"
                " (SELECT rowid FROM contents WHERE expires_at <= ? LIMIT ?)",
                (now, _PURGE_ROWS),
            ).rowcount
        if expired:
            # Without this, texts would live on in the write-ahead log.
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        old = 0
        if self._keep_s is not None:
            with connection:
                old = connection.execute(
                    "DELETE FROM outcomes WHERE id IN"
                    " (SELECT id FROM outcomes WHERE time <= ? LIMIT ?)",
                    (now - self._keep_s, _PURGE_ROWS),
                ).rowcount
        if max(expired, old) < _PURGE_ROWS:
            self._purge_at = now + PURGE_INTERVAL_S


def read_outcomes(
    data_dir: Path, *, after_id: int = 0, limit: int = 1_000_000
) -> Iterator[tuple[int, OutcomeRow]]:
    """Yield rows with their number, oldest first, while other processes may append.

    Raises
    ------
    sqlite3.Error
        If there is no log, or it cannot be read.
    """
    uri = f"{(data_dir / OUTCOMES_NAME).resolve().as_uri()}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True, timeout=5.0)) as connection:
        for number, *values in connection.execute(_SELECT, (after_id, limit)):
            fields = dict(zip(_COLUMNS, values, strict=True))
            fields["estimated"] = bool(fields["estimated"])
            yield number, OutcomeRow(**fields)


def _values(row: OutcomeRow) -> tuple[object, ...]:
    return tuple(getattr(row, name) for name in _COLUMNS)
