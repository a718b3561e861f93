"""Our Redis store over redis-py, wholly and in part: what our own client is measured against."""

import asyncio
from typing import Any

import redis.asyncio
from redis.asyncio.connection import Connection as LibraryConnection

from app.redis_client.connection import Command, Done
from app.redis_client.pipeline import Pipeline, PipelineCircuit
from app.stores._redis_scripts import RedisScripts
from app.stores.redis import RedisStore

_CONNECTIONS = 50


class LibraryPipeline:
    """A pipeline of redis-py's for every call."""

    def __init__(self, url: str) -> None:
        pool = redis.asyncio.BlockingConnectionPool.from_url(url, max_connections=_CONNECTIONS)
        self._client = redis.asyncio.Redis.from_pool(pool)
        self.make_room = None

    async def call(self, *commands: Command) -> list[Any]:
        """Return the replies to some commands."""
        pipeline = self._client.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        return await pipeline.execute()

    async def aclose(self) -> None:
        """Disconnect."""
        await self._client.aclose()


class LibraryLink:
    """A connection of redis-py's, as our pipeline uses one."""

    def __init__(self, connection: LibraryConnection) -> None:
        self._connection = connection
        self._exchanges: set[asyncio.Task[None]] = set()

    @property
    def is_open(self) -> bool:
        """Whether a batch may be sent."""
        return self._connection.is_connected

    def send(self, packed: bytes, n_commands: int, done: Done) -> None:
        """Send commands; `done` is called with their replies."""
        task = asyncio.create_task(self._exchange(packed, n_commands, done))
        self._exchanges.add(task)
        task.add_done_callback(self._exchanges.discard)

    async def _exchange(self, packed: bytes, n_commands: int, done: Done) -> None:
        await self._connection.send_packed_command(packed, check_health=False)
        done([await self._connection.read_response() for _ in range(n_commands)])

    def close(self) -> None:
        """Disconnect."""
        task = asyncio.create_task(self._connection.disconnect())
        self._exchanges.add(task)
        task.add_done_callback(self._exchanges.discard)

    async def wait_closed(self) -> None:
        """Wait until it is closed."""
        await asyncio.gather(*self._exchanges)


class LibraryStore(RedisStore):
    """The store over redis-py alone."""

    def _pipeline(self, url: str, scripts: RedisScripts) -> Any:
        del scripts
        return LibraryPipeline(url)


class HalfLibraryStore(RedisStore):
    """The store with our pipeline over redis-py's connection."""

    def _pipeline(self, url: str, scripts: RedisScripts) -> Pipeline:
        async def connect() -> LibraryLink:
            connection = redis.asyncio.ConnectionPool.from_url(url).make_connection()
            await connection.connect()
            return LibraryLink(connection)

        return Pipeline(
            connect,
            scripts=scripts.sources,
            timeout_s=5.0,
            circuit=PipelineCircuit(failures=3, open_s=0.5),
        )
