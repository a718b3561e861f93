"""Virtual keys in SQLite: written through, with the disk's confirmation."""

import asyncio
import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path

import msgspec

from app.keys import AuditEntry, KeyRecord
from app.stores.base import StoreError
from app.stores.keys import MAX_AUDIT, KeyChange, check_unchanged

BUSY_TIMEOUT_S = 5.0
"""How long a thread waits for another process that is writing."""
READ_BUSY_TIMEOUT_S = 0.02
"""How long the event loop does; in WAL mode readers wait only while a crash is recovered from."""


class SqliteKeys:
    """Virtual keys in a database that other processes may change; nothing is cached."""

    def __init__(self) -> None:
        self._reader: sqlite3.Connection | None = None
        self._writer: sqlite3.Connection | None = None
        self._writing = threading.Lock()

    def open(self, path: Path) -> None:
        """Connect; blocks."""
        self._reader = sqlite3.connect(path, timeout=READ_BUSY_TIMEOUT_S, check_same_thread=False)
        self._writer = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, check_same_thread=False)
        # A key that was shown to be revoked must not come back after a power cut.
        self._writer.execute("PRAGMA synchronous = FULL")

    def close(self) -> None:
        """Disconnect."""
        for connection in (self._reader, self._writer):
            if connection is not None:
                connection.close()
        self._reader = self._writer = None

    async def find(self, digest: str) -> KeyRecord | None:
        """Return the record of a digest.

        Some 20 µs on the event loop, less than handing it to a thread takes.

        Raises
        ------
        StoreError
        """
        try:
            return _found(opened(self._reader), digest)
        except sqlite3.Error as error:
            raise StoreError(f"keys cannot be read: {error}") from error

    async def save(self, record: KeyRecord) -> None:
        """Add a record, or replace the one of the same digest; it is on the disk afterwards.

        Raises
        ------
        StoreError
        """
        await asyncio.to_thread(self._save, record)

    async def change(
        self, changes: Sequence[KeyChange], *, entry: AuditEntry | None = None
    ) -> None:
        """Make several changes in one transaction; they are on the disk afterwards.

        Raises
        ------
        KeyChangedError
        StoreError
        """
        await asyncio.to_thread(self._change, changes, entry)

    async def all(self) -> tuple[KeyRecord, ...]:
        """Return every record, revoked ones too, oldest first.

        Raises
        ------
        StoreError
        """
        return await asyncio.to_thread(self._all)

    def _save(self, record: KeyRecord) -> None:
        try:
            with self._writing, opened(self._writer) as connection:
                _put(connection, record)
        except sqlite3.Error as error:
            raise StoreError(f"a key cannot be written: {error}") from error

    def _change(self, changes: Sequence[KeyChange], entry: AuditEntry | None) -> None:
        try:
            with self._writing, opened(self._writer) as connection:
                connection.execute("BEGIN IMMEDIATE")
                for change in changes:
                    check_unchanged(change, _found(connection, change.after.digest))
                    _put(connection, change.after)
                if entry is not None:
                    _tell(connection, entry)
        except sqlite3.Error as error:
            raise StoreError(f"a key cannot be written: {error}") from error

    async def history(self, *, key_id: str | None, limit: int) -> tuple[AuditEntry, ...]:
        """Return what was done to keys, or to one, the latest first.

        Raises
        ------
        StoreError
        """
        return await asyncio.to_thread(self._history, key_id, limit)

    def _history(self, key_id: str | None, limit: int) -> tuple[AuditEntry, ...]:
        try:
            with self._writing:
                rows = (
                    opened(self._writer)
                    .execute(
                        "SELECT entry FROM audit WHERE key_id = coalesce(?, key_id)"
                        " ORDER BY id DESC LIMIT ?",
                        (key_id, limit),
                    )
                    .fetchall()
                )
        except sqlite3.Error as error:
            raise StoreError(f"the history of keys cannot be read: {error}") from error
        return tuple(decode_entry(row[0]) for row in rows)

    def _all(self) -> tuple[KeyRecord, ...]:
        try:
            with self._writing:
                rows = (
                    opened(self._writer)
                    .execute("SELECT record FROM keys ORDER BY created_at, digest")
                    .fetchall()
                )
        except sqlite3.Error as error:
            raise StoreError(f"keys cannot be read: {error}") from error
        return tuple(decode_key(row[0]) for row in rows)


def decode_key(data: bytes) -> KeyRecord:
    """Return a stored record.

    Raises
    ------
    StoreError
        If it cannot be read, for instance because a newer release wrote it.
    """
    try:
        return msgspec.json.decode(data, type=KeyRecord)
    except msgspec.DecodeError as error:
        raise StoreError(f"a stored key cannot be read: {error}") from error


def decode_entry(data: bytes) -> AuditEntry:
    """Return what was done to a key.

    Raises
    ------
    StoreError
        If it cannot be read, for instance because a newer release wrote it.
    """
    try:
        return msgspec.json.decode(data, type=AuditEntry)
    except msgspec.DecodeError as error:
        raise StoreError(f"the history of keys cannot be read: {error}") from error


def opened(connection: sqlite3.Connection | None) -> sqlite3.Connection:
    """Return a connection that there is.

    Raises
    ------
    sqlite3.ProgrammingError
        If the database is not open.
    """
    if connection is None:
        raise sqlite3.ProgrammingError("the database is not open")
    return connection


def _found(connection: sqlite3.Connection, digest: str) -> KeyRecord | None:
    row = connection.execute("SELECT record FROM keys WHERE digest = ?", (digest,)).fetchone()
    return None if row is None else decode_key(row[0])


def _put(connection: sqlite3.Connection, record: KeyRecord) -> None:
    connection.execute(
        "INSERT INTO keys (digest, created_at, record) VALUES (?, ?, ?)"
        " ON CONFLICT (digest) DO UPDATE SET record = excluded.record,"
        " created_at = excluded.created_at",
        (record.digest, record.created_at, msgspec.json.encode(record)),
    )


def _tell(connection: sqlite3.Connection, entry: AuditEntry) -> None:
    connection.execute(
        "INSERT INTO audit (key_id, entry) VALUES (?, ?)",
        (entry.key_id, msgspec.json.encode(entry)),
    )
    connection.execute(
        "DELETE FROM audit WHERE id <= (SELECT max(id) FROM audit) - ?", (MAX_AUDIT,)
    )
