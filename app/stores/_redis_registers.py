"""Registers in Redis: a hash for each, and a script for what must not overwrite others' changes."""

from app.redis_client.pipeline import Pipeline
from app.stores._redis_scripts import RedisScripts


class RedisRegisters:
    """Values that several processes change in turn."""

    def __init__(self, pipeline: Pipeline, scripts: RedisScripts, *, prefix: str) -> None:
        self._pipeline = pipeline
        self._replace = scripts.replace_register.sha
        self._name = f"{{{prefix}:registers}}:"

    async def version(self, name: str) -> str | None:
        """Return the version of the value that is there, or None."""
        (version,) = await self._pipeline.call(("HGET", self._name + name, "version"))
        return None if version is None else bytes(version).decode()

    async def read(self, name: str) -> tuple[str, bytes] | None:
        """Return the version and the value that are there, or None."""
        ((version, value),) = await self._pipeline.call(
            ("HMGET", self._name + name, "version", "value")
        )
        if version is None or value is None:
            return None
        return bytes(version).decode(), bytes(value)

    async def replace(
        self, name: str, value: bytes, *, version: str, after: str | None, lifetime_s: float
    ) -> bool:
        """Put a value where the one that is there is still of the version `after`."""
        milliseconds = max(1, int(lifetime_s * 1000))
        # No version is empty, so that this stands for none.
        arguments = (after or "", version, value, milliseconds)
        (put,) = await self._pipeline.call(
            ("EVALSHA", self._replace, 1, self._name + name, *arguments)
        )
        return bool(put)
