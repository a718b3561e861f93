"""Virtual keys in Redis: one hash, and one script for what must not overwrite others' changes."""

from collections.abc import AsyncIterator, Sequence

import msgspec

from app.keys import AuditEntry, KeyRecord
from app.redis_client.pipeline import Pipeline
from app.stores._redis_scripts import RedisScripts
from app.stores._sqlite_keys import decode_entry, decode_key
from app.stores.keys import MAX_AUDIT, KeyChange, KeyChangedError, check_unchanged

_SCAN_COUNT = 500


class RedisKeys:
    """Virtual keys in one hash, which has no lifetime: keys are never deleted, only revoked."""

    def __init__(self, pipeline: Pipeline, scripts: RedisScripts, *, prefix: str) -> None:
        self._pipeline = pipeline
        self._scripts = scripts
        self._name = f"{{{prefix}:keys}}"
        self._audit = f"{self._name}:audit"

    async def find(self, digest: str) -> KeyRecord | None:
        """Return the record of a digest."""
        (data,) = await self._pipeline.call(("HGET", self._name, digest))
        return None if data is None else decode_key(data)

    async def save(self, record: KeyRecord) -> None:
        """Add a record, or replace the one of the same digest."""
        await self._pipeline.call(("HSET", self._name, record.digest, msgspec.json.encode(record)))

    async def change(
        self, changes: Sequence[KeyChange], *, entry: AuditEntry | None = None
    ) -> None:
        """Make several changes, all of them or none, if nobody else made one meanwhile.

        What is stored is compared as values first: a set has no order, so that the same record may
        have been written in other bytes.
        """
        digests = [change.after.digest for change in changes]
        (stored,) = await self._pipeline.call(("HMGET", self._name, *digests))
        told = b"" if entry is None else msgspec.json.encode(entry)
        arguments: list[str | bytes | int] = [told, MAX_AUDIT]
        for change, data in zip(changes, stored, strict=True):
            check_unchanged(change, None if data is None else decode_key(data))
            # No record is empty, so that this stands for none.
            arguments += (change.after.digest, data or b"", msgspec.json.encode(change.after))
        script = self._scripts.change_keys
        (done,) = await self._pipeline.call(
            ("EVALSHA", script.sha, 2, self._name, self._audit, *arguments)
        )
        if not done:
            raise KeyChangedError("a key was changed by somebody else meanwhile")

    async def all(self) -> tuple[KeyRecord, ...]:
        """Return every record, revoked ones too, oldest first."""
        records = {record.digest: record async for record in self._scan()}
        return tuple(sorted(records.values(), key=lambda key: (key.created_at, key.digest)))

    async def history(self, *, key_id: str | None, limit: int) -> tuple[AuditEntry, ...]:
        """Return what was done to keys, or to one, the latest first."""
        (length,) = await self._pipeline.call(("LLEN", self._audit))
        found: list[AuditEntry] = []
        # Places are counted from the end, which stays where it is while others write.
        for start in range(-int(length), 0, _SCAN_COUNT):
            stop = min(start + _SCAN_COUNT - 1, -1)
            (entries,) = await self._pipeline.call(("LRANGE", self._audit, start, stop))
            read = map(decode_entry, entries)
            found += [each for each in read if key_id is None or each.key_id == key_id]
            if len(found) >= limit:
                break
        return tuple(found[:limit])

    async def _scan(self) -> AsyncIterator[KeyRecord]:
        cursor: int | None = None
        while cursor != 0:
            (reply,) = await self._pipeline.call(
                ("HSCAN", self._name, cursor or 0, "COUNT", _SCAN_COUNT)
            )
            cursor, fields = int(reply[0]), reply[1]
            for data in fields[1::2]:
                yield decode_key(data)
