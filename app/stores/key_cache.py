"""Virtual keys of a shared store, remembered for a while in a bounded cache."""

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from app.keys import AuditEntry, KeyRecord
from app.stores.base import StoreError
from app.stores.keys import KeyChange, Keys
from app.stores.watch import Feature, Watch


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyTimes:
    """How long what is known of keys is believed.

    Attributes
    ----------
    fresh_s
        Without asking; a revoked key is refused after this at the latest.
    grace_s
        While the shared store cannot be asked.
    unknown_s
        That there is no such key.
    max_keys
        How many are remembered, and as many unknown ones.
    """

    fresh_s: float = 10.0
    grace_s: float = 300.0
    unknown_s: float = 3.0
    max_keys: int = 10_000


class CachedKeys:
    """Known keys live on while the shared store is down; unknown ones are refused."""

    def __init__(
        self, shared: Keys, watch: Watch, *, clock: Callable[[], float], times: KeyTimes
    ) -> None:
        self._shared = shared
        self._watch = watch
        self._clock = clock
        self._times = times
        self._known: OrderedDict[str, tuple[KeyRecord, float]] = OrderedDict()
        self._unknown: OrderedDict[str, float] = OrderedDict()

    async def find(self, digest: str) -> KeyRecord | None:
        """Return a record that was seen lately, else ask; an old one if asking fails."""
        now = self._clock()
        record, seen_at = self._known.get(digest, (None, -math.inf))
        if 0 <= now - seen_at < self._times.fresh_s:
            self._known.move_to_end(digest)
            return record
        if 0 <= now - self._unknown.get(digest, -math.inf) < self._times.unknown_s:
            return None
        try:
            found = await self._shared.find(digest)
        except StoreError as error:
            self._watch.failed("find", Feature.KEYS, error)
            if 0 <= now - seen_at < self._times.grace_s:
                return record
            raise
        self._watch.worked("find")
        self._remember(digest, found, now)
        return found

    async def save(self, record: KeyRecord) -> None:
        """Save in the shared store, which other processes see after the cached one is stale."""
        try:
            await self._shared.save(record)
        except StoreError as error:
            # Perhaps it was saved: ask again before trusting what was known.
            self._known.pop(record.digest, None)
            self._watch.failed("save", Feature.KEYS, error)
            raise
        self._watch.worked("save")
        self._remember(record.digest, record, self._clock())

    async def change(
        self, changes: Sequence[KeyChange], *, entry: AuditEntry | None = None
    ) -> None:
        """Change in the shared store; whatever comes of it, what was known is not believed."""
        for change in changes:
            self._known.pop(change.after.digest, None)
        try:
            await self._shared.change(changes, entry=entry)
        except StoreError as error:
            self._watch.failed("change", Feature.KEYS, error)
            raise
        self._watch.worked("change")
        now = self._clock()
        for change in changes:
            self._remember(change.after.digest, change.after, now)

    async def all(self) -> tuple[KeyRecord, ...]:
        """Ask the shared store."""
        try:
            records = await self._shared.all()
        except StoreError as error:
            self._watch.failed("all", Feature.KEYS, error)
            raise
        self._watch.worked("all")
        return records

    async def history(self, *, key_id: str | None, limit: int) -> tuple[AuditEntry, ...]:
        """Ask the shared store."""
        try:
            entries = await self._shared.history(key_id=key_id, limit=limit)
        except StoreError as error:
            self._watch.failed("history", Feature.KEYS, error)
            raise
        self._watch.worked("history")
        return entries

    def _remember(self, digest: str, record: KeyRecord | None, now: float) -> None:
        if record is None:
            self._known.pop(digest, None)
            self._unknown[digest] = now
            self._unknown.move_to_end(digest)
            if len(self._unknown) > self._times.max_keys:
                self._unknown.popitem(last=False)
            return
        self._unknown.pop(digest, None)
        self._known[digest] = (record, now)
        self._known.move_to_end(digest)
        if len(self._known) > self._times.max_keys:
            self._known.popitem(last=False)
