"""One SQLite file of values, used by one thread at a time, which is never the event loop's."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from app.errors import ConfigError
from app.stores._sqlite_keys import opened
from app.stores.base import StoreError, StoreFullError
from app.stores.sqlite import connect

_FULL = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE)
"""A full disk; a quota, or a limit on the size of files, that is used up."""
IN_MEMORY = Path(":memory:")
"""No file at all: what is written ends with the process."""


class SqliteFile:
    """A file with a schema of its own; some milliseconds for each use, off the event loop.

    Parameters
    ----------
    path
        Its directory is made if it is missing, readable by its owner only; or `IN_MEMORY`.
    schema, version
        As of `connect`.
    clock
        Seconds since the epoch.
    when_written
        Whether the file is made only when something is written to it.
    """

    def __init__(
        self,
        path: Path,
        *,
        schema: str,
        version: int,
        clock: Callable[[], float],
        when_written: bool = False,
    ) -> None:
        self.path = path
        self._schema, self._version = schema, version
        self._clock = clock
        self._when_written = when_written
        self._is_open = False
        self._connection: sqlite3.Connection | None = None
        self._using = threading.Lock()

    async def open(self) -> None:
        """Open the file.

        Raises
        ------
        ConfigError
        """
        await asyncio.to_thread(self._open)

    async def aclose(self) -> None:
        """Close the file."""
        await asyncio.to_thread(self._close)

    def _open(self) -> None:
        self._is_open = True
        if not self._when_written or self.path.exists():
            self._connection = self._connect()

    def _close(self) -> None:
        with self._using:
            self._is_open = False
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.close()

    def _row(self, query: str, *arguments: object) -> Any:
        """Return the first row that a query finds, or None.

        Raises
        ------
        StoreError
        """
        try:
            with self._using:
                if self._connection is None and self._is_open and not self.path.exists():
                    return None
                return self._connected().execute(query, arguments).fetchone()
        except (sqlite3.Error, ConfigError) as error:
            raise StoreError(f"{self.path.name} cannot be read: {error}") from error

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """Hold the file for one transaction.

        Raises
        ------
        StoreError
        """
        try:
            with self._using, self._connected() as connection:
                yield connection
        except (sqlite3.Error, ConfigError) as error:
            full = getattr(error, "sqlite_errorcode", None) in _FULL
            kind = StoreFullError if full else StoreError
            raise kind(f"{self.path.name} cannot be written: {error}") from error

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None and self._is_open:
            self._connection = self._connect()
        return opened(self._connection)

    def _connect(self) -> sqlite3.Connection:
        if self.path != IN_MEMORY:
            return connect(self.path, schema=self._schema, version=self._version)
        connection = sqlite3.connect(str(IN_MEMORY), check_same_thread=False)
        connection.executescript(self._schema)
        return connection
