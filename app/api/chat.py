"""`POST /v1/chat/completions`: the request path's plain ASGI endpoint.

FastAPI's dependency injection and response classes buy nothing here and would cost more CPU
than deciding does; the endpoint is still part of the app and of its OpenAPI document.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass

import msgspec
from starlette.types import Receive, Scope, Send

from app.access.guard import Guard
from app.api import sse
from app.api.answers import (
    JSON_HEADER,
    Headers,
    error_answer,
    error_object,
    explain_object,
    route_headers,
    usd,
)
from app.api.asgi import CancelOnDisconnect, check_json_content_type, read_body
from app.api.knobs import knobs_from_headers
from app.api.resolve import resolve
from app.api.wire import parse_chat_request
from app.errors import (
    ClientDisconnectedError,
    DeadlineExceededError,
    GatewayError,
    OverloadedError,
    UpstreamError,
    answer_for,
)
from app.gateway.dispatch import OpenAnswer
from app.gateway.handle import Gateway
from app.gateway.ledger import LedgerEntry
from app.gateway.overload import Places
from app.gateway.permissions import permit
from app.gateway.request import RouteRequest
from app.state import Serving
from routers.errors import RoutingError

_log = logging.getLogger(__name__)

_GOODBYE_S = 1.0
"""How long the last event of a broken stream may wait for a client to take it."""

_PARSED_INLINE_BYTES = 128_000
"""A larger body takes over a millisecond to parse and to count, too long for the event loop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatEndpoint:
    """The ASGI application behind the path."""

    serving: Callable[[], Serving]
    guard: Guard
    places: Places
    in_flight: Callable[[int], None]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, whatever happens."""
        async with self.place(send) as serving:
            if serving is None:
                return
            gateway = serving.gateway
            started = gateway.clock()
            self.in_flight(1)
            try:
                request = await self.parse(serving, scope, receive)
                exchange = _Exchange(
                    gateway=gateway,
                    request=request,
                    entry=gateway.open_entry(request, started=started),
                    send=send,
                )
                server = serving.config.gateway.server
                await exchange.run(receive, timeout_s=server.request_timeout_s)
            except ClientDisconnectedError:
                return
            except (GatewayError, RoutingError) as error:
                await send_error(send, error)
            finally:
                self.in_flight(-1)

    @contextlib.asynccontextmanager
    async def place(self, send: Send) -> AsyncGenerator[Serving | None, None]:
        """Hold a place and what is served now; None, and the client is told, if there is none."""
        try:
            await self.places.enter()
        except OverloadedError as error:
            await send_error(send, error)
            yield None
            return
        serving = self.serving()
        serving.enter()
        try:
            yield serving
        finally:
            serving.leave()
            self.places.leave()

    async def parse(self, serving: Serving, scope: Scope, receive: Receive) -> RouteRequest:
        """Read and resolve a request; without a key that may be used, nothing of it is read.

        Raises
        ------
        GatewayError
            For anything in it that cannot be used.
        """
        headers = scope["headers"]
        caller = await self.guard.authenticate(headers)
        check_json_content_type(headers)
        max_bytes = serving.config.gateway.server.max_body_bytes
        body = await read_body(scope, receive, max_bytes=max_bytes)
        if len(body) <= _PARSED_INLINE_BYTES:
            chat = parse_chat_request(body)
        else:
            chat = await asyncio.to_thread(parse_chat_request, body)
        request = resolve(
            chat,
            knobs_from_headers(headers),
            serving.visible.of(caller),
            request_id=scope["state"]["request_id"],
            headers=headers,
            caller=caller,
        )
        return permit(request, caller)


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


@dataclass(slots=True, kw_only=True)
class _Exchange:
    """One request and its answer; its outcome is recorded exactly once."""

    gateway: Gateway
    request: RouteRequest
    entry: LedgerEntry
    send: Send
    _began: bool = False

    async def run(self, receive: Receive, *, timeout_s: float) -> None:
        """Answer the client and record how it ended."""
        status, error_code = 500, answer_for(Exception()).code
        try:
            async with CancelOnDisconnect(receive) as watch, asyncio.timeout(timeout_s):
                await self._answer(watch)
            status, error_code = 200, None
        except ClientDisconnectedError as error:
            status, error_code = _status_and_code(error)
            raise
        except TimeoutError:
            late = DeadlineExceededError(f"the request took longer than {timeout_s:g} s")
            status, error_code = _status_and_code(late)
            await self._fail(late)
        except (GatewayError, RoutingError) as error:
            status, error_code = _status_and_code(error)
            await self._fail(error)
        except Exception as error:  # noqa: BLE001  (the outermost edge of a request)
            _log.exception("request %s failed", self.request.request_id)
            await self._fail(error)
        finally:
            self.gateway.record(self.entry.close(status=status, error=error_code))
            await self.gateway.settle(self.entry)

    async def _answer(self, watch: CancelOnDisconnect) -> None:
        answer = await self.gateway.open_answer(self.request, self.entry)
        try:
            if self.request.stream:
                await self._send_stream(answer, watch)
            else:
                await self._send_whole(answer, watch)
        finally:
            await answer.aclose()

    async def _send_whole(self, answer: OpenAnswer, watch: CancelOnDisconnect) -> None:
        entry = self.entry
        body = b""
        for chunk in answer.prelude:
            entry.saw(chunk)
            body += chunk.data
        async for chunk in self.gateway.dispatcher.rest(answer, entry):
            entry.saw(chunk)
            body += chunk.data
        if self.request.explain:
            body = sse.add_field(body, "steelyard", explain_object(entry))
        entry.answering()
        headers = [JSON_HEADER, *answer.prelude[0].headers, *route_headers(entry)]
        cost_usd = entry.cost_usd()
        if cost_usd is not None:
            headers.append((b"x-route-cost-usd", usd(cost_usd)))
        headers.append((b"content-length", str(len(body)).encode()))
        watch.disarm()
        await self._give_place_back()
        await self._start(200, headers)
        await self.send({"type": "http.response.body", "body": body})

    async def _send_stream(self, answer: OpenAnswer, watch: CancelOnDisconnect) -> None:
        entry, send = self.entry, self.send
        entry.answering()
        passed_on = answer.prelude[0].headers if answer.prelude else ()
        await self._start(200, [*sse.STREAM_HEADERS, *passed_on, *route_headers(entry)])
        template = usage_payload = None
        data = b""
        for chunk in answer.prelude:
            entry.saw(chunk)
            template = template or chunk.template
            usage_payload = usage_payload or chunk.usage_event
            data += chunk.data
        if self.request.explain:
            data = sse.add_field_to_first_event(data, "steelyard", explain_object(entry))
        if data:
            await send({"type": "http.response.body", "body": data, "more_body": True})
        async for chunk in self.gateway.dispatcher.rest(answer, entry):
            entry.saw(chunk)
            template = template or chunk.template
            usage_payload = usage_payload or chunk.usage_event
            if chunk.data:
                await send({"type": "http.response.body", "body": chunk.data, "more_body": True})
        tail = sse.DONE
        if self.request.include_usage:
            tail = self._usage_event(usage_payload, template) + tail
        watch.disarm()
        await self._give_place_back()
        await send({"type": "http.response.body", "body": tail})

    async def _give_place_back(self) -> None:
        """Settle before the end is sent, where the client's next request may wait for it."""
        ticket = self.entry.ticket
        if ticket is not None and ticket.holds_a_place:
            await self.gateway.settle(self.entry)

    def _usage_event(self, payload: bytes | None, template: bytes | None) -> bytes:
        cost_usd = self.entry.cost_usd()
        if payload is not None:
            return sse.usage_event(payload, cost_usd=cost_usd)
        usage = self.entry.settled_usage()
        if template is None or usage is None or not usage.estimated:
            return b""
        return sse.made_up_usage_event(template, usage, cost_usd=cost_usd)

    async def _start(self, status: int, headers: Headers) -> None:
        self._began = True
        await self.send({"type": "http.response.start", "status": status, "headers": headers})

    async def _fail(self, error: BaseException) -> None:
        """Tell the client of a failure: as the answer, or as the last event of a stream."""
        if not self._began:
            self.entry.answering()
            await send_error(self.send, error, headers=route_headers(self.entry))
            return
        if self.request.stream:
            # No [DONE] after it: a cut answer must never look like a complete one.
            payload = msgspec.json.encode({"error": error_object(error)})
            # A client that does not read may not hold the request beyond its end.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_GOODBYE_S):
                    await self.send({"type": "http.response.body", "body": sse.event(payload)})


def _status_and_code(error: BaseException) -> tuple[int, str]:
    answer = answer_for(error)
    status = answer.status
    if isinstance(error, UpstreamError) and error.body is not None and error.status is not None:
        status = error.status
    return status, answer.code or "invalid_request"
