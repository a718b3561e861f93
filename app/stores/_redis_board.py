"""What processes tell each other through Redis: one hash, a field for each, gone when all are."""

from collections.abc import Mapping, Sequence

from app.redis_client.pipeline import Pipeline

_KEPT_MS = 60_000
"""After nobody told anything for so long nothing is left."""


class RedisBoard:
    """Notes that processes put up for each other, each its own."""

    def __init__(self, pipeline: Pipeline, *, prefix: str) -> None:
        self._pipeline = pipeline
        self._name = f"{{{prefix}:board}}"

    async def exchange(
        self, owner: str, note: bytes, *, gone: Sequence[str] = ()
    ) -> Mapping[str, bytes]:
        """Put up a note in place of the one before, and return everybody's."""
        commands: list[tuple[str | bytes | int, ...]] = [
            ("HSET", self._name, owner, note),
            ("PEXPIRE", self._name, _KEPT_MS),
        ]
        if gone:
            commands.append(("HDEL", self._name, *gone))
        *_, told = await self._pipeline.call(*commands, ("HGETALL", self._name))
        if isinstance(told, Mapping):
            return {bytes(each).decode(): bytes(value) for each, value in told.items()}
        pairs = iter(told)
        return {
            bytes(each).decode(): bytes(value) for each, value in zip(pairs, pairs, strict=True)
        }
