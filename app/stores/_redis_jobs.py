"""Jobs in Redis, which several processes work at in turn. The time is the server's.

All names share a hash tag, and so one slot of a cluster.
"""

from collections.abc import Mapping, Sequence

from app.redis_client.pipeline import Pipeline
from app.stores._redis_scripts import RedisScripts
from app.stores.jobs import Fence, JobRecord

_FIELDS = ("owner", "created", "open", "value")
_AT_ONCE = 200
"""Records or parts that are asked for together."""


class RedisJobs:
    """Records, parts and leases."""

    def __init__(self, pipeline: Pipeline, scripts: RedisScripts, *, prefix: str) -> None:
        self._pipeline = pipeline
        self._scripts = scripts
        self._tag = f"{{{prefix}:batches}}"

    async def now(self) -> float:
        """Return the time of the server, in seconds since the epoch."""
        ((seconds, microseconds),) = await self._pipeline.call(("TIME",))
        return int(seconds) + int(microseconds) / 1e6

    async def put(
        self, record: JobRecord, *, lifetime_s: float, fence: Fence | None = None
    ) -> bool:
        """Add a record or replace it; return whether the fence let that happen."""
        kind, created = record.kind, repr(record.created_at)
        names = (
            self._record(kind, record.record_id),
            self._of(kind, record.owner),
            self._open(kind),
            self._lease("" if fence is None else fence.lease),
        )
        (done,) = await self._pipeline.call(
            (
                *("EVALSHA", self._scripts.put_record.sha, len(names), *names),
                *("" if fence is None else fence.holder, _milliseconds(lifetime_s)),
                *(record.record_id, created, int(record.is_open), record.owner, record.value),
            )
        )
        return bool(done)

    async def get(self, kind: str, record_id: str) -> JobRecord | None:
        """Return a record."""
        (found,) = await self._read(kind, (record_id,))
        return found

    async def of_owner(self, kind: str, owner: str) -> tuple[JobRecord, ...]:
        """Return the records of an owner, the latest first."""
        name = self._of(kind, owner)
        (ids,) = await self._pipeline.call(("ZREVRANGE", name, 0, -1))
        record_ids = [bytes(each).decode() for each in ids]
        found: list[JobRecord | None] = []
        for start in range(0, len(record_ids), _AT_ONCE):
            found += await self._read(kind, record_ids[start : start + _AT_ONCE])
        gone = [each for each, record in zip(record_ids, found, strict=True) if record is None]
        if gone:
            await self._pipeline.call(("ZREM", name, *gone))
        return tuple(record for record in found if record is not None)

    async def open_ids(self, kind: str) -> tuple[str, ...]:
        """Return the ids of all records that somebody has yet to work at, the oldest first."""
        (ids,) = await self._pipeline.call(("ZRANGE", self._open(kind), 0, -1))
        return tuple(bytes(each).decode() for each in ids)

    async def remove(self, kind: str, record_id: str) -> None:
        """Forget a record, if there is one."""
        found = await self.get(kind, record_id)
        commands: list[tuple[str, ...]] = [
            ("DEL", self._record(kind, record_id)),
            ("ZREM", self._open(kind), record_id),
        ]
        if found is not None:
            commands.append(("ZREM", self._of(kind, found.owner), record_id))
        await self._pipeline.call(*commands)

    async def put_parts(
        self,
        box: str,
        parts: Mapping[int, bytes],
        *,
        lifetime_s: float,
        fence: Fence | None = None,
    ) -> bool:
        """Put parts into a box, in place of those of the same numbers; all of them or none."""
        names = self._box(box), self._lease("" if fence is None else fence.lease)
        values = [each for number, value in parts.items() for each in (number, value)]
        (done,) = await self._pipeline.call(
            (
                *("EVALSHA", self._scripts.put_parts.sha, len(names), *names),
                *("" if fence is None else fence.holder, _milliseconds(lifetime_s), *values),
            )
        )
        return bool(done)

    async def parts(self, box: str, numbers: Sequence[int]) -> list[bytes | None]:
        """Return the parts of these numbers, None where there is none."""
        found: list[bytes | None] = []
        for start in range(0, len(numbers), _AT_ONCE):
            wanted = numbers[start : start + _AT_ONCE]
            (values,) = await self._pipeline.call(("HMGET", self._box(box), *wanted))
            found += [None if value is None else bytes(value) for value in values]
        return found

    async def numbers(self, box: str) -> tuple[int, ...]:
        """Return the numbers of all parts of a box, in order."""
        (found,) = await self._pipeline.call(("HKEYS", self._box(box)))
        return tuple(sorted(int(each) for each in found))

    async def drop(self, box: str) -> None:
        """Forget a box with all its parts."""
        await self._pipeline.call(("DEL", self._box(box)))

    async def hold(self, name: str, holder: str, *, lease_s: float) -> bool:
        """Take a lease for `lease_s`, or renew it; return False where somebody else holds it."""
        return await self._hold(name, holder, _milliseconds(lease_s))

    async def let_go(self, name: str, holder: str) -> None:
        """Give a lease back, where this holder has it."""
        await self._hold(name, holder, 0)

    async def _hold(self, name: str, holder: str, milliseconds: int) -> bool:
        script = self._scripts.hold_lease.sha
        command = ("EVALSHA", script, 1, self._lease(name), holder, milliseconds)
        (done,) = await self._pipeline.call(command)
        return bool(done)

    async def _read(self, kind: str, record_ids: Sequence[str]) -> list[JobRecord | None]:
        rows = await self._pipeline.call(
            *(("HMGET", self._record(kind, each), *_FIELDS) for each in record_ids)
        )
        return [
            None
            if value is None
            else JobRecord(
                kind=kind,
                record_id=record_id,
                owner=bytes(owner).decode(),
                created_at=float(created),
                is_open=bytes(is_open) == b"1",
                value=bytes(value),
            )
            for record_id, (owner, created, is_open, value) in zip(record_ids, rows, strict=True)
        ]

    def _record(self, kind: str, record_id: str) -> str:
        return f"{self._tag}:r:{kind}:{record_id}"

    def _of(self, kind: str, owner: str) -> str:
        return f"{self._tag}:of:{kind}:{owner}"

    def _open(self, kind: str) -> str:
        return f"{self._tag}:open:{kind}"

    def _box(self, box: str) -> str:
        return f"{self._tag}:p:{box}"

    def _lease(self, name: str) -> str:
        return f"{self._tag}:lease:{name}"


def _milliseconds(seconds: float) -> int:
    return max(1, int(seconds * 1000))
