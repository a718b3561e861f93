"""Values of one process that may be lost, bounded in all and for each owner."""

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

DEFAULT_ENTRIES = 10_000
DEFAULT_BYTES = 64 * 2**20


class _Blob(NamedTuple):
    value: bytes
    ends_at: float
    owner: str


class MemoryBlobs:
    """Values, the least recently used forgotten first.

    Parameters
    ----------
    clock
        Seconds that nobody sets.
    max_entries, max_bytes
        How much is kept; a value larger than `max_bytes` is not kept at all.
    max_bytes_per_owner
        How much of one owner; those of whom no owner is told count only in all.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        max_entries: int = DEFAULT_ENTRIES,
        max_bytes: int = DEFAULT_BYTES,
        max_bytes_per_owner: int | None = None,
    ) -> None:
        self._clock = clock
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._max_bytes_per_owner = max_bytes_per_owner
        self._bytes = 0
        self._blobs: OrderedDict[str, _Blob] = OrderedDict()
        self._names_of: dict[str, OrderedDict[str, None]] = {}
        self._bytes_of: dict[str, int] = {}

    def __len__(self) -> int:
        """How many values are kept."""
        return len(self._blobs)

    async def get(self, name: str) -> bytes | None:
        """Return what was put under a name, or None."""
        blob = self._blobs.get(name)
        if blob is None:
            return None
        if blob.ends_at <= self._clock():
            self._drop(name)
            return None
        self._blobs.move_to_end(name)
        if blob.owner:
            self._names_of[blob.owner].move_to_end(name)
        return blob.value

    async def put(self, name: str, value: bytes, *, lifetime_s: float, owner: str = "") -> None:
        """Keep a value for at most `lifetime_s`; older ones, its owner's first, make room."""
        self._drop(name)
        most_of_one = self._max_bytes_per_owner if owner else None
        if len(value) > (self._max_bytes if most_of_one is None else most_of_one):
            return
        self._blobs[name] = _Blob(value, self._clock() + lifetime_s, owner)
        self._bytes += len(value)
        if owner:
            self._names_of.setdefault(owner, OrderedDict())[name] = None
            self._bytes_of[owner] = self._bytes_of.get(owner, 0) + len(value)
            while most_of_one is not None and self._bytes_of[owner] > most_of_one:
                self._drop(next(iter(self._names_of[owner])))
        while len(self._blobs) > self._max_entries or self._bytes > self._max_bytes:
            self._drop(next(iter(self._blobs)))

    async def delete(self, name: str) -> None:
        """Forget a value, if there is one."""
        self._drop(name)

    def _drop(self, name: str) -> None:
        blob = self._blobs.pop(name, None)
        if blob is None:
            return
        self._bytes -= len(blob.value)
        if blob.owner:
            names = self._names_of[blob.owner]
            del names[name]
            self._bytes_of[blob.owner] -= len(blob.value)
            if not names:
                del self._names_of[blob.owner], self._bytes_of[blob.owner]
