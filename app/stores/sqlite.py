"""What survives a restart of one process: virtual keys and what was spent, in SQLite.

Keys are written through, with the disk's confirmation. Spending is written behind: in a thread,
every 100 ms at the latest, and at the end. What a crash of the process can lose is the spending of
the last 100 ms and of requests that were still running; a power cut also what the operating system
had not put on the disk. Several processes may use one file: the command line adds and revokes keys
while a gateway serves from it.
"""

import asyncio
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from app.concurrency.flusher import Flusher, blames_value, write_isolated
from app.errors import ConfigError
from app.stores._sqlite_keys import BUSY_TIMEOUT_S, SqliteKeys, opened
from app.stores.bounds import MAX_SUM_NUSD, count
from app.stores.claims import Scope, ScopeKind
from app.stores.watch import NO_EVENTS, StoreEvents

_log = logging.getLogger(__name__)

DATABASE_NAME = "steelyard.sqlite3"
FLUSH_INTERVAL_S = 0.1
FORGET_INTERVAL_S = 3600.0
_SWITCH_RETRY_S = 0.01

_SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS keys (
    digest TEXT PRIMARY KEY, created_at REAL NOT NULL, record BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS spending (
    scope_kind TEXT NOT NULL, scope_name TEXT NOT NULL, period_id TEXT NOT NULL,
    nusd INTEGER NOT NULL, forget_at REAL NOT NULL,
    PRIMARY KEY (scope_kind, scope_name, period_id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT, key_id TEXT NOT NULL, entry BLOB NOT NULL
);
"""
_SPEND = """
INSERT INTO spending (scope_kind, scope_name, period_id, nusd, forget_at) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (scope_kind, scope_name, period_id)
DO UPDATE SET nusd = min(nusd + excluded.nusd, ?), forget_at = max(forget_at, excluded.forget_at)
"""

_Pending = tuple[tuple[Scope, str], tuple[int, float]]
"""Scope and period; billionths of a dollar, when it may be forgotten."""

Spent = tuple[Scope, str, int, float]
"""Scope, period, billionths of a dollar, when it may be forgotten."""


def connect(path: Path, *, schema: str, version: int) -> sqlite3.Connection:
    """Open a database in WAL mode and create what is missing.

    Raises
    ------
    ConfigError
        If the place cannot be used, or a newer release wrote it.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
        connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, check_same_thread=False)
    except (OSError, sqlite3.Error) as error:
        raise ConfigError(f"cannot use {path}: {error}") from error
    try:
        found = connection.execute("PRAGMA user_version").fetchone()[0]
        if found <= version:
            _write_ahead(connection)
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.executescript(schema)
            connection.execute(f"PRAGMA user_version = {version:d}")
    except sqlite3.Error as error:
        connection.close()
        raise ConfigError(f"cannot use {path}: {error}") from error
    if found > version:
        connection.close()
        raise ConfigError(f"{path} was written by a newer release (schema {found})")
    return connection


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Switch to WAL mode, for which SQLite does not wait while others open the file, too."""
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(_SWITCH_RETRY_S)
        else:
            return


class SqliteSpending:
    """What was spent, summed up per account between writes, so that nothing ever queues up."""

    def __init__(
        self, *, clock: Callable[[], float] = time.time, events: StoreEvents = NO_EVENTS
    ) -> None:
        self._clock = clock
        self._lost = events.lost
        self._forget_at = 0.0
        self._pending: dict[tuple[Scope, str], tuple[int, float]] = {}
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self.flusher = Flusher(
            self.flush,
            name="steelyard-spending",
            interval_s=FLUSH_INTERVAL_S,
            on_restart=events.restarted,
        )

    def open(self, connection: sqlite3.Connection) -> list[Spent]:
        """Take a connection, forget what is over, return what is not; blocks."""
        self._connection = connection
        self._forget()
        rows = connection.execute(
            "SELECT scope_kind, scope_name, period_id, nusd, forget_at FROM spending"
        ).fetchall()
        self.flusher.start()
        return [
            (Scope(ScopeKind(kind), name), period_id, count(nusd, MAX_SUM_NUSD), forget_at)
            for kind, name, period_id, nusd, forget_at in rows
        ]

    def close(self) -> None:
        """Write what is pending; blocks."""
        self.flusher.close()
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def add(self, scope: Scope, period_id: str, nusd: int, forget_at: float) -> None:
        """Book money; never blocks for longer than it takes to swap a dictionary."""
        with self._lock:
            pending, _ = self._pending.get((scope, period_id), (0, 0.0))
            self._pending[scope, period_id] = (min(pending + nusd, MAX_SUM_NUSD), forget_at)

    def flush(self) -> None:
        """Write what is pending; what cannot be written stays pending."""
        if self._clock() >= self._forget_at:
            self._forget()
        with self._lock:
            pending, self._pending = self._pending, {}
        if not pending:
            return

        def written(items: Sequence[_Pending]) -> None:
            for account, _ in items:
                del pending[account]

        def lost(item: _Pending, error: Exception) -> None:
            (scope, period_id), (nusd, _) = item
            _log.error("%d nusd of %s in %r are lost: %r", nusd, scope, period_id, error)
            written([item])
            self._lost("spending", 1)

        try:
            write_isolated(
                tuple(pending.items()),
                self._write,
                blames_item=blames_value,
                written=written,
                lost=lost,
            )
        finally:
            for (scope, period_id), (nusd, forget_at) in pending.items():
                self.add(scope, period_id, nusd, forget_at)

    def _write(self, items: Sequence[_Pending]) -> None:
        rows = [
            (scope.kind.value, scope.name, period_id, nusd, forget_at, MAX_SUM_NUSD)
            for (scope, period_id), (nusd, forget_at) in items
        ]
        with opened(self._connection) as connection:
            connection.executemany(_SPEND, rows)

    def _forget(self) -> None:
        now = self._clock()
        with opened(self._connection) as connection:
            connection.execute("DELETE FROM spending WHERE forget_at <= ?", (now,))
        self._forget_at = now + FORGET_INTERVAL_S


class SqliteDatabase:
    """The database of one gateway.

    Parameters
    ----------
    data_dir
        Made if it is missing, readable by its owner only.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        clock: Callable[[], float] = time.time,
        events: StoreEvents = NO_EVENTS,
    ) -> None:
        self._path = data_dir / DATABASE_NAME
        self.keys = SqliteKeys()
        self.spending = SqliteSpending(clock=clock, events=events)

    @property
    def problem(self) -> str | None:
        """Why spending does not reach the disk at the moment, None where it does."""
        self.spending.flusher.check()
        return self.spending.flusher.problem

    async def open(self) -> list[Spent]:
        """Open the file and return what was spent in periods that still count.

        Raises
        ------
        ConfigError
        """
        return await asyncio.to_thread(self._open)

    async def aclose(self) -> None:
        """Write what is pending and close the file."""
        await asyncio.to_thread(self._close)

    def _open(self) -> list[Spent]:
        connection = connect(self._path, schema=_SCHEMA, version=_SCHEMA_VERSION)
        try:
            self.keys.open(self._path)
            return self.spending.open(connection)
        except (sqlite3.Error, ValueError) as error:
            connection.close()
            self.keys.close()
            raise ConfigError(_damaged(self._path, error)) from error

    def check(self) -> None:
        """Find out whether the file can be read and written; blocks.

        Raises
        ------
        ConfigError
        """
        with closing(connect(self._path, schema=_SCHEMA, version=_SCHEMA_VERSION)) as connection:
            try:
                (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
                connection.execute("SELECT count(record) FROM keys").fetchone()
                connection.execute("SELECT sum(nusd) FROM spending").fetchone()
            except sqlite3.Error as error:
                raise ConfigError(_damaged(self._path, error)) from error
        if found != "ok":
            raise ConfigError(_damaged(self._path, found))

    def _close(self) -> None:
        self.keys.close()
        self.spending.close()


def _damaged(path: Path, problem: object) -> str:
    return (
        f"cannot use {path}: {problem}; keys and what was spent are in it: restore it from a "
        "backup, or move it away to begin with nothing"
    )
