"""The outcome log in SQLite: one file under the data folder, which several processes may share.

Texts are kept only where the operator opted in, in a table of their own and until a time of their
own. Labels are rows of their own, too: outcomes are never changed.
"""

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import msgspec

from app.concurrency.flusher import blames_value
from app.errors import ConfigError
from app.outcomes.old_rows import OLD_FIELDS, StoredRow
from app.outcomes.rows import (
    ContentRow,
    Decided,
    Label,
    LabelKind,
    Labelled,
    OutcomeRow,
    Row,
)
from app.stores.sqlite import connect

OUTCOMES_NAME = "outcomes.sqlite3"

_PURGE_ROWS = 10_000
_SCHEMA_VERSION = 1

_COLUMNS = OutcomeRow.__struct_fields__
_SQL_TYPES = {
    "request_id": "TEXT NOT NULL",
    "decision_id": "TEXT NOT NULL UNIQUE",
    "time": "REAL NOT NULL",
    "status": "INTEGER NOT NULL",
    "estimated": "INTEGER NOT NULL",
    "stream": "INTEGER NOT NULL",
}
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS outcomes (
    id INTEGER PRIMARY KEY, {", ".join(f"{name} {_SQL_TYPES.get(name, '')}" for name in _COLUMNS)}
);
CREATE INDEX IF NOT EXISTS outcomes_by_time ON outcomes (time);
CREATE TABLE IF NOT EXISTS contents (
    decision_id TEXT PRIMARY KEY, expires_at REAL NOT NULL, content BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS contents_by_expiry ON contents (expires_at);
CREATE TABLE IF NOT EXISTS labels (
    decision_id TEXT NOT NULL, other_decision_id TEXT NOT NULL, kind TEXT NOT NULL,
    quality REAL NOT NULL, labelled_by TEXT NOT NULL, time REAL NOT NULL,
    n_changes INTEGER NOT NULL,
    PRIMARY KEY (decision_id, other_decision_id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS labels_by_time ON labels (time);
"""
# Names come from the dataclass above; values are parameters always.
_INSERT = f"INSERT OR IGNORE INTO outcomes ({', '.join(_COLUMNS)}) VALUES "  # noqa: S608
_PLACES = f"({', '.join('?' * len(_COLUMNS))})"
_ROWS_PER_STATEMENT = 50
"""The thread that writes lets go of the interpreter and takes it back, at the cost of the event
loop, for every statement; SQLite takes 32,766 values in one."""
_INSERT_CONTENT = (
    "INSERT OR IGNORE INTO contents (decision_id, expires_at, content) VALUES (?, ?, ?)"
)
_FIND = "SELECT key_id, policy, model, predicted_quality FROM outcomes WHERE decision_id = ?"
_LABEL_COLUMNS = "decision_id, other_decision_id, kind, quality, labelled_by, time"
_FIND_LABEL = (
    "SELECT kind, quality, n_changes FROM labels WHERE decision_id = ? AND other_decision_id = ?"
)
_PUT_LABEL = (
    f"INSERT OR REPLACE INTO labels ({_LABEL_COLUMNS}, n_changes) "  # noqa: S608
    "VALUES (?, ?, ?, ?, ?, ?, ?)"
)


class SqliteOutcomes:
    """Append rows to `outcomes.sqlite3`; several processes may do so at once.

    Parameters
    ----------
    data_dir
        Where the file is.
    keep_s
        How long rows and labels are kept; None keeps them for good.
    clock
        Seconds since the epoch.
    """

    errors: tuple[type[Exception], ...] = (sqlite3.Error,)

    def __init__(
        self,
        data_dir: Path,
        *,
        keep_s: float | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._path = data_dir / OUTCOMES_NAME
        self._keep_s = keep_s
        self._clock = clock
        self._connection: sqlite3.Connection | None = None

    def open(self) -> None:
        """Open the file.

        Raises
        ------
        ConfigError
            If it cannot be used.
        """
        self._connection = connect(self._path, schema=_SCHEMA, version=_SCHEMA_VERSION)
        try:
            # Expired texts are overwritten, not only unlinked.
            self._connection.execute("PRAGMA secure_delete = ON")
            _add_columns(self._connection)
            query = _select(_COLUMNS)
            self._connection.execute(query, (0, 0.0, float("inf"), 1)).fetchall()
        except sqlite3.Error as error:
            self.close()
            raise ConfigError(f"cannot use {self._path}: {error}") from error

    def close(self) -> None:
        """Close the file."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def write(self, rows: Sequence[Row]) -> None:
        """Append rows in one transaction."""
        with self._open as connection:
            outcomes = [row for row in rows if isinstance(row, OutcomeRow)]
            for start in range(0, len(outcomes), _ROWS_PER_STATEMENT):
                some = outcomes[start : start + _ROWS_PER_STATEMENT]
                connection.execute(
                    _INSERT + ", ".join([_PLACES] * len(some)),
                    [value for row in some for value in msgspec.structs.astuple(row)],
                )
            connection.executemany(
                _INSERT_CONTENT,
                (
                    (row.decision_id, row.expires_at, row.content)
                    for row in rows
                    if isinstance(row, ContentRow)
                ),
            )

    def blames_row(self, error: Exception) -> bool:
        """Return whether writing failed because of a row, and others can be written."""
        return blames_value(error)

    def find(self, decision_id: str) -> Decided | None:
        """Return what is known of a decision."""
        found = self._open.execute(_FIND, (decision_id,)).fetchone()
        if found is None:
            return None
        key_id, policy, model, quality = found
        return Decided(key_id=key_id, policy=policy, model=model, predicted_quality=quality)

    def label(self, label: Label, *, max_changes: int) -> Labelled:
        """Keep what somebody thought, durably."""
        connection = self._open
        name = (label.decision_id, label.other_decision_id)
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            found = connection.execute(_FIND_LABEL, name).fetchone()
            if found is not None and found[:2] == (label.kind.value, label.quality):
                return Labelled.SAME
            n_changes = 0 if found is None else found[2] + 1
            if n_changes > max_changes:
                return Labelled.REFUSED
            connection.execute(
                _PUT_LABEL,
                (*name, label.kind.value, label.quality, label.labelled_by, label.time, n_changes),
            )
        return Labelled.NEW if found is None else Labelled.CHANGED

    def purge(self) -> bool:
        """Delete what is over, a part at a time, so that other processes get their turn."""
        connection = self._open
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
            before = now - self._keep_s
            with connection:
                old = connection.execute(
                    "DELETE FROM outcomes WHERE id IN"
                    " (SELECT id FROM outcomes WHERE time <= ? LIMIT ?)",
                    (before, _PURGE_ROWS),
                ).rowcount
                connection.execute("DELETE FROM labels WHERE time <= ?", (before,))
        return max(expired, old) >= _PURGE_ROWS

    @property
    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            raise sqlite3.ProgrammingError("the outcome log is not open")
        return self._connection


def read_outcomes(
    data_dir: Path,
    *,
    after_id: int = 0,
    since: float = 0.0,
    until: float = float("inf"),
    limit: int = -1,
) -> Iterator[tuple[int, OutcomeRow]]:
    """Yield rows with their number, oldest first, while other processes may append.

    `since` and `until` are in seconds since the epoch, the latter excluded.

    Raises
    ------
    sqlite3.Error
        If there is no log, or it cannot be read.
    """
    with closing(reader(data_dir)) as connection:
        there = columns_of(connection)
        # What an earlier release did not write is not known; what only it wrote is read, too.
        columns = [name for name in (*_COLUMNS, *OLD_FIELDS) if name in there]
        query = _select(columns)
        for number, *values in connection.execute(query, (after_id, since, until, limit)):
            fields = dict(zip(columns, values, strict=True))
            fields["estimated"] = bool(fields["estimated"])
            fields["stream"] = bool(fields["stream"])
            yield number, StoredRow(**fields).current()


def _select(columns: Sequence[str]) -> str:
    # Names come from the struct above; values are parameters always.
    return (
        f"SELECT id, {', '.join(columns)} FROM outcomes "  # noqa: S608
        "WHERE id > ? AND time >= ? AND time < ? ORDER BY id LIMIT ?"
    )


def columns_of(connection: sqlite3.Connection) -> frozenset[str]:
    """Return the columns that the outcomes of a file have; those of older ones stay."""
    return frozenset(row[1] for row in connection.execute("PRAGMA table_info(outcomes)"))


def _add_columns(connection: sqlite3.Connection) -> None:
    """Add what an earlier release had no column for; that one can still use the file."""
    if columns_of(connection) >= frozenset(_COLUMNS):
        return
    with connection:
        connection.execute("BEGIN IMMEDIATE")  # another process may be about to do the same
        for name in _COLUMNS:
            if name not in columns_of(connection):
                connection.execute(f"ALTER TABLE outcomes ADD COLUMN {name}")


def read_labels(data_dir: Path) -> Iterator[Label]:
    """Yield every label.

    Raises
    ------
    sqlite3.Error
        If there is no log, or it cannot be read.
    """
    query = f"SELECT {_LABEL_COLUMNS} FROM labels ORDER BY decision_id, other_decision_id"  # noqa: S608
    with closing(reader(data_dir)) as connection:
        for decision_id, other, kind, quality, labelled_by, when in connection.execute(query):
            yield Label(
                decision_id=decision_id,
                other_decision_id=other,
                kind=LabelKind(kind),
                quality=quality,
                labelled_by=labelled_by,
                time=when,
            )


@dataclass(frozen=True, slots=True)
class Rated:
    """An answer and what somebody thought of it.

    Attributes
    ----------
    quality
        In [0, 1].
    rated_at
        In seconds since the epoch.
    rated_by
        The id of a key, or `admin`.
    """

    decision_id: str
    policy: str
    model: str
    output_tokens: int | None
    quality: float
    rated_at: float
    rated_by: str


def read_rated(data_dir: Path, *, after: float, until: float) -> Iterator[Rated]:
    """Yield answers that were rated in (after, until], the newest rating first.

    Comparisons of two answers are no ratings. Times are in seconds since the epoch.

    Raises
    ------
    sqlite3.Error
        If there is no log, or it cannot be read.
    """
    query = (
        "SELECT l.decision_id, o.policy, o.model, o.output_tokens, l.quality, l.time,"
        " l.labelled_by FROM labels AS l JOIN outcomes AS o ON o.decision_id = l.decision_id"
        " WHERE l.other_decision_id = '' AND l.time > ? AND l.time <= ? AND o.status = 200"
        " AND o.model IS NOT NULL ORDER BY l.time DESC, l.decision_id DESC"
    )
    with closing(reader(data_dir)) as connection:
        for row in connection.execute(query, (after, until)):
            yield Rated(*row)


class ContentReader:
    """Look texts up by decision, while other processes may append.

    Raises
    ------
    sqlite3.Error
        If there is no log, or it cannot be read.
    """

    def __init__(self, data_dir: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._connection = reader(data_dir)
        self._clock = clock

    def get(self, decision_id: str) -> bytes | None:
        """Return the texts of a decision; None where there are none, or their time is over."""
        found = self._connection.execute(
            "SELECT content FROM contents WHERE decision_id = ? AND expires_at > ?",
            (decision_id, self._clock()),
        ).fetchone()
        return None if found is None else bytes(found[0])

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()


def reader(data_dir: Path) -> sqlite3.Connection:
    """Return a connection that only reads, while other processes may append."""
    uri = f"{(data_dir / OUTCOMES_NAME).resolve().as_uri()}?mode=ro"
    return sqlite3.connect(uri, uri=True, timeout=5.0)
