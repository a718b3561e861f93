"""Endpoints that answer at once and in one piece."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from app.stub.dialects.base import Refused
from app.stub.dialects.chat import error_body
from app.stub.endpoints.base import JSON, Endpoint
from app.stub.faults import Fault, FaultKind, FaultScript
from app.stub.http import Exchange
from app.stub.log import Ended, LogEntry, RequestLog


class File(NamedTuple):
    """An answer that is no JSON."""

    content_type: bytes
    content: bytes


Made = File | dict[str, Any]


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
        """Answer in one piece; of failures after the head only broken JSON is played."""
        try:
            made = self._make(entry.body)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise Refused("We could not make sense of the request.") from error
        entry.status, entry.chunks_sent = 200, 1
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
