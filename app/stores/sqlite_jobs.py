"""Jobs of one gateway: in SQLite, on the disk or in memory.

Some milliseconds for each call, in a thread. What is answered is paid for, so it is on the disk
before anything else happens.
"""

import asyncio
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from app.stores._sqlite_file import IN_MEMORY, SqliteFile
from app.stores.jobs import Fence, JobRecord

DATABASE_NAME = "batches.sqlite3"
_SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS records (
    kind TEXT NOT NULL, id TEXT NOT NULL, owner TEXT NOT NULL, created_at REAL NOT NULL,
    is_open INTEGER NOT NULL, ends_at REAL NOT NULL, value BLOB NOT NULL,
    PRIMARY KEY (kind, id)
);
CREATE INDEX IF NOT EXISTS records_by_owner ON records (kind, owner, created_at);
CREATE INDEX IF NOT EXISTS records_open ON records (kind, created_at) WHERE is_open;
CREATE TABLE IF NOT EXISTS boxes (name TEXT PRIMARY KEY, ends_at REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS parts (
    box TEXT NOT NULL, number INTEGER NOT NULL, value BLOB NOT NULL, PRIMARY KEY (box, number)
);
CREATE TABLE IF NOT EXISTS leases (
    name TEXT PRIMARY KEY, holder TEXT NOT NULL, ends_at REAL NOT NULL
) WITHOUT ROWID;
"""
_COLUMNS = "kind, id, owner, created_at, is_open, value"
_MAX_VARIABLES = 500
FORGET_EVERY_S = 600.0

T = TypeVar("T")


class SqliteJobs(SqliteFile):
    """Records, parts and leases of one gateway.

    Parameters
    ----------
    data_dir
        Made if it is missing, readable by its owner only; None keeps nothing beyond the process.
    exclusive
        Whether no other process serves from it, so that every lease that is found is of the dead.
    clock
        Seconds since the epoch.
    """

    def __init__(
        self,
        data_dir: Path | None,
        *,
        exclusive: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(
            IN_MEMORY if data_dir is None else data_dir / DATABASE_NAME,
            schema=_SCHEMA,
            version=_SCHEMA_VERSION,
            clock=clock,
        )
        self._exclusive = exclusive
        self._forget_at = 0.0

    async def now(self) -> float:
        """Return the time of this machine, in seconds since the epoch."""
        return self._clock()

    async def put(
        self, record: JobRecord, *, lifetime_s: float, fence: Fence | None = None
    ) -> bool:
        """Add a record or replace it; return whether the fence let that happen."""

        def put(connection: sqlite3.Connection) -> bool:
            if not self._lets(connection, fence):
                return False
            connection.execute(
                "INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    *(record.kind, record.record_id, record.owner, record.created_at),
                    *(record.is_open, self._clock() + lifetime_s, record.value),
                ),
            )
            return True

        return await self._do(put)

    async def get(self, kind: str, record_id: str) -> JobRecord | None:
        """Return a record."""
        where = "kind = ? AND id = ? AND ends_at > ?"
        found = await self._records(where, kind, record_id, self._clock())
        return found[0] if found else None

    async def of_owner(self, kind: str, owner: str) -> tuple[JobRecord, ...]:
        """Return the records of an owner, the latest first."""
        where = "kind = ? AND owner = ? AND ends_at > ? ORDER BY created_at DESC, id DESC"
        return await self._records(where, kind, owner, self._clock())

    async def open_ids(self, kind: str) -> tuple[str, ...]:
        """Return the ids of all records that somebody has yet to work at, the oldest first."""
        where = "kind = ? AND is_open AND ends_at > ? ORDER BY created_at, id"
        return tuple(each.record_id for each in await self._records(where, kind, self._clock()))

    async def remove(self, kind: str, record_id: str) -> None:
        """Forget a record, if there is one."""
        query = "DELETE FROM records WHERE kind = ? AND id = ?"
        await self._do(lambda connection: connection.execute(query, (kind, record_id)))

    async def put_parts(
        self,
        box: str,
        parts: Mapping[int, bytes],
        *,
        lifetime_s: float,
        fence: Fence | None = None,
    ) -> bool:
        """Put parts into a box, in place of those of the same numbers; all of them or none."""

        def put(connection: sqlite3.Connection) -> bool:
            if not self._lets(connection, fence):
                return False
            connection.execute(
                "INSERT OR REPLACE INTO boxes VALUES (?, ?)", (box, self._clock() + lifetime_s)
            )
            connection.executemany(
                "INSERT OR REPLACE INTO parts VALUES (?, ?, ?)",
                [(box, number, value) for number, value in parts.items()],
            )
            return True

        return await self._do(put)

    async def parts(self, box: str, numbers: Sequence[int]) -> list[bytes | None]:
        """Return the parts of these numbers, None where there is none."""

        def read(connection: sqlite3.Connection) -> dict[int, bytes]:
            found: dict[int, bytes] = {}
            for start in range(0, len(numbers), _MAX_VARIABLES):
                wanted = numbers[start : start + _MAX_VARIABLES]
                marks = ", ".join("?" * len(wanted))
                query = f"SELECT number, value FROM parts WHERE box = ? AND number IN ({marks})"  # noqa: S608  (marks alone)
                found.update(connection.execute(query, (box, *wanted)).fetchall())
            return found

        found = await self._do(read)
        return [found.get(number) for number in numbers]

    async def numbers(self, box: str) -> tuple[int, ...]:
        """Return the numbers of all parts of a box, in order."""
        query = "SELECT number FROM parts WHERE box = ? ORDER BY number"
        rows = await self._do(lambda connection: connection.execute(query, (box,)).fetchall())
        return tuple(number for (number,) in rows)

    async def drop(self, box: str) -> None:
        """Forget a box with all its parts."""

        def drop(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM parts WHERE box = ?", (box,))
            connection.execute("DELETE FROM boxes WHERE name = ?", (box,))

        await self._do(drop)

    async def hold(self, name: str, holder: str, *, lease_s: float) -> bool:
        """Take a lease for `lease_s`, or renew it; return False where somebody else holds it."""

        def hold(connection: sqlite3.Connection) -> bool:
            now = self._clock()
            taken = connection.execute(
                "SELECT 1 FROM leases WHERE name = ? AND holder != ? AND ends_at > ?",
                (name, holder, now),
            ).fetchone()
            if taken is None:
                connection.execute(
                    "INSERT OR REPLACE INTO leases VALUES (?, ?, ?)", (name, holder, now + lease_s)
                )
            return taken is None

        return await self._do(hold)

    async def let_go(self, name: str, holder: str) -> None:
        """Give a lease back, where this holder has it."""
        query = "DELETE FROM leases WHERE name = ? AND holder = ?"
        await self._do(lambda connection: connection.execute(query, (name, holder)))

    async def _records(self, where: str, *values: object) -> tuple[JobRecord, ...]:
        query = f"SELECT {_COLUMNS} FROM records WHERE {where}"  # noqa: S608  (one of those above)
        rows = await self._do(lambda connection: connection.execute(query, values).fetchall())
        return tuple(
            JobRecord(
                kind=kind,
                record_id=record_id,
                owner=owner,
                created_at=created_at,
                is_open=bool(is_open),
                value=bytes(value),
            )
            for kind, record_id, owner, created_at, is_open, value in rows
        )

    async def _do(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return await asyncio.to_thread(self._done, work)

    def _done(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with self._writing() as connection:
            connection.execute("BEGIN IMMEDIATE")
            self._forget(connection)
            return work(connection)

    def _lets(self, connection: sqlite3.Connection, fence: Fence | None) -> bool:
        if fence is None:
            return True
        query = "SELECT 1 FROM leases WHERE name = ? AND holder = ? AND ends_at > ?"
        return connection.execute(query, (*fence, self._clock())).fetchone() is not None

    def _forget(self, connection: sqlite3.Connection) -> None:
        now = self._clock()
        if now < self._forget_at:
            return
        self._forget_at = now + FORGET_EVERY_S
        connection.execute("DELETE FROM records WHERE ends_at <= ?", (now,))
        connection.execute(
            "DELETE FROM parts WHERE box IN (SELECT name FROM boxes WHERE ends_at <= ?)", (now,)
        )
        connection.execute("DELETE FROM boxes WHERE ends_at <= ?", (now,))
        connection.execute("DELETE FROM leases WHERE ends_at <= ?", (now,))

    def _open(self) -> None:
        super()._open()
        with self._writing() as connection:
            # What was paid for must not be asked for again after a power cut.
            connection.execute("PRAGMA synchronous = FULL")
            if self._exclusive:
                connection.execute("DELETE FROM leases")
