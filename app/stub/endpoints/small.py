"""Endpoints that answer at once: in one piece, or in events that follow one another."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from app.stub.dialects.base import Refused
from app.stub.dialects.chat import error_body
from app.stub.endpoints.base import JSON, Endpoint
from app.stub.endpoints.strikes import strike
from app.stub.faults import Fault, FaultKind, FaultScript
from app.stub.http import Exchange
from app.stub.log import Ended, LogEntry, RequestLog


class File(NamedTuple):
    """An answer that is no JSON."""

    content_type: bytes
    content: bytes


class Event(NamedTuple):
    """One of the events of a stream."""

    name: str
    data: dict[str, Any]


Made = File | dict[str, Any] | list[Event]
"""A list is a stream."""

_EVENTS = (b"content-type", b"text/event-stream; charset=utf-8")


def asks_to_stream(body: Mapping[str, Any]) -> bool:
    """Return whether a request, which may be a form, is to be answered in events."""
    return body.get("stream") in (True, "true")


class Small(Endpoint):
    """Answers by a function of the request's body.

    Parameters
    ----------
    make
        Returns an answer. It raises `Refused`, or what reading a malformed request raises.
    """

    def __init__(
        self,
        make: Callable[[Mapping[str, Any]], Made],
        *,
        models: Mapping[str, object],
        faults: FaultScript,
        log: RequestLog,
    ) -> None:
        super().__init__(faults=faults, log=log, error_body=error_body, models=models)
        self._make = make

    async def answer(self, exchange: Exchange, entry: LogEntry, fault: Fault | None) -> Ended:
        """Answer; of failures after the head only those are played that an answer can have."""
        try:
            made = self._make(entry.body)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise Refused("We could not make sense of the request.") from error
        entry.status, entry.chunks_sent = 200, 1
        if isinstance(made, list):
            return await self._stream(exchange, entry, made, fault)
        if isinstance(made, File):
            await exchange.answer(200, [(b"content-type", made.content_type)], made.content)
            return Ended.COMPLETE
        if fault is not None and fault.fault is FaultKind.NO_USAGE:
            made.pop("usage", None)
        body = msgspec.json.encode(made)
        if fault is not None and fault.fault is FaultKind.BAD_JSON:
            body = body[: len(body) // 2]
        await exchange.answer(200, [JSON], body)
        return Ended.COMPLETE if fault is None else Ended.FAULT

    async def _stream(
        self, exchange: Exchange, entry: LogEntry, made: list[Event], fault: Fault | None
    ) -> Ended:
        entry.stream, entry.chunks_sent = True, 0
        exchange.start(200, [_EVENTS])
        for event in made:
            due = fault is not None and entry.chunks_sent >= fault.after_chunks
            if due and await strike(exchange, fault, self._error_event):
                return Ended.FAULT
            await exchange.send(_written(event.name, msgspec.json.encode(event.data)))
            entry.chunks_sent += 1
        await exchange.finish()
        return Ended.COMPLETE if fault is None else Ended.FAULT

    def _error_event(self, code: str | None) -> bytes:
        error = self._error_body("Simulated failure.", kind="server_error", code=code)
        return _written("error", error)


def _written(name: str, data: bytes) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), data)
