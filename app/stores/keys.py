"""The seam of virtual keys: records by the digest of their secret, changed by compare-and-set."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from app.keys import AuditEntry, KeyRecord

MAX_AUDIT = 10_000
"""How many changes of keys are remembered."""


class KeyChange(msgspec.Struct, frozen=True, kw_only=True):
    """One record of a key as it was read, and as it is to be.

    Attributes
    ----------
    before
        None where there was no record of this digest.
    after
        Of the same digest.
    """

    before: KeyRecord | None
    after: KeyRecord


class KeyChangedError(Exception):
    """A key is no longer what it was when it was read; read it again before changing it."""


def check_unchanged(change: KeyChange, found: KeyRecord | None) -> None:
    """Refuse a change of a record that is not what it was.

    Raises
    ------
    KeyChangedError
    """
    if found != change.before:
        raise KeyChangedError(
            f"the key {change.after.key_id} was changed by somebody else meanwhile"
        )


class Keys(Protocol):
    """Virtual keys by the digest of their secret."""

    async def find(self, digest: str) -> KeyRecord | None:
        """Return the record of a digest.

        Raises
        ------
        StoreError
        """
        ...

    async def save(self, record: KeyRecord) -> None:
        """Add a record, or replace the one of the same digest.

        Raises
        ------
        StoreError
        """
        ...

    async def change(
        self, changes: Sequence[KeyChange], *, entry: AuditEntry | None = None
    ) -> None:
        """Make several changes, all of them or none, if nobody else made one meanwhile.

        `entry` says who did what; it is kept with the changes or not at all.

        Two processes that read a key, change it and write it back would undo each other's change
        with `save`; here the second one is told.

        Raises
        ------
        KeyChangedError
            If any record differs from its `before`; nothing was changed.
        StoreError
            It is then not known whether it happened; reading again tells.
        """
        ...

    async def all(self) -> tuple[KeyRecord, ...]:
        """Return every record, revoked ones too, oldest first.

        Raises
        ------
        StoreError
        """
        ...

    async def history(self, *, key_id: str | None, limit: int) -> tuple[AuditEntry, ...]:
        """Return what was done to keys, or to one, the latest first.

        Of all keys together the latest `MAX_AUDIT` entries are kept.

        Raises
        ------
        StoreError
        """
        ...
