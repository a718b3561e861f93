"""Registers of one process, and such as survive a restart."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from app.errors import ConfigError
from app.stores._sqlite_file import SqliteFile
from app.stores.base import StoreError

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


class SqliteRegisters(SqliteFile):
    """Values on the disk of one gateway; some milliseconds for each call, in a thread.

    There is no file before there is a value.

    Parameters
    ----------
    data_dir
        Made if it is missing, readable by its owner only.
    clock
        Seconds since the epoch.
    """

    def __init__(self, data_dir: Path, *, clock: Callable[[], float] = time.time) -> None:
        super().__init__(
            data_dir / DATABASE_NAME,
            schema=_SCHEMA,
            version=_SCHEMA_VERSION,
            clock=clock,
            when_written=True,
        )

    async def version(self, name: str) -> str | None:
        """Return the version of the value that is there, or None.

        Raises
        ------
        StoreError
        """
        return await asyncio.to_thread(self._version_of, name)

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
        """Open the file, if there is one, and forget what is over."""
        super()._open()
        if self._connection is None:
            return
        try:
            with self._writing() as connection:
                connection.execute("DELETE FROM registers WHERE ends_at <= ?", (self._clock(),))
        except StoreError as error:
            self._close()
            raise ConfigError(
                f"cannot use {self.path}: {error}; what policies learned is in it: move it away "
                "to begin with what was fitted"
            ) from error

    def _version_of(self, name: str) -> str | None:
        query = "SELECT version FROM registers WHERE name = ? AND ends_at > ?"
        found = self._row(query, name, self._clock())
        return None if found is None else str(found[0])

    def _read(self, name: str) -> tuple[str, bytes] | None:
        query = "SELECT version, value FROM registers WHERE name = ? AND ends_at > ?"
        found = self._row(query, name, self._clock())
        return None if found is None else (str(found[0]), bytes(found[1]))

    def _replace(
        self, name: str, value: bytes, version: str, after: str | None, lifetime_s: float
    ) -> bool:
        now = self._clock()
        with self._writing() as connection:
            connection.execute("BEGIN IMMEDIATE")  # another process may be about to do the same
            found = connection.execute(
                "SELECT version FROM registers WHERE name = ? AND ends_at > ?", (name, now)
            ).fetchone()
            if (None if found is None else found[0]) != after:
                return False
            connection.execute(_PUT, (name, version, now + lifetime_s, value))
        return True
