"""One request and its answer as bytes: head, chunks, end and error, and a client that may leave."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
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
from app.errors import ClientDisconnectedError
from app.gateway.handle import Answer, Head
from app.providers.base import Chunk
from app.wire.usage import with_usage

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


@dataclass(slots=True, kw_only=True)
class Exchange:
    """Write one answer of the gateway."""

    answer: Answer
    send: Send
    ping_s: float = 0.0
    """After how long a silence a stream gets a comment; 0 never."""
    _began: bool = False

    async def run(self, scope: Scope, receive: Receive) -> None:
        """Answer the client.

        Raises
        ------
        ClientDisconnectedError
            If it goes away; nobody is left to be told of anything.
        """
        try:
            async with self.answer, CancelOnDisconnect(scope, receive) as watch:
                head, chunks = await self.answer.head(), self.answer.chunks()
                if self.answer.account.request.stream:
                    await self._send_stream(head, chunks, watch)
                else:
                    await self._send_whole(head, chunks, watch)
        except ClientDisconnectedError:
            raise
        except Exception as error:  # noqa: BLE001  (the outermost edge of a request)
            await self._fail(error)

    async def _send_whole(
        self, head: Head, chunks: AsyncGenerator[Chunk, None], watch: CancelOnDisconnect
    ) -> None:
        entry = self.answer.account
        body = b"".join([chunk.data async for chunk in chunks])
        cost_usd = entry.cost_usd()
        body = with_usage(body, entry.settled_usage(), cost_usd=rounded_usd(cost_usd))
        if entry.request.explain and not head.from_cache:
            body = sse.add_field(body, "steelyard", explain_object(entry))
        entry.answering()
        headers = [JSON_HEADER, *head.headers, *route_headers(entry)]
        if cost_usd is not None:
            headers.append((b"x-route-cost-usd", usd(cost_usd)))
        headers.append((b"content-length", str(len(body)).encode()))
        watch.disarm()
        await self._start(headers)
        await self.send({"type": "http.response.body", "body": body})

    async def _send_stream(
        self, head: Head, chunks: AsyncGenerator[Chunk, None], watch: CancelOnDisconnect
    ) -> None:
        entry, send = self.answer.account, self.send
        entry.answering()
        headers = [*sse.STREAM_HEADERS, *head.headers, *route_headers(entry)]
        if head.from_cache:
            headers.append((b"x-route-cost-usd", usd(0.0)))
        await self._start(headers)
        first = await anext(chunks)
        template, usage_payload, data = first.template, first.usage_event, first.data
        if entry.request.explain and not head.from_cache:
            data = sse.add_field_to_first_event(data, "steelyard", explain_object(entry))
        if data:
            await send({"type": "http.response.body", "body": data, "more_body": True})
        watch.grace_s = lambda: _BILL_S if self.answer.awaits_counts else 0.0
        async with Pings(send, every_s=self.ping_s) as pings:
            async for chunk in chunks:
                template = template or chunk.template
                usage_payload = chunk.usage_event or usage_payload
                if chunk.data:
                    await send(
                        {"type": "http.response.body", "body": chunk.data, "more_body": True}
                    )
                    pings.sent()
        tail = sse.DONE
        payload = usage_payload or template
        if entry.request.include_usage and payload is not None:
            usage = entry.settled_usage()
            tail = sse.usage_event(payload, usage, cost_usd=rounded_usd(entry.cost_usd())) + tail
        watch.disarm()
        await send({"type": "http.response.body", "body": tail})

    async def _start(self, headers: Headers) -> None:
        self._began = True
        await self.send({"type": "http.response.start", "status": 200, "headers": headers})

    async def _fail(self, error: BaseException) -> None:
        """Tell the client of a failure: as the answer, or as the last event of a stream."""
        entry = self.answer.account
        if not self._began:
            headers = route_headers(entry)
            cost_usd = entry.cost_usd()
            if cost_usd:  # calls that failed were paid all the same
                headers.append((b"x-route-cost-usd", usd(cost_usd)))
            await send_error(self.send, error, headers=headers)
            return
        if entry.request.stream:
            # No [DONE] after it: a cut answer must never look like a complete one.
            payload = msgspec.json.encode({"error": error_object(error)})
            # A client that does not read may not hold the request beyond its end.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_GOODBYE_S):
                    await self.send({"type": "http.response.body", "body": sse.event(payload)})
