"""Virtual keys made, changed, rotated, revoked: what the admin API and the console share."""

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec.structs import replace

from app.access.changes import KeyChanges
from app.access.secrets import digest_of, new_key_id, new_secret
from app.access.terms import KeyTerms, KnownNames
from app.errors import InvalidRequestError, KeyNotFoundError, KeyVersionError
from app.keys import AuditEntry, KeyRecord
from app.stores.base import StoreError
from app.stores.keys import KeyChange, KeyChangedError, Keys

_log = logging.getLogger(__name__)

SOMEBODY = "unknown"
"""Who changed a key where nobody says."""

_MAX_TRIES = 100
"""Every try that fails is one that somebody else succeeded in."""
_NOTHING_SAID = KeyRecord(key_id="", digest="", name="", created_at=0.0)
_UNTOLD = frozenset({"key_id", "digest", "created_at", "replaced_by", "version"})
"""What is no term of a key."""


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
        """Return `active`, `disabled`, `expired` or `revoked`."""
        if self.record.usable(now):
            return "active"
        if self.record.alive(now):
            return "disabled"
        return "expired" if self.record.revoked_at is None else "revoked"


_Planned = tuple[Sequence[KeyChange], str | None]
"""The records to change, and the secret that was made for that."""


class Issuer:
    """Make and change keys in a store.

    A key is read, changed and written back only if nobody else changed it meanwhile, be it another
    process; otherwise it is read again.

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

    async def create(self, terms: KeyTerms, *, by: str = SOMEBODY) -> tuple[IssuedKey, str]:
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
        await self._write([KeyChange(before=None, after=record)], action="created", by=by)
        return IssuedKey(record=record, created_at=record.created_at), secret

    async def all(self) -> tuple[IssuedKey, ...]:
        """Return every key, revoked ones too, oldest first.

        Raises
        ------
        StoreError
        """
        return await asyncio.to_thread(self._grouped, await self._keys.all())

    async def get(self, key_id: str) -> IssuedKey:
        """Return one key.

        Raises
        ------
        KeyNotFoundError
        StoreError
        """
        return self._issued(await self._records(key_id))

    async def history(self, *, key_id: str | None, limit: int) -> tuple[AuditEntry, ...]:
        """Return what was done to keys, or to one, the latest first.

        Raises
        ------
        StoreError
        """
        return await self._keys.history(key_id=key_id, limit=limit)

    async def update(
        self,
        key_id: str,
        changes: KeyChanges,
        *,
        versions: Collection[int] | None = None,
        by: str = SOMEBODY,
    ) -> IssuedKey:
        """Change the terms of a key; its secrets, what it spent and its history stay.

        A secret that was rotated away and still works follows.

        Parameters
        ----------
        versions
            Those of the key that the change is meant for; None means any.

        Raises
        ------
        KeyNotFoundError
        KeyVersionError
            If the key is of another version.
        InvalidRequestError
            If the key is revoked, or what comes out does not fit together.
        StoreError
        """
        changes.check(self._known())

        def plan(records: list[KeyRecord], now: float) -> _Planned:
            old = self._issued(records)
            if old.record.revoked_at is not None:
                raise InvalidRequestError(
                    f"the key {key_id} is revoked; create a new one", param="key_id"
                )
            new = changes.apply(old.record, now=now)
            if new == old.record:
                return (), None
            new = replace(new, version=old.record.version + 1)
            return [
                KeyChange(before=each, after=new if each is old.record else _followed(each, new))
                for each in _current_first(records, old.record)
            ], None

        issued, _ = await self._change(key_id, plan, action="updated", versions=versions, by=by)
        return issued

    async def revoke(
        self, key_id: str, *, versions: Collection[int] | None = None, by: str = SOMEBODY
    ) -> IssuedKey:
        """Make all secrets of a key useless for good; a second time changes nothing.

        Raises
        ------
        KeyNotFoundError
        KeyVersionError
            If the key is of another version.
        StoreError
        """

        def plan(records: list[KeyRecord], now: float) -> _Planned:
            current = self._issued(records).record
            return [
                KeyChange(
                    before=each, after=replace(each, revoked_at=now, version=current.version + 1)
                )
                for each in _current_first(records, current)
                if each.revoked_at is None
            ], None

        issued, _ = await self._change(key_id, plan, action="revoked", versions=versions, by=by)
        return issued

    async def rotate(
        self,
        key_id: str,
        *,
        grace_s: float,
        versions: Collection[int] | None = None,
        by: str = SOMEBODY,
    ) -> tuple[IssuedKey, str]:
        """Give a key a new secret; the old one works for `grace_s` more seconds.

        Limits, budgets, what is spent and the expiry of the key stay as they are.

        Raises
        ------
        KeyNotFoundError
        KeyVersionError
            If the key is of another version.
        InvalidRequestError
            If the key is revoked or expired.
        StoreError
        """

        def plan(records: list[KeyRecord], now: float) -> _Planned:
            old = self._issued(records)
            if not old.record.alive(now):
                raise InvalidRequestError(
                    f"the key {key_id} is {old.status(now)}; create a new one", param="key_id"
                )
            secret = new_secret()
            digest = digest_of(secret.encode())
            version = old.record.version + 1
            new = replace(old.record, digest=digest, created_at=now, version=version)
            ends_at = now + grace_s
            plan = []
            for each in _current_first(records, old.record):
                expires_at = each.expires_at
                if each.replaced_by is None or expires_at is None or expires_at > ends_at:
                    ended = replace(
                        each,
                        expires_at=ends_at if expires_at is None else min(expires_at, ends_at),
                        replaced_by=each.replaced_by or digest,
                        version=version,
                    )
                    plan.append(KeyChange(before=each, after=ended))
            return [*plan, KeyChange(before=None, after=new)], secret

        issued, secret = await self._change(
            key_id, plan, action="rotated", versions=versions, by=by
        )
        assert secret is not None  # noqa: S101  (made by the plan above)
        return issued, secret

    async def _change(
        self,
        key_id: str,
        plan: Callable[[list[KeyRecord], float], _Planned],
        *,
        action: str,
        versions: Collection[int] | None,
        by: str,
    ) -> tuple[IssuedKey, str | None]:
        """Read a key, plan what becomes of it and write that, until nobody interferes."""
        for _ in range(_MAX_TRIES):
            records = await self._records(key_id)
            issued = self._issued(records)
            if versions is not None and issued.record.version not in versions:
                raise KeyVersionError(
                    f"the key {key_id} is of version {issued.record.version} by now; read it "
                    "again, and decide anew"
                )
            planned, secret = plan(records, self._now())
            if not planned:
                return issued, secret
            try:
                await self._write(planned, action=action, by=by)
            except KeyChangedError:
                continue
            after = {each.digest: each for each in records}
            after |= {each.after.digest: each.after for each in planned}
            return self._issued(list(after.values())), secret
        raise StoreError(f"the key {key_id} is changed all the time by others")

    async def _write(self, changes: Sequence[KeyChange], *, action: str, by: str) -> None:
        entry = _entry(changes[0], action=action, by=by, now=self._now())
        try:
            await self._keys.change(changes, entry=entry)
        finally:
            # Whatever went wrong, it may have been written.
            for change in changes:
                self._on_change(change.after.digest)
        fields = msgspec.to_builtins(entry)
        _log.info(
            "key %s", entry.done, extra={"fields": {**fields, "owner": changes[0].after.owner}}
        )

    def _grouped(self, found: Sequence[KeyRecord]) -> tuple[IssuedKey, ...]:
        records: dict[str, list[KeyRecord]] = {}
        for record in found:
            records.setdefault(record.key_id, []).append(record)
        return tuple(self._issued(each) for each in records.values())

    async def _records(self, key_id: str) -> list[KeyRecord]:
        records = [each for each in await self._keys.all() if each.key_id == key_id]
        if not records:
            # Not repeated: some put the secret where the name belongs.
            raise KeyNotFoundError(
                "there is no key of this id; ids are like key-3f6c0a91b2d4 (`steelyard keys list`)",
                param="key_id",
            )
        return records

    def _issued(self, records: list[KeyRecord]) -> IssuedKey:
        records = sorted(records, key=lambda each: each.created_at)
        current = [each for each in records if each.replaced_by is None] or records
        now = self._now()
        ends = [
            each.expires_at
            for each in records
            if each.replaced_by is not None and each.expires_at is not None and each.alive(now)
        ]
        return IssuedKey(
            record=current[-1],
            created_at=records[0].created_at,
            old_secret_until=max(ends, default=None),
        )


def _current_first(records: Sequence[KeyRecord], current: KeyRecord) -> list[KeyRecord]:
    return sorted(records, key=lambda each: each is not current)


def _followed(record: KeyRecord, new: KeyRecord) -> KeyRecord:
    """Return the record of a secret that was rotated away, by the terms that hold now."""
    ends = [each for each in (record.expires_at, new.expires_at) if each is not None]
    return replace(
        new,
        digest=record.digest,
        created_at=record.created_at,
        replaced_by=record.replaced_by,
        expires_at=min(ends, default=None),
    )


def _entry(change: KeyChange, *, action: str, by: str, now: float) -> AuditEntry:
    """Return what is kept of a change: terms alone, never a digest."""
    record = change.after
    before = change.before
    return AuditEntry(
        at=now,
        by=by,
        done=action,
        key_id=record.key_id,
        name=record.name,
        version=record.version,
        changes={
            name: (None if before is None else _plain(getattr(before, name)), _plain(value))
            for name, value in msgspec.structs.asdict(record).items()
            if name not in _UNTOLD and value != getattr(before or _NOTHING_SAID, name)
        },
    )


def _plain(value: Any) -> Any:
    # A set has no order.
    return sorted(value) if isinstance(value, frozenset) else msgspec.to_builtins(value)
