"""Cached answers in Redis: bounded for each key and in all, and the first to go when it is full.

All of them share a hash tag, and so one slot of a cluster: what they take is counted there,
exactly, by the script that puts them.
"""

import asyncio
import math

from app.redis_client.connection import Command
from app.redis_client.pipeline import Pipeline
from app.stores._redis_scripts import RedisScripts
from app.stores.base import StoreError
from app.stores.bounds import AnswerBounds
from app.stores.watch import NO_EVENTS, StoreEvents

_ENTRY_BYTES = 600
"""What an entry takes beside its value: three names, four places in tables, two lifetimes."""
_SHARE_DROPPED = 8
"""Where room has to be made, one part in so many of what may be kept goes."""
_RECENT_S = 1.0


class RedisAnswers:
    """Answers within bounds.

    Parameters
    ----------
    pipeline
        May lead to another server than the one that counts.
    events
        Notified of answers that were dropped to make room.
    room
        What their names have in common, besides the prefix.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        scripts: RedisScripts,
        *,
        prefix: str,
        bounds: AnswerBounds,
        events: StoreEvents = NO_EVENTS,
        room: str = "answers",
    ) -> None:
        self._pipeline = pipeline
        self._scripts = scripts
        self._bounds = bounds
        tag = f"{{{prefix}:{room}}}"
        self._value, self._of = f"{tag}:v:", f"{tag}:of:"
        self._due, self._sizes, self._sums = f"{tag}:due", f"{tag}:sizes", f"{tag}:sums"
        self._dropping = asyncio.Lock()
        self._n_drops, self._dropped_at = 0, -math.inf
        self._lost = events.lost

    async def get(self, name: str) -> bytes | None:
        """Return what was put under a name, or None."""
        (value,) = await self._pipeline.call(("GET", self._value + name))
        return None if value is None else bytes(value)

    async def put(self, name: str, value: bytes, *, lifetime_s: float, owner: str) -> None:
        """Keep a value for at most `lifetime_s`; the oldest of its owner, and of all, make room."""
        if len(value) + _ENTRY_BYTES <= min(self._bounds.bytes, self._bounds.bytes_of(owner)):
            await self._pipeline.call(self._put(name, value, lifetime_s=lifetime_s, owner=owner))

    async def delete(self, name: str) -> None:
        """Forget a value, if there is one.

        Nothing takes its place, for the shortest lifetime there is, so that what it took of the
        bounds is counted as gone.
        """
        await self._pipeline.call(
            self._put(name, b"", lifetime_s=0.0, owner=""), ("DEL", self._value + name)
        )

    async def make_room(self) -> bool:
        """Drop the oldest answers for what must not fail; return whether there is more room now."""
        loop, n_drops = asyncio.get_running_loop(), self._n_drops
        async with self._dropping:
            if self._n_drops != n_drops:
                return True  # several missed it at once
            try:
                (dropped,) = await self._pipeline.call(
                    self._call(
                        self._scripts.drop_answers.sha,
                        (self._due, self._sizes, self._sums),
                        (self._bounds.bytes // _SHARE_DROPPED, self._value, self._of),
                    )
                )
            except StoreError:
                return False
            if dropped:
                self._n_drops, self._dropped_at = self._n_drops + 1, loop.time()
                self._lost("answers", dropped)
            # What was refused may have been on its way when room was made.
            return loop.time() < self._dropped_at + _RECENT_S

    def _put(self, name: str, value: bytes, *, lifetime_s: float, owner: str) -> Command:
        return self._call(
            self._scripts.put_answer.sha,
            (self._value + name, self._due, self._of + owner, self._sizes, self._sums),
            (
                *(name, value, max(1, int(lifetime_s * 1000)), owner),
                *(self._bounds.bytes, self._bounds.bytes_of(owner), _ENTRY_BYTES),
                *(self._value, self._of),
            ),
        )

    @staticmethod
    def _call(sha: str, keys: tuple[str, ...], arguments: Command) -> Command:
        return ("EVALSHA", sha, len(keys), *keys, *arguments)
