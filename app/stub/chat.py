"""The stub's chat completions: at a model's pace, and with the failure that is due."""

import asyncio
import itertools
from collections.abc import Mapping
from typing import Any

import msgspec

from app.stub.answers import Answer, compose, input_tokens
from app.stub.dialects import OPENAI, Dialect
from app.stub.faults import Fault, FaultKind, FaultScript
from app.stub.http import Exchange, Headers
from app.stub.log import Ended, LogEntry, RequestLog
from app.stub.tiers import Tier

_JSON = (b"content-type", b"application/json")
_SSE = (b"content-type", b"text/event-stream; charset=utf-8")
_MAX_CHOICES = 128

_CODES = {404: "model_not_found"}
_ERROR_TYPES = {429: "rate_limit_error", 401: "authentication_error", 403: "permission_error"}


class ChatHandler:
    """Answer `POST /v1/chat/completions`, or its counterpart in another dialect.

    Parameters
    ----------
    dialect
        What requests and answers are written in.
    tiers
        Simulated models by name.
    speed
        1 is realistic, 2 twice as fast; 0 answers without any delay.
    """

    def __init__(
        self,
        tiers: Mapping[str, Tier],
        *,
        speed: float,
        faults: FaultScript,
        log: RequestLog,
        dialect: Dialect = OPENAI,
    ) -> None:
        self._dialect = dialect
        self._tiers = tiers
        self._speed = speed
        self._faults = faults
        self._log = log
        self._numbers = itertools.count()

    async def __call__(self, exchange: Exchange) -> None:
        """Answer one request and log how it ended."""
        try:
            body = msgspec.json.decode(exchange.body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            body = None
        model = body.get("model") if isinstance(body, dict) else None
        entry = self._log.open(
            model=model if isinstance(model, str) else None,
            stream=isinstance(body, dict) and body.get("stream") is True,
            body=body,
            headers=[(k.decode("latin-1"), v.decode("latin-1")) for k, v in exchange.headers],
            connection=exchange.connection,
        )
        ended = Ended.CLIENT_GONE
        try:
            ended = await self._answer(exchange, entry)
        finally:
            entry.bytes_sent = exchange.bytes_sent
            self._log.close(entry, ended)

    async def _answer(self, exchange: Exchange, entry: LogEntry) -> Ended:
        body = entry.body
        refusal = _refusal(body)
        if refusal is None and entry.model not in self._tiers:
            refusal = (
                404,
                f"The model `{entry.model}` does not exist or you do not have access to it.",
            )
        if refusal is not None:
            return await self._refuse(exchange, entry, *refusal)
        fault = self._faults.take(entry.model or "")
        entry.fault = fault.fault if fault else None
        if fault is not None and await self._fails_at_once(fault, exchange, entry):
            return Ended.FAULT
        tier = self._tiers[entry.model or ""]
        count = body.get("n")
        try:
            body = self._dialect.to_chat(body)
            answers = [
                compose(entry.model or "", tier, body, index=index)
                for index in range(count if isinstance(count, int) and count > 0 else 1)
            ]
        except (AttributeError, IndexError, KeyError, TypeError, ValueError, OverflowError):
            message = "We could not make sense of the messages, tools or response format."
            return await self._refuse(exchange, entry, 400, message)
        counts = self._dialect.usage(input_tokens(body), answers)
        entry.status = 200
        play = _Play(
            exchange,
            entry,
            fault=fault,
            tier=tier,
            speed=self._speed,
            dialect=self._dialect,
            completion_id=f"{self._dialect.id_prefix}{next(self._numbers):08x}",
        )
        if entry.stream:
            options = body.get("stream_options")
            asked = isinstance(options, dict) and options.get("include_usage") is True
            told = asked or not self._dialect.usage_on_demand
            return await play.stream(answers, counts if told else None)
        return await play.whole(answers, counts)

    async def _refuse(
        self, exchange: Exchange, entry: LogEntry, status: int, message: str
    ) -> Ended:
        entry.status = status
        kind = _ERROR_TYPES.get(status, "invalid_request_error")
        code = _CODES.get(status)
        await exchange.answer(
            status, [_JSON], self._dialect.error_body(message, kind=kind, code=code)
        )
        return Ended.COMPLETE

    async def _fails_at_once(self, fault: Fault, exchange: Exchange, entry: LogEntry) -> bool:
        match fault.fault:
            case FaultKind.STATUS:
                entry.status = fault.status
                headers: Headers = [_JSON]
                if fault.retry_after_s is not None:
                    headers.append((b"retry-after", b"%d" % fault.retry_after_s))
                kind = _ERROR_TYPES.get(
                    fault.status,
                    "server_error" if fault.status >= 500 else "invalid_request_error",
                )
                body = self._dialect.error_body("Simulated failure.", kind=kind, code=fault.code)
                await exchange.answer(fault.status, headers, body)
            case FaultKind.RESET_BEFORE_HEADERS:
                exchange.reset()
            case FaultKind.STALL_BEFORE_HEADERS:
                await exchange.stall()
            case _:
                return False
        return True


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
        completion_id: str,
    ) -> None:
        self._dialect = dialect
        self._exchange = exchange
        self._entry = entry
        self._fault = fault
        self._kind = fault.fault if fault else None
        self._tier = tier
        self._speed = speed
        self._id = completion_id
        self._started = asyncio.get_running_loop().time()
        self._headers: Headers = [
            *dialect.headers,
            (dialect.id_header, completion_id.encode()),
        ]

    async def whole(self, answers: list[Answer], counts: Mapping[str, Any]) -> Ended:
        """Send the answer in one piece, after the time that saying it would take."""
        exchange, kind = self._exchange, self._kind
        await self._until(max(len(answer.pieces) for answer in answers))
        body = self._dialect.completion_body(
            self._id,
            self._entry.model or "",
            answers,
            None if kind is FaultKind.NO_USAGE else counts,
        )
        if kind is FaultKind.BAD_JSON:
            body = body[: len(body) // 2]
        headers = [_JSON, *self._headers]
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

    async def stream(self, answers: list[Answer], counts: Mapping[str, Any] | None) -> Ended:
        """Send the answer token by token."""
        exchange, kind = self._exchange, self._kind
        if kind is FaultKind.BAD_JSON:
            await exchange.answer(200, [_JSON, *self._headers], b'{"id":"')
            return Ended.FAULT
        if kind is FaultKind.NO_USAGE:
            counts = None
        written = self._dialect.events(self._id, self._entry.model or "", answers, counts)
        headers = [_SSE, (b"cache-control", b"no-cache"), *self._headers]
        if kind is FaultKind.WRONG_CONTENT_LENGTH:
            data = b"".join(event for _, event in written) + self._dialect.end
            exchange.start(200, headers, content_length=len(data) + 10)
            await exchange.send(data)
            exchange.close()
            return Ended.FAULT
        if self._fault is None and self._speed == 0:
            at_once = [event for _, event in written]
            exchange.start(200, headers)
            self._entry.chunks_sent = len(at_once)
            await exchange.send(b"".join(at_once) + self._dialect.end)
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
            await self._send(self._dialect.end)
        await exchange.finish()
        return Ended.COMPLETE if self._fault is None else Ended.FAULT

    async def _strike(self) -> bool:
        """Play the failure that is due in the middle of an answer; whether it ended it."""
        exchange = self._exchange
        match self._kind:
            case FaultKind.STALL_MID_STREAM:
                await exchange.stall()
            case FaultKind.RESET_MID_STREAM:
                await exchange.flushed()
                exchange.reset()
            case FaultKind.CLOSE_MID_STREAM:
                exchange.close()
            case FaultKind.GARBAGE_SSE:
                await exchange.send(b"data: {this is not JSON\n\n")
                await exchange.finish()
            case FaultKind.ERROR_EVENT:
                code = self._fault.code if self._fault else None
                error = self._dialect.error_body(
                    "Simulated failure.", kind="server_error", code=code
                )
                await exchange.send(self._dialect.error_event(error))
                await exchange.finish()
            case _:
                return False
        return True

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


def _refusal(body: Any) -> tuple[int, str] | None:
    if not isinstance(body, dict):
        return 400, "We could not parse the JSON body of your request."
    if not isinstance(body.get("model"), str):
        return 400, "you must provide a model parameter"
    if not isinstance(body.get("messages"), list) or not body["messages"]:
        return 400, "'messages' must be a list of at least one message."
    if isinstance(body.get("n"), int) and body["n"] > _MAX_CHOICES:
        return 400, f"'n' must be at most {_MAX_CHOICES}."
    return None
