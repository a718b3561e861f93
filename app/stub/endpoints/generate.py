"""Endpoints that generate: at a model's pace, and with the failure that is due."""

import asyncio
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.stub.answers.compose import compose, input_tokens
from app.stub.dialects.base import Dialect, Refused, Reply
from app.stub.endpoints.base import JSON, Endpoint
from app.stub.endpoints.strikes import strike
from app.stub.faults import Fault, FaultKind, FaultScript
from app.stub.http import Exchange, Headers
from app.stub.log import Ended, LogEntry, RequestLog
from app.stub.tiers import Disguise, Tier

_MALFORMED = "We could not make sense of the messages, tools or response format."


@dataclass(slots=True)
class Pace:
    """How fast everything is answered, from the next request on.

    Attributes
    ----------
    speed
        1 is realistic, 2 twice as fast; 0 answers without any delay.
    """

    speed: float


class Generating(Endpoint):
    """Answers requests for text, in one dialect.

    Parameters
    ----------
    dialect
        What requests and answers are written in.
    tiers
        Simulated models by name.
    pace
        How fast.
    disguises
        Models that others answer for, and whether they say so.
    """

    def __init__(
        self,
        dialect: Dialect,
        *,
        tiers: Mapping[str, Tier],
        pace: Pace,
        disguises: Mapping[str, Disguise],
        faults: FaultScript,
        log: RequestLog,
    ) -> None:
        super().__init__(faults=faults, log=log, error_body=dialect.error_body, models=tiers)
        self._dialect = dialect
        self._tiers = tiers
        self._pace = pace
        self._disguises = disguises
        self._numbers = itertools.count()

    def check(self, body: Mapping[str, Any]) -> None:
        """Look at what the dialect demands."""
        message = self._dialect.refusal(body)
        if message is not None:
            raise Refused(message)

    async def answer(self, exchange: Exchange, entry: LogEntry, fault: Fault | None) -> Ended:
        """Answer, whole or in a stream."""
        model, body = entry.model or "", entry.body
        disguise = self._disguises.get(model)
        tier = self._tiers[model if disguise is None else disguise.by]
        count = body.get("n")
        try:
            chats = self._dialect.to_chats(body)
            answers = [
                compose(model, tier, chat, index=index)
                for chat in chats
                for index in range(count if isinstance(count, int) and count > 0 else 1)
            ]
            counts = self._dialect.usage(sum(map(input_tokens, chats)), answers)
        except (AttributeError, LookupError, TypeError, ValueError, OverflowError) as error:
            raise Refused(_MALFORMED) from error
        entry.status = 200
        options = body.get("stream_options")
        asked = isinstance(options, dict) and options.get("include_usage") is True
        told = asked or not (entry.stream and self._dialect.usage_on_demand)
        if fault is not None and fault.fault is FaultKind.NO_USAGE:
            told = False
        reply = Reply(
            reply_id=f"{self._dialect.id_prefix}{next(self._numbers):08x}",
            model=disguise.by if disguise is not None and disguise.told else model,
            body=body,
            answers=answers,
            counts=counts if told else None,
        )
        play = _Play(
            exchange,
            entry,
            fault=fault,
            tier=tier,
            speed=self._pace.speed,
            dialect=self._dialect,
            reply=reply,
        )
        return await (play.stream() if entry.stream else play.whole())


