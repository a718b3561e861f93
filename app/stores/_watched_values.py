"""Values of a shared store that may fail: some are lost at worst, of others somebody is told."""

from collections.abc import Awaitable
from typing import TypeVar

from app.stores.base import Answers, Blobs, Registers, StoreError
from app.stores.watch import Feature, Watch

_T = TypeVar("_T")
_BLOBS, _LESSONS = Feature.BLOBS, Feature.LESSONS


class FallbackBlobs:
    def __init__(self, shared: Blobs, watch: Watch) -> None:
        self._shared = shared
        self._watch = watch

    async def get(self, name: str) -> bytes | None:
        """Ask the shared store; None if it fails."""
        return await _lost_at_worst(self._shared.get(name), "get", self._watch)

    async def put(self, name: str, value: bytes, *, lifetime_s: float) -> None:
        """Tell the shared store; nothing if it fails."""
        putting = self._shared.put(name, value, lifetime_s=lifetime_s)
        await _lost_at_worst(putting, "put", self._watch)


class FallbackAnswers:
    def __init__(self, shared: Answers, watch: Watch) -> None:
        self._shared = shared
        self._watch = watch

    async def get(self, name: str) -> bytes | None:
        """Ask the shared store; None if it fails."""
        return await _lost_at_worst(self._shared.get(name), "get_answer", self._watch)

    async def put(self, name: str, value: bytes, *, lifetime_s: float, owner: str) -> None:
        """Tell the shared store; nothing if it fails."""
        putting = self._shared.put(name, value, lifetime_s=lifetime_s, owner=owner)
        await _lost_at_worst(putting, "put_answer", self._watch)

    async def delete(self, name: str) -> None:
        """Tell the shared store; nothing if it fails."""
        await _lost_at_worst(self._shared.delete(name), "delete_answer", self._watch)


class WatchedAnswers:
    """Answers of whom somebody has to know whether they are still there."""

    def __init__(self, shared: Answers, watch: Watch) -> None:
        self._shared = shared
        self._watch = watch

    async def get(self, name: str) -> bytes | None:
        """Ask the shared store."""
        return await _watched(self._shared.get(name), "get_answer", self._watch, _BLOBS)

    async def put(self, name: str, value: bytes, *, lifetime_s: float, owner: str) -> None:
        """Tell the shared store."""
        putting = self._shared.put(name, value, lifetime_s=lifetime_s, owner=owner)
        await _watched(putting, "put_answer", self._watch, _BLOBS)

    async def delete(self, name: str) -> None:
        """Tell the shared store."""
        await _watched(self._shared.delete(name), "delete_answer", self._watch, _BLOBS)


class WatchedRegisters:
    """Registers whose user goes on with what it has while they cannot be had."""

    def __init__(self, shared: Registers, watch: Watch) -> None:
        self._shared = shared
        self._watch = watch

    async def version(self, name: str) -> str | None:
        """Ask the shared store."""
        return await _watched(self._shared.version(name), "read_lessons", self._watch, _LESSONS)

    async def read(self, name: str) -> tuple[str, bytes] | None:
        """Ask the shared store."""
        return await _watched(self._shared.read(name), "read_lessons", self._watch, _LESSONS)

    async def replace(
        self, name: str, value: bytes, *, version: str, after: str | None, lifetime_s: float
    ) -> bool:
        """Tell the shared store."""
        putting = self._shared.replace(
            name, value, version=version, after=after, lifetime_s=lifetime_s
        )
        return await _watched(putting, "put_lessons", self._watch, _LESSONS)


async def _watched(call: Awaitable[_T], operation: str, watch: Watch, feature: Feature) -> _T:
    try:
        answer = await call
    except StoreError as error:
        watch.failed(operation, feature, error)
        raise
    watch.worked(operation)
    return answer


async def _lost_at_worst(call: Awaitable[_T], operation: str, watch: Watch) -> _T | None:
    try:
        return await _watched(call, operation, watch, _BLOBS)
    except StoreError:
        return None
