"""The exact response cache: the same question of the same caller is answered once.

It is opt-in, by key or by request. A hit repeats the stored answer byte for byte, its `id`,
`created` and `usage` included: it is that answer, and the response headers say so. An answer that
an upstream wrote in its client's own dialect is kept as its bytes, whole or as the events of a
stream; one of chat completions is kept whole, and told in whichever way is asked for.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable
from enum import StrEnum

import msgspec

from app.gateway._answer_key import answer_name, may_use
from app.gateway.request import RouteRequest
from app.outcome import CacheState
from app.paths import CHAT_COMPLETIONS
from app.providers.base import Chunk
from app.stores.base import Answers, StoreError
from app.usage import Usage
from app.wire.answer_pieces import KEEPABLE, Assembler, is_keepable, replay
from app.wire.usage import with_usage
from routers.decisions import Reason

_log = logging.getLogger(__name__)

_INLINE_BYTES = 128_000
"""A longer body takes over a millisecond to bring into canonical form."""

_MAKESHIFT = frozenset({Reason.ROUTER_TIMEOUT, Reason.ROUTER_ERROR, Reason.FALLBACK, Reason.BUDGET})
"""An answer that was second choice this time must not become the first from now on."""


class CachedAnswer(msgspec.Struct, frozen=True, array_like=True):
    """An answer as it is kept, and the model that gave it.

    Attributes
    ----------
    body
        The whole completion; in any other dialect exactly what the client got.
    dialect
        In which it is written.
    """

    body: bytes
    model_id: str
    dialect: str = CHAT_COMPLETIONS

    def as_stream(self, *, include_usage: bool) -> tuple[bytes, bytes | None]:
        """Return the events of a stream, and the JSON of its usage event."""
        return replay(self.body, include_usage=include_usage)


_decode = msgspec.msgpack.Decoder(CachedAnswer).decode
_encode = msgspec.msgpack.Encoder().encode


class _Ended(StrEnum):
    """How the first of several identical requests ended, if not with an answer to share."""

    FAILED = "failed"
    """Without an answer: another one may try."""
    NOT_KEPT = "not_kept"
    """With an answer that is not kept; waiting for each other would gain nothing."""


_Flight = asyncio.Future["CachedAnswer | _Ended"]


class Seat:
    """One request's place at the cache.

    Attributes
    ----------
    state
        What the cache did for it, for the response header and the outcome.
    answer
        What was found; None if the answer has to be made.
    waited_s
        How long an identical request was waited for: an upstream's time, not ours.
    """

    def __init__(
        self,
        cache: "ResponseCache | None" = None,
        name: str = "",
        *,
        stream: bool = False,
        owner: str = "",
    ) -> None:
        self._owner = owner
        self.state = CacheState.BYPASS if cache is None else CacheState.MISS
        self.answer: CachedAnswer | None = None
        self.waited_s = 0.0
        self.ended: CachedAnswer | _Ended = _Ended.FAILED
        self._cache = cache
        self._name = name
        self._assembler = Assembler(cache.max_answer_bytes) if cache and name and stream else None
        self._whole = bytearray()
        self._dialect = CHAT_COMPLETIONS
        self._finish_reason: str | None = None
        self._in_one = True

    def saw(self, chunk: Chunk) -> None:
        """Take note of a part of the answer, as it came from upstream."""
        if not self._name or self._cache is None:
            return
        if chunk.dialect != CHAT_COMPLETIONS:
            self._dialect, self._assembler = chunk.dialect, None
            self._finish_reason = chunk.finish_reason or self._finish_reason
            # What is told beside the answer, whoever repeats it would have to know apart.
            self._in_one = self._in_one and chunk.usage_event is None
        if self._assembler is not None:
            self._assembler.feed(chunk)
        elif len(self._whole) <= self._cache.max_answer_bytes:
            self._whole += chunk.data

    async def keep(self, *, model_id: str, usage: Usage | None, reason: Reason | None) -> None:
        """Keep the answer, once all of it has come.

        Not kept: answers without true token counts or of a makeshift model, those that a filter
        cut, and those that are too long.

        Parameters
        ----------
        usage
            As the upstream told it, and as it is accounted for.
        reason
            Why `model_id` served.
        """
        if not self._name or self._cache is None:
            return
        self.ended = _Ended.NOT_KEPT
        if usage is None or usage.estimated or reason in _MAKESHIFT:
            return
        assembled = self._assembler
        body = bytes(self._whole) if assembled is None else assembled.completion()
        if body is None or len(body) > self._cache.max_answer_bytes:
            return
        if self._dialect != CHAT_COMPLETIONS:
            if self._finish_reason not in KEEPABLE or not self._in_one:
                return
        elif is_keepable(body):
            body = with_usage(body, usage)
        else:
            return
        self.ended = CachedAnswer(body=body, model_id=model_id, dialect=self._dialect)
        await self._cache.put(self._name, self.ended, owner=self._owner)


BYPASS = Seat()
"""The place of every request that the cache does not concern: nothing in it ever changes."""


class ResponseCache:
    """Answers that were given before, and those that are just being given.

    Identical requests that miss at the same time wait for the first of them, within this process
    (two processes may both ask). If the first fails or is cancelled, one of the others takes
    over.

    Parameters
    ----------
    version
        Of the configuration.
    enabled
        Where False, every request goes past.
    lifetime_s
        How long an answer is kept.
    max_answer_bytes
        Longer answers are not kept.
    wait_s
        How long a request waits for others before it asks by itself.
    on_store_error
        Told of every call that the store did not answer ("get" or "put"); a store may count
        them itself.
    """

    def __init__(
        self,
        *,
        answers: Answers,
        version: str,
        enabled: bool = True,
        lifetime_s: float,
        max_answer_bytes: int,
        wait_s: float,
        on_store_error: Callable[[str], None] = lambda _call: None,
    ) -> None:
        self.max_answer_bytes = max_answer_bytes
        self._answers = answers
        self._version = version
        self._enabled = enabled
        self._lifetime_s = lifetime_s
        self._wait_s = wait_s
        self._on_store_error = on_store_error
        self._flights: dict[str, _Flight] = {}

    @property
    def n_flights(self) -> int:
        """How many different questions are being answered now."""
        return len(self._flights)

    def concerns(self, request: RouteRequest) -> bool:
        """Return whether the answer of a request may come from here, or come to be here."""
        return self._enabled and may_use(request)[0]

    @contextlib.asynccontextmanager
    async def open(self, request: RouteRequest) -> AsyncGenerator[Seat, None]:
        """Look for the answer to a request; while the block runs, identical ones wait for it."""
        read, write = may_use(request)
        if not (self._enabled and read):
            yield BYPASS
            return
        name = await _name(request, self._version)
        if not write:
            yield _seated(Seat(self), await self._get(name))
            return
        began = asyncio.get_running_loop().time()
        answer, flight, boarded = await self._board(name)
        key = request.caller.key
        seat = Seat(
            self,
            "" if flight is None else name,
            stream=request.stream,
            owner="" if key is None else key.key_id,
        )
        seat.waited_s = boarded - began
        if flight is None:
            yield _seated(seat, answer)
            return
        try:
            yield seat
        finally:
            self._land(name, flight, seat.ended)

    async def put(self, name: str, answer: CachedAnswer, *, owner: str) -> None:
        """Keep an answer; a store that fails is only counted."""
        try:
            await self._answers.put(name, _encode(answer), lifetime_s=self._lifetime_s, owner=owner)
        except StoreError:
            self._on_store_error("put")

    async def _board(self, name: str) -> tuple[CachedAnswer | None, _Flight | None, float]:
        """Return the answer, or the flight to make it on, or neither: go by yourself.

        The number is the loop's time when there was nobody to wait for any more.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._wait_s
        while True:
            flight = self._flights.get(name)
            if flight is None:
                boarded = loop.time()
                return *await self._lead(name), boarded
            try:
                async with asyncio.timeout_at(deadline):
                    ended = await asyncio.shield(flight)
            except TimeoutError:
                return None, None, loop.time()
            if isinstance(ended, CachedAnswer):
                return ended, None, loop.time()
            if ended is _Ended.NOT_KEPT:
                return None, None, loop.time()

    async def _lead(self, name: str) -> tuple[CachedAnswer | None, _Flight | None]:
        flight: _Flight = asyncio.get_running_loop().create_future()
        self._flights[name] = flight
        try:
            answer = await self._get(name)
        except BaseException:
            self._land(name, flight, _Ended.FAILED)
            raise
        if answer is None:
            return None, flight
        self._land(name, flight, answer)
        return answer, None

    def _land(self, name: str, flight: _Flight, ended: CachedAnswer | _Ended) -> None:
        del self._flights[name]
        flight.set_result(ended)

    async def _get(self, name: str) -> CachedAnswer | None:
        try:
            value = await self._answers.get(name)
        except StoreError:
            self._on_store_error("get")
            return None
        if value is None:
            return None
        try:
            return _decode(value)
        except msgspec.DecodeError:
            _log.warning("a cached answer cannot be read; written by another release?")
            return None


def _seated(seat: Seat, answer: CachedAnswer | None) -> Seat:
    if answer is not None:
        seat.answer, seat.state = answer, CacheState.HIT
    return seat


async def _name(request: RouteRequest, version: str) -> str:
    if sum(map(len, request.fields.values())) <= _INLINE_BYTES:
        return answer_name(request, version=version)
    return await asyncio.to_thread(answer_name, request, version=version)
