"""One request and its answer: what is sent, and what is recorded of it."""

import asyncio
import contextlib
import logging
from dataclasses import dataclass

import msgspec
from starlette.types import Receive, Scope, Send

from app.api import sse
from app.api.answers import (
    JSON_HEADER,
    Headers,
    error_answer,
    error_object,
    explain_object,
    rounded_usd,
    route_headers,
    usd,
)
from app.api.asgi import CancelOnDisconnect
from app.api.pings import Pings
from app.errors import (
    ANSWERS,
    BudgetExceededError,
    ClientDisconnectedError,
    DeadlineExceededError,
    GatewayError,
    RateLimitedError,
    ShuttingDownError,
    UpstreamError,
    answer_for,
)
from app.gateway.begun import Begun
from app.gateway.cache import BYPASS, CachedAnswer, Seat
from app.gateway.deadline import Deadline
from app.gateway.dispatch import OpenAnswer
from app.gateway.handle import Gateway
from app.gateway.ledger import LedgerEntry
from app.gateway.request import RouteRequest
from app.providers._usage import with_usage
from app.providers.base import Chunk
from routers.errors import RoutingError

_log = logging.getLogger(__name__)

_BILL_S = 2.0
"""How long the token counts of an answer that is complete are waited for when its client is gone:
they are what it has to be booked with."""

_GOODBYE_S = 1.0
"""How long the last event of a broken stream may wait for a client to take it."""


async def send_error(send: Send, error: BaseException, *, headers: Headers | None = None) -> None:
    """Send an error as a complete answer."""
    status, error_headers, body = error_answer(error)
    error_headers.append((b"content-length", str(len(body)).encode()))
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": error_headers + (headers or []),
        }
    )
    await send({"type": "http.response.body", "body": body})


def late(timeout_s: float) -> DeadlineExceededError:
    """Return the error for a request that had no more time."""
    return DeadlineExceededError(f"the request took longer than {timeout_s:g} s")


_UNKNOWN = ANSWERS[Exception]


