"""Virtual keys for tests: a `Keys` that can be cut off, and records made short."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from app.access.secrets import digest_of, new_key_id, new_secret
from app.keys import AuditEntry, KeyRecord
from app.stores.base import Store, StoreError
from app.stores.keys import KeyChange, check_unchanged
from app.stores.memory import MemoryStore

NOW = 1_795_300_000.0
"""Some moment, in seconds since the epoch."""


@dataclass(slots=True)
class DictKeys:
    """Keys in a dictionary; `down` cuts it off, `asked` counts look-ups."""

    records: dict[str, KeyRecord] = field(default_factory=dict)
    audit: list[AuditEntry] = field(default_factory=list)
    down: bool = False
    asked: int = 0

    async def find(self, digest: str) -> KeyRecord | None:
        """Return the record of a digest."""
        self.asked += 1
        self._check()
        return self.records.get(digest)

    async def save(self, record: KeyRecord) -> None:
        """Add or replace a record."""
        self._check()
        self.records[record.digest] = record

    async def change(
        self, changes: Sequence[KeyChange], *, entry: AuditEntry | None = None
    ) -> None:
        """Make changes if nobody else made one meanwhile."""
        self._check()
        for change in changes:
            check_unchanged(change, self.records.get(change.after.digest))
        for change in changes:
            self.records[change.after.digest] = change.after
        if entry is not None:
            self.audit.insert(0, entry)

    async def history(self, *, key_id: str | None, limit: int) -> tuple[AuditEntry, ...]:
        """Return what was done, the latest first."""
        self._check()
        found = [each for each in self.audit if key_id is None or each.key_id == key_id]
        return tuple(found[:limit])

    async def all(self) -> tuple[KeyRecord, ...]:
        """Return every record, oldest first."""
        self._check()
        return tuple(sorted(self.records.values(), key=lambda each: each.created_at))

    def issue(self, **fields: Any) -> tuple[KeyRecord, str]:
        """Put a key in by hand; return it and its secret."""
        record, secret = new_record(**fields)
        self.records[record.digest] = record
        return record, secret

    def _check(self) -> None:
        if self.down:
            raise StoreError("cut off")


@dataclass(slots=True)
class SetClock:
    """A clock that stands until it is set."""

    at: float = NOW

    def __call__(self) -> float:
        """Return the time."""
        return self.at


def new_record(**fields: Any) -> tuple[KeyRecord, str]:
    """Return a record and its secret; `fields` are those of the record."""
    secret = new_secret()
    values = {
        "key_id": new_key_id(),
        "digest": digest_of(secret.encode()),
        "name": "test",
        "created_at": NOW,
    }
    return KeyRecord(**{**values, **fields}), secret


def bearer(secret: str) -> list[tuple[bytes, bytes]]:
    """Return the headers that carry a secret."""
    return [(b"authorization", b"Bearer " + secret.encode())]


@dataclass(slots=True)
class DictStore:
    """A store whose keys are a dictionary; all else is that of one process."""

    keys: DictKeys = field(default_factory=DictKeys)

    @property
    def store(self) -> Store:
        """The store."""
        return replace(MemoryStore(None).store, keys=self.keys)

    async def open(self) -> None:
        """Do nothing."""

    async def healthy(self) -> bool:
        """Return whether the keys can be asked."""
        return not self.keys.down

    async def aclose(self) -> None:
        """Do nothing."""
