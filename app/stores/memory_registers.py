"""Registers of one process, and such as survive a restart."""

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from app.errors import ConfigError
from app.stores._sqlite_keys import opened
from app.stores.base import StoreError
from app.stores.sqlite import connect

DATABASE_NAME = "lessons.sqlite3"
_SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS registers (
    name TEXT PRIMARY KEY, version TEXT NOT NULL, ends_at REAL NOT NULL, value BLOB NOT NULL
);
"""
_PUT = "INSERT OR REPLACE INTO registers (name, version, ends_at, value) VALUES (?, ?, ?, ?)"


class _Value(NamedTuple):
    version: str
    value: bytes
    ends_at: float


class MemoryRegisters:
    """Values of one process, which are as few as its policies.

    Parameters
    ----------
    clock
        Seconds that nobody sets.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._values: dict[str, _Value] = {}

    async def version(self, name: str) -> str | None:
        """Return the version of the value that is there, or None."""
        found = await self.read(name)
        return None if found is None else found[0]

    async def read(self, name: str) -> tuple[str, bytes] | None:
        """Return the version and the value that are there, or None."""
        found = self._values.get(name)
        if found is None or found.ends_at <= self._clock():
            return None
        return found.version, found.value

    async def replace(
        self, name: str, value: bytes, *, version: str, after: str | None, lifetime_s: float
    ) -> bool:
        """Put a value where the one that is there is still of the version `after`."""
        if await self.version(name) != after:
            return False
        self._values[name] = _Value(version, value, self._clock() + lifetime_s)
        return True


class SqliteRegisters:
    """Values on the disk of one gateway; some milliseconds for each call, in a thread.

    Parameters
    ----------
    data_dir
        Made if it is missing, readable by its owner only.
    clock
        Seconds since the epoch.
    """

    def __init__(self, data_dir: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._path = data_dir / DATABASE_NAME
        self._clock = clock
        self._connection: sqlite3.Connection | None = None
        self._using = threading.Lock()

    async def open(self) -> None:
        """Open the file, and forget what is over.

        Raises
        ------
        ConfigError
        """
        await asyncio.to_thread(self._open)

    async def aclose(self) -> None:
        """Close the file."""
        await asyncio.to_thread(self._close)

    async def version(self, name: str) -> str | None:
        """Return the version of the value that is there, or None.

        Raises
        ------
        StoreError
        """
        return await asyncio.to_thread(self._version, name)

    async def read(self, name: str) -> tuple[str, bytes] | None:
        """Return the version and the value that are there, or None.

        Raises
        ------
        StoreError
        """
        return await asyncio.to_thread(self._read, name)

    async def replace(
        self, name: str, value: bytes, *, version: str, after: str | None, lifetime_s: float
    ) -> bool:
        """Put a value where the one that is there is still of the version `after`.

        Raises
        ------
        StoreError
        """
        return await asyncio.to_thread(self._replace, name, value, version, after, lifetime_s)

    def _open(self) -> None:
        self._connection = connect(self._path, schema=_SCHEMA, version=_SCHEMA_VERSION)
        try:
            with self._connection as connection:
                connection.execute("DELETE FROM registers WHERE ends_at <= ?", (self._clock(),))
        except sqlite3.Error as error:
            self._close()
            raise ConfigError(
                f"cannot use {self._path}: {error}; what policies learned is in it: move it away "
                "to begin with what was fitted"
            ) from error

    def _close(self) -> None:
        with self._using:
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.close()

    def _version(self, name: str) -> str | None:
        found = self._row("SELECT version FROM registers WHERE name = ? AND ends_at > ?", name)
        return None if found is None else str(found[0])

    def _read(self, name: str) -> tuple[str, bytes] | None:
        query = "SELECT version, value FROM registers WHERE name = ? AND ends_at > ?"
        found = self._row(query, name)
        return None if found is None else (str(found[0]), bytes(found[1]))

    def _row(self, query: str, name: str) -> Any:
        try:
            with self._using:
                connection = opened(self._connection)
                return connection.execute(query, (name, self._clock())).fetchone()
        except sqlite3.Error as error:
            raise StoreError(f"{self._path.name} cannot be read: {error}") from error

    def _replace(
        self, name: str, value: bytes, version: str, after: str | None, lifetime_s: float
    ) -> bool:
        ends_at = self._clock() + lifetime_s
        try:
            with self._using, opened(self._connection) as connection:
                connection.execute("BEGIN IMMEDIATE")  # another process may be about to do the same
                found = connection.execute(
                    "SELECT version FROM registers WHERE name = ? AND ends_at > ?",
                    (name, self._clock()),
                ).fetchone()
                if (None if found is None else found[0]) != after:
                    return False
                connection.execute(_PUT, (name, version, ends_at, value))
        except sqlite3.Error as error:
            raise StoreError(f"{self._path.name} cannot be written: {error}") from error
        return True
