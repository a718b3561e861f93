"""Values that survive a restart and may be lost, bounded in all and for each owner, in SQLite.

Some milliseconds for each call, in a thread: for what is kept once an answer, not for what every
request asks for.
"""

import asyncio
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

from app.stores._sqlite_file import SqliteFile
from app.stores.bounds import AnswerBounds

DATABASE_NAME = "responses.sqlite3"
_SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (
    name TEXT PRIMARY KEY, owner TEXT NOT NULL, ends_at REAL NOT NULL, n_bytes INTEGER NOT NULL,
    value BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS answers_by_end ON answers (ends_at);
CREATE INDEX IF NOT EXISTS answers_by_owner ON answers (owner, ends_at);
CREATE TABLE IF NOT EXISTS sums (owner TEXT PRIMARY KEY, n_bytes INTEGER NOT NULL) WITHOUT ROWID;
CREATE TRIGGER IF NOT EXISTS added AFTER INSERT ON answers BEGIN
    INSERT INTO sums VALUES (new.owner, new.n_bytes)
    ON CONFLICT (owner) DO UPDATE SET n_bytes = n_bytes + excluded.n_bytes;
END;
CREATE TRIGGER IF NOT EXISTS dropped AFTER DELETE ON answers BEGIN
    UPDATE sums SET n_bytes = n_bytes - old.n_bytes WHERE owner = old.owner;
    DELETE FROM sums WHERE owner = old.owner AND n_bytes <= 0;
END;
"""


class SqliteAnswers(SqliteFile):
    """Values on the disk of one gateway.

    Parameters
    ----------
    data_dir
        Made if it is missing, readable by its owner only.
    clock
        Seconds since the epoch.
    """

    def __init__(
        self, data_dir: Path, *, bounds: AnswerBounds, clock: Callable[[], float] = time.time
    ) -> None:
        super().__init__(
            data_dir / DATABASE_NAME, schema=_SCHEMA, version=_SCHEMA_VERSION, clock=clock
        )
        self._bounds = bounds

    async def get(self, name: str) -> bytes | None:
        """Return what was put under a name, or None.

        Raises
        ------
        StoreError
        """
        return await asyncio.to_thread(self._get, name)

    async def put(self, name: str, value: bytes, *, lifetime_s: float, owner: str) -> None:
        """Keep a value for at most `lifetime_s`; the oldest of its owner, and of all, make room.

        Raises
        ------
        StoreError
        """
        if len(value) > min(self._bounds.bytes, self._bounds.bytes_of(owner)):
            return
        await asyncio.to_thread(self._put, name, value, lifetime_s, owner)

    async def delete(self, name: str) -> None:
        """Forget a value.

        Raises
        ------
        StoreError
        """
        await asyncio.to_thread(self._delete, name)

    def _get(self, name: str) -> bytes | None:
        query = "SELECT value FROM answers WHERE name = ? AND ends_at > ?"
        row = self._row(query, name, self._clock())
        return None if row is None else bytes(row[0])

    def _put(self, name: str, value: bytes, lifetime_s: float, owner: str) -> None:
        now = self._clock()
        with self._writing() as connection:
            connection.execute("DELETE FROM answers WHERE name = ? OR ends_at <= ?", (name, now))
            connection.execute(
                "INSERT INTO answers VALUES (?, ?, ?, ?, ?)",
                (name, owner, now + lifetime_s, len(value), value),
            )
            self._make_room(connection, owner)

    def _make_room(self, connection: sqlite3.Connection, owner: str) -> None:
        while _sum(connection, "WHERE owner = ?", owner) > self._bounds.bytes_of(owner):
            connection.execute(
                "DELETE FROM answers WHERE rowid = "
                "(SELECT rowid FROM answers WHERE owner = ? ORDER BY ends_at, rowid LIMIT 1)",
                (owner,),
            )
        while _sum(connection, "") > self._bounds.bytes:
            connection.execute(
                "DELETE FROM answers WHERE rowid = "
                "(SELECT rowid FROM answers ORDER BY ends_at, rowid LIMIT 1)"
            )

    def _delete(self, name: str) -> None:
        with self._writing() as connection:
            connection.execute("DELETE FROM answers WHERE name = ?", (name,))


def _sum(connection: sqlite3.Connection, where: str, *arguments: str) -> int:
    row = connection.execute(f"SELECT sum(n_bytes) FROM sums {where}", arguments).fetchone()  # noqa: S608  (one of two literals)
    return row[0] or 0
