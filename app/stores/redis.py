"""The shared store: Redis counts for several processes, Lua does every read-modify-write.

One script admits a request in all its scopes or in none, one settles it: a round trip each. All
counters of a prefix share one hash tag, and so one slot of a cluster. The time is the server's.
"""

from app.errors import ConfigError
from app.redis_client.connection import Address
from app.redis_client.pipeline import Pipeline, PipelineCircuit
from app.stores._redis_answers import RedisAnswers
from app.stores._redis_board import RedisBoard
from app.stores._redis_counters import RedisCounters
from app.stores._redis_jobs import RedisJobs
from app.stores._redis_keys import RedisKeys
from app.stores._redis_registers import RedisRegisters
from app.stores._redis_scripts import RedisScripts
from app.stores.base import Store, StoreError
from app.stores.bounds import ANSWER_BOUNDS, AnswerBounds
from app.stores.watch import NO_EVENTS, StoreEvents

DEFAULT_TIMEOUT_S = 0.05
DEFAULT_PREFIX = "steelyard"

_CIRCUIT_FAILURES = 3
_CIRCUIT_OPEN_S = 0.5
_REGISTERS_TIMEOUT_S = 2.0
"""At least: no request waits for them, and their values may be large."""


class RedisBlobs:
    """Small values with a lifetime.

    Who answers a conversation is put at the moment in which its request is settled, and leaves with
    it in one write.
    """

    def __init__(self, pipeline: Pipeline, *, prefix: str) -> None:
        self._pipeline = pipeline
        self._prefix = prefix

    async def get(self, name: str) -> bytes | None:
        """Return what was put under a name, or None."""
        (value,) = await self._pipeline.call(("GET", f"{self._prefix}:blob:{name}"))
        return None if value is None else bytes(value)

    async def put(self, name: str, value: bytes, *, lifetime_s: float) -> None:
        """Keep a value for at most `lifetime_s`."""
        milliseconds = max(1, int(lifetime_s * 1000))
        await self._pipeline.call(("SET", f"{self._prefix}:blob:{name}", value, "PX", milliseconds))


class RedisStore:
    """The store that several processes share.

    Parameters
    ----------
    url
        `redis://`, `rediss://` or `unix://`, with password and database where there are any.
    prefix
        What every name begins with.
    timeout_s
        How long a round trip may take; a call ends within twice as long.
    owner
        The name of this process, by which what it claims can be given back once it is dead.
    cache_url
        Where cached answers are kept instead: a server whose memory they do not share with what
        counts.
    answer_bounds
        How much of cached answers is kept.
    response_bounds
        How much of responses is kept that clients come back to; None keeps none.
    jobs
        Whether there are batches.
    events
        Notified of what goes wrong.
    """

    def __init__(
        self,
        url: str,
        *,
        prefix: str = DEFAULT_PREFIX,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        owner: str = "",
        cache_url: str | None = None,
        answer_bounds: AnswerBounds = ANSWER_BOUNDS,
        response_bounds: AnswerBounds | None = None,
        jobs: bool = False,
        events: StoreEvents = NO_EVENTS,
    ) -> None:
        self._timeout_s = timeout_s
        scripts = RedisScripts()
        # Several pipelines, so that no request waits behind the bytes of large values.
        self._counting = self._pipeline(url, scripts)
        self._keeping = self._pipeline(url if cache_url is None else cache_url, scripts)
        self._learning = self._pipeline(
            url, scripts, timeout_s=max(timeout_s, _REGISTERS_TIMEOUT_S)
        )
        self._telling = self._pipeline(url, scripts)
        answers = RedisAnswers(
            self._keeping, scripts, prefix=prefix, bounds=answer_bounds, events=events
        )
        if cache_url is None:
            # Budgets, limits and keys never fail for what may be lost, nor does what was learned.
            self._counting.make_room = self._learning.make_room = answers.make_room
        self._prefix = prefix
        self._store = Store(
            kind="redis",
            shared=True,
            counters=RedisCounters(
                self._counting, scripts, prefix=prefix, owner=owner, events=events
            ),
            keys=RedisKeys(self._counting, scripts, prefix=prefix),
            blobs=RedisBlobs(self._counting, prefix=prefix),
            answers=answers,
            registers=RedisRegisters(self._learning, scripts, prefix=prefix),
            jobs=RedisJobs(self._learning, scripts, prefix=prefix) if jobs else None,
            board=RedisBoard(self._telling, prefix=prefix),
            responses=None
            if response_bounds is None
            else RedisAnswers(
                self._keeping,
                scripts,
                prefix=prefix,
                bounds=response_bounds,
                events=events,
                room="responses",
            ),
        )

    @property
    def store(self) -> Store:
        """The store."""
        return self._store

    async def open(self) -> None:
        """Do nothing: Redis is connected to when it is asked, and may come up later than we."""

    async def healthy(self) -> bool:
        """Return whether Redis answers."""
        try:
            await self._counting.call(("EXISTS", f"{{{self._prefix}:keys}}"))
        except StoreError:
            return False
        return True

    async def aclose(self) -> None:
        """Disconnect."""
        await self._counting.aclose()
        await self._keeping.aclose()
        await self._learning.aclose()
        await self._telling.aclose()

    def _pipeline(
        self, url: str, scripts: RedisScripts, *, timeout_s: float | None = None
    ) -> Pipeline:
        try:
            address = Address(url)
        except ValueError as error:
            raise ConfigError(f"the address of Redis cannot be used: {error}") from error
        return Pipeline(
            address.connect,
            scripts=scripts.sources,
            timeout_s=self._timeout_s if timeout_s is None else timeout_s,
            circuit=PipelineCircuit(failures=_CIRCUIT_FAILURES, open_s=_CIRCUIT_OPEN_S),
        )