class _Play:
    """One answer on its way out."""

    def __init__(
        self,
        exchange: Exchange,
        entry: LogEntry,
        *,
        fault: Fault | None,
        tier: Tier,
        speed: float,
        dialect: Dialect,
        reply: Reply,
    ) -> None:
        self._dialect = dialect
        self._exchange = exchange
        self._entry = entry
        self._fault = fault
        self._kind = fault.fault if fault else None
        self._tier = tier
        self._speed = speed
        self._reply = reply
        self._started = asyncio.get_running_loop().time()
        self._headers: Headers = [
            *dialect.headers,
            (dialect.id_header, reply.reply_id.encode()),
        ]

    async def whole(self) -> Ended:
        """Send the answer in one piece, after the time that saying it would take."""
        exchange, kind = self._exchange, self._kind
        await self._until(max(answer.tokens for answer in self._reply.answers))
        body = self._dialect.whole(self._reply)
        if kind is FaultKind.BAD_JSON:
            body = body[: len(body) // 2]
        headers = [JSON, *self._headers]
        if self._fault is None or kind in (FaultKind.NO_USAGE, FaultKind.BAD_JSON):
            self._entry.chunks_sent = 1
            await exchange.answer(200, headers, body)
            return Ended.COMPLETE if self._fault is None else Ended.FAULT
        extra = 10 if kind is FaultKind.WRONG_CONTENT_LENGTH else 0
        exchange.start(200, headers, content_length=len(body) + extra)
        if kind in (FaultKind.WRONG_CONTENT_LENGTH, FaultKind.SLOW_DRIP):
            await self._send(body)
            exchange.close()
            return Ended.FAULT
        await exchange.send(body[: self._fault.after_chunks])
        await self._strike()
        return Ended.FAULT

    async def stream(self) -> Ended:
        """Send the answer token by token."""
        exchange, kind = self._exchange, self._kind
        if kind is FaultKind.BAD_JSON:
            await exchange.answer(200, [JSON, *self._headers], b'{"id":"')
            return Ended.FAULT
        written = self._dialect.events(self._reply)
        stream_type = (b"content-type", self._dialect.stream_type)
        headers = [stream_type, (b"cache-control", b"no-cache"), *self._headers]
        if kind is FaultKind.WRONG_CONTENT_LENGTH:
            at_once = [event for _, event in written]
            data = b"".join(at_once) + self._dialect.end(self._reply, len(at_once))
            exchange.start(200, headers, content_length=len(data) + 10)
            await exchange.send(data)
            exchange.close()
            return Ended.FAULT
        if self._fault is None and self._speed == 0:
            at_once = [event for _, event in written]
            exchange.start(200, headers)
            self._entry.chunks_sent = len(at_once)
            end = self._dialect.end(self._reply, len(at_once))
            await exchange.send(b"".join(at_once) + end)
            await exchange.finish()
            return Ended.COMPLETE
        exchange.start(200, headers)
        for position, event in written:
            due = self._fault and self._entry.chunks_sent >= self._fault.after_chunks
            if due and await self._strike():
                return Ended.FAULT
            await self._until(position)
            await self._send(event)
            self._entry.chunks_sent += 1
        if kind is not FaultKind.END_WITHOUT_DONE:
            await self._send(self._dialect.end(self._reply, self._entry.chunks_sent))
        await exchange.finish()
        return Ended.COMPLETE if self._fault is None else Ended.FAULT

    async def _strike(self) -> bool:
        return await strike(self._exchange, self._fault, self._error_event)

    def _error_event(self, code: str | None) -> bytes:
        error = self._dialect.error_body("Simulated failure.", kind="server_error", code=code)
        return self._dialect.error_event(error, self._entry.chunks_sent)

    async def _send(self, data: bytes) -> None:
        if self._kind is not FaultKind.SLOW_DRIP or self._fault is None:
            await self._exchange.send(data)
            return
        for i in range(len(data)):
            await self._exchange.send(data[i : i + 1])
            await asyncio.sleep(self._fault.interval_s)

    async def _until(self, n_tokens: int) -> None:
        """Wait for the moment in which that many tokens would have been said."""
        if self._speed == 0 or n_tokens == 0:
            return
        said_s = self._tier.time_to_first_token_s + (n_tokens - 1) / self._tier.tokens_per_s
        due = self._started + said_s / self._speed
        delay = due - asyncio.get_running_loop().time()
        if delay > 0:
            await asyncio.sleep(delay)
