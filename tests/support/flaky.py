"""Parts of a store that fail when told to."""

import asyncio

from app.stores.base import StoreAnsweredError, StoreError


class Flaky:
    """One part of a store that fails as told, before or after it did what it was asked."""

    def __init__(self, part: object) -> None:
        self._part = part
        self.before: Exception | None = None
        self.after: StoreError | None = None
        self.refused: frozenset[str] = frozenset()
        self.hangs = False
        self.calls: list[str] = []

    def __getattr__(self, name: str):
        async def call(*args, **kwargs):
            self.calls.append(name)
            if self.before is not None:
                raise self.before
            if args and isinstance(args[0], str) and args[0] in self.refused:
                raise StoreAnsweredError("WRONGTYPE")
            answer = await getattr(self._part, name)(*args, **kwargs)
            if self.hangs:
                await asyncio.Event().wait()
            if self.after is not None:
                raise self.after
            return answer

        return call
