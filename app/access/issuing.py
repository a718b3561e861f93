"""Virtual keys made, listed, rotated, revoked: what the admin API and the console share."""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from app.access.secrets import digest_of, new_key_id, new_secret
from app.access.terms import KeyTerms, KnownNames
from app.errors import InvalidRequestError, KeyNotFoundError
from app.keys import KeyRecord
from app.stores._base import Keys

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedKey:
    """A key as it is told to those who manage it.

    Attributes
    ----------
    record
        The one of the secret that counts; its `created_at` is when that secret was made.
    created_at
        When the key was made, in seconds since the epoch.
    old_secret_until
        Until when a secret that was rotated away still works, in seconds since the epoch.
    """

    record: KeyRecord
    created_at: float
    old_secret_until: float | None = None

    def status(self, now: float) -> str:
        """Return `active`, `expired` or `revoked`."""
        if self.record.usable(now):
            return "active"
        return "expired" if self.record.revoked_at is None else "revoked"


class Issuer:
    """Make and change keys in a store.

    Parameters
    ----------
    known
        Returns the names that keys may refer to.
    on_change
        Called with the digest of each record that changed, so that nobody believes the old one.
    now
        Seconds since the epoch.
    """

    def __init__(
        self,
        keys: Keys,
        known: Callable[[], KnownNames],
        *,
        on_change: Callable[[str], None] = lambda _: None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._keys = keys
        self._known = known
        self._on_change = on_change
        self._now = now
        # Records are read, changed and written back: two changes at once must not undo each other.
        self._changing = asyncio.Lock()

    async def create(self, terms: KeyTerms) -> tuple[IssuedKey, str]:
        """Make a key; return it and its secret, which is known nowhere else.

        Raises
        ------
        InvalidRequestError
            If the terms name something that is not configured.
        StoreError
        """
        self._known().check(terms)
        secret = new_secret()
        record = terms.to_record(
            key_id=new_key_id(), digest=digest_of(secret.encode()), now=self._now()
        )
        await self._save(record)
        _tell("key created", record)
        return IssuedKey(record=record, created_at=record.created_at), secret

    async def all(self) -> tuple[IssuedKey, ...]:
        """Return every key, revoked ones too, oldest first.

        Raises
        ------
        StoreError
        """
        records: dict[str, list[KeyRecord]] = {}
        for record in await self._keys.all():
            records.setdefault(record.key_id, []).append(record)
        return tuple(self._issued(each) for each in records.values())

    async def get(self, key_id: str) -> IssuedKey:
        """Return one key.

        Raises
        ------
        KeyNotFoundError
        StoreError
        """
        return self._issued(await self._records(key_id))

    async def revoke(self, key_id: str) -> IssuedKey:
        """Make all secrets of a key useless for good; a second time changes nothing.

        Raises
        ------
        KeyNotFoundError
        StoreError
        """
        async with self._changing:
            now = self._now()
            records = []
            for each in await self._records(key_id):
                record = each
                if record.revoked_at is None:
                    record = msgspec.structs.replace(record, revoked_at=now)
                    await self._save(record)
                records.append(record)
        issued = self._issued(records)
        _tell("key revoked", issued.record)
        return issued

    async def rotate(self, key_id: str, *, grace_s: float) -> tuple[IssuedKey, str]:
        """Give a key a new secret; the old one works for `grace_s` more seconds.

        Limits, budgets, what is spent and the expiry of the key stay as they are.

        Raises
        ------
        KeyNotFoundError
        InvalidRequestError
            If the key is revoked or expired.
        StoreError
        """
        async with self._changing:
            now = self._now()
            records = await self._records(key_id)
            old = self._issued(records)
            if not old.record.usable(now):
                raise InvalidRequestError(
                    f"the key {key_id} is {old.status(now)}; create a new one", param="key_id"
                )
            secret = new_secret()
            digest = digest_of(secret.encode())
            new = msgspec.structs.replace(old.record, digest=digest, created_at=now)
            ends_at = now + grace_s
            # The new secret works before the old one is limited: a crash in between locks
            # nobody out, and the next rotation limits both.
            await self._save(new)
            for record in records:
                expires_at = record.expires_at
                if record.replaced_by is None or expires_at is None or expires_at > ends_at:
                    ended = msgspec.structs.replace(
                        record,
                        expires_at=ends_at if expires_at is None else min(expires_at, ends_at),
                        replaced_by=record.replaced_by or digest,
                    )
                    await self._save(ended)
        _tell("key rotated", new)
        return await self.get(key_id), secret

    async def _records(self, key_id: str) -> list[KeyRecord]:
        records = [each for each in await self._keys.all() if each.key_id == key_id]
        if not records:
            # Not repeated: some put the secret where the name belongs.
            raise KeyNotFoundError("there is no key of this name", param="key_id")
        return records

    def _issued(self, records: list[KeyRecord]) -> IssuedKey:
        records = sorted(records, key=lambda each: each.created_at)
        current = [each for each in records if each.replaced_by is None] or records
        now = self._now()
        ends = [
            each.expires_at
            for each in records
            if each.replaced_by is not None and each.expires_at is not None and each.usable(now)
        ]
        return IssuedKey(
            record=current[-1],
            created_at=records[0].created_at,
            old_secret_until=max(ends, default=None),
        )

    async def _save(self, record: KeyRecord) -> None:
        await self._keys.save(record)
        self._on_change(record.digest)


def _tell(message: str, record: KeyRecord) -> None:
    fields = {"key_id": record.key_id, "name": record.name, "owner": record.owner}
    _log.info(message, extra={"fields": fields})