@dataclass(slots=True, kw_only=True)
class Exchange:
    """One request and its answer; its outcome is recorded exactly once."""

    gateway: Gateway
    request: RouteRequest
    entry: LedgerEntry
    send: Send
    ping_s: float = 0.0
    """After how long a silence a stream gets a comment; 0 never."""
    _began: bool = False
    _seat: Seat = BYPASS
    _remembered: bool = False

    async def run(self, scope: Scope, receive: Receive, *, timeout_s: float) -> None:
        """Answer the client and record how it ended."""
        status, error_code = _UNKNOWN.status, _UNKNOWN.code
        try:
            async with CancelOnDisconnect(scope, receive) as watch:
                with Deadline(timeout_s):
                    await self._answer(watch)
            status, error_code = 200, None
        except ClientDisconnectedError as error:
            status, error_code = status_and_code(error)
            raise
        except asyncio.CancelledError:
            # Only a server that stops cancels from outside; nobody waits for the cancellation.
            stopping = ShuttingDownError()
            status, error_code = status_and_code(stopping)
            await self._fail(stopping)
        except TimeoutError:
            expired = late(timeout_s)
            status, error_code = status_and_code(expired)
            await self._fail(expired)
        except (GatewayError, RoutingError) as error:
            status, error_code = status_and_code(error)
            if isinstance(error, RateLimitedError | BudgetExceededError):
                self.entry.refused_by = error.whose
            await self._fail(error)
        except Exception as error:  # noqa: BLE001  (the outermost edge of a request)
            _log.exception("request %s failed", self.request.request_id)
            await self._fail(error)
        finally:
            self.gateway.record(self.entry.close(status=status, error=error_code))
            await self.gateway.settle(self.entry)

    async def _answer(self, watch: CancelOnDisconnect) -> None:
        cache, entry = self.gateway.cache, self.entry
        if not cache.concerns(self.request):
            entry.cache = BYPASS.state
            await self._make_answer(watch)
            return
        async with cache.open(self.request) as seat:
            self._seat, entry.cache = seat, seat.state
            entry.upstream_wait_s += seat.waited_s
            if seat.answer is not None:
                await self._send_cached(seat.answer, watch)
                return
            await self._make_answer(watch)
            if entry.served is not None and entry.pressure is None and not entry.cut_by_budget:
                await seat.keep(
                    model_id=entry.served.spec.model_id,
                    usage=None if entry.told is None else entry.settled_usage(),
                    reason=entry.reason,
                )

    async def _make_answer(self, watch: CancelOnDisconnect) -> None:
        answer = await self.gateway.open_answer(self.request, self.entry)
        try:
            if self.request.stream:
                await self._send_stream(answer, watch)
            else:
                await self._send_whole(answer, watch)
        finally:
            await answer.aclose()
            await self._remember()  # a cut answer too: its model has read the conversation

    async def _remember(self) -> None:
        if not self._remembered:
            self._remembered = True
            await self.gateway.remember(self.entry)

    def _saw(self, chunk: Chunk) -> None:
        self.entry.saw(chunk)
        self._seat.saw(chunk)

    async def _send_cached(self, answer: CachedAnswer, watch: CancelOnDisconnect) -> None:
        entry = self.entry
        entry.cached = answer
        entry.answering()
        if self.request.stream:
            body, usage_payload = answer.as_stream(include_usage=self.request.include_usage)
            if self.request.include_usage and usage_payload is not None:
                body += sse.usage_event(usage_payload, None, cost_usd=0.0)
            body += sse.DONE
            headers = [*sse.STREAM_HEADERS, *route_headers(entry)]
        else:
            body = with_usage(answer.body, None, cost_usd=0.0)
            headers = [JSON_HEADER, *route_headers(entry)]
            headers.append((b"content-length", str(len(body)).encode()))
        headers.append((b"x-route-cost-usd", usd(0.0)))
        watch.disarm()
        await self._start(200, headers)
        await self.send({"type": "http.response.body", "body": body})

    async def _send_whole(self, answer: OpenAnswer, watch: CancelOnDisconnect) -> None:
        entry = self.entry
        body = b""
        for chunk in answer.prelude:  # which the ledger has seen
            self._seat.saw(chunk)
            body += chunk.data
        async for chunk in self.gateway.dispatcher.rest(answer, entry):
            self._saw(chunk)
            body += chunk.data
        cost_usd = entry.cost_usd()
        body = with_usage(body, entry.settled_usage(), cost_usd=rounded_usd(cost_usd))
        if self.request.explain:
            body = sse.add_field(body, "steelyard", explain_object(entry))
        entry.answering()
        headers = [JSON_HEADER, *answer.prelude[0].headers, *route_headers(entry)]
        if cost_usd is not None:
            headers.append((b"x-route-cost-usd", usd(cost_usd)))
        headers.append((b"content-length", str(len(body)).encode()))
        watch.disarm()
        await self._end_turn()
        await self._start(200, headers)
        await self.send({"type": "http.response.body", "body": body})

    async def _send_stream(self, answer: OpenAnswer, watch: CancelOnDisconnect) -> None:
        entry, send = self.entry, self.send
        entry.answering()
        passed_on = answer.prelude[0].headers if answer.prelude else ()
        await self._start(200, [*sse.STREAM_HEADERS, *passed_on, *route_headers(entry)])
        template = usage_payload = None
        data = b""
        for chunk in answer.prelude:  # which the ledger has seen
            self._seat.saw(chunk)
            template = template or chunk.template
            usage_payload = chunk.usage_event or usage_payload
            data += chunk.data
        if self.request.explain:
            data = sse.add_field_to_first_event(data, "steelyard", explain_object(entry))
        if data:
            await send({"type": "http.response.body", "body": data, "more_body": True})
        watch.grace_s = lambda: _BILL_S if entry.arrived.awaits_counts else 0.0
        async with Pings(send, every_s=self.ping_s) as pings:
            async for chunk in self.gateway.dispatcher.rest(answer, entry):
                self._saw(chunk)
                template = template or chunk.template
                usage_payload = chunk.usage_event or usage_payload
                if chunk.data:
                    await send(
                        {"type": "http.response.body", "body": chunk.data, "more_body": True}
                    )
                    pings.sent()
        tail = sse.DONE
        payload = usage_payload or template
        if self.request.include_usage and payload is not None:
            usage = entry.settled_usage()
            tail = sse.usage_event(payload, usage, cost_usd=rounded_usd(entry.cost_usd())) + tail
        watch.disarm()
        await self._end_turn()
        await send({"type": "http.response.body", "body": tail})

    async def _end_turn(self) -> None:
        """Remember who answered, and settle, in one round trip where both ask the same server."""
        remembering = Begun(self._remember())
        try:
            await self._give_place_back()
        finally:
            await remembering

    async def _give_place_back(self) -> None:
        """Settle before the end is sent, where the client's next request may wait for it."""
        ticket = self.entry.ticket
        if ticket is not None and ticket.holds_a_place:
            await self.gateway.settle(self.entry)

    async def _start(self, status: int, headers: Headers) -> None:
        self._began = True
        await self.send({"type": "http.response.start", "status": status, "headers": headers})

    async def _fail(self, error: BaseException) -> None:
        """Tell the client of a failure: as the answer, or as the last event of a stream."""
        if not self._began:
            self.entry.answering()
            headers = route_headers(self.entry)
            cost_usd = self.entry.cost_usd()
            if cost_usd:  # calls that failed were paid all the same
                headers.append((b"x-route-cost-usd", usd(cost_usd)))
            await send_error(self.send, error, headers=headers)
            return
        if self.request.stream:
            # No [DONE] after it: a cut answer must never look like a complete one.
            payload = msgspec.json.encode({"error": error_object(error)})
            # A client that does not read may not hold the request beyond its end.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_GOODBYE_S):
                    await self.send({"type": "http.response.body", "body": sse.event(payload)})


def status_and_code(error: BaseException) -> tuple[int, str]:
    """Return how a request that ended in an error is recorded."""
    answer = answer_for(error)
    status = answer.status
    if isinstance(error, UpstreamError) and error.body is not None and error.status is not None:
        status = error.status
    return status, answer.code or "invalid_request"
