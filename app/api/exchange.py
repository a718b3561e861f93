"""One request and its answer as bytes: head, chunks, end and error, and a client that may leave."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.types import Receive, Scope, Send

from app.api.answers import JSON_HEADER, STREAM_HEADERS, Headers
from app.api.asgi import CancelOnDisconnect
from app.api.dialects.base import Dialect, Writer
from app.api.explained import explain_object
from app.api.numbers import rounded_usd, usd
from app.api.pings import Pings
from app.api.route_headers import route_headers
from app.api.waiting import Waiting
from app.errors import ClientDisconnectedError
from app.gateway.bill import settled_usage, told_cost_usd
from app.gateway.handle import Answer, Head
from app.gateway.request import RouteRequest
from app.paths import CHAT_COMPLETIONS
from app.providers.base import Chunk
from app.wire.held import read_held
from app.wire.pinned.endpoints import PASSED_THROUGH

_BILL_S = 2.0
"""How long the token counts of an answer that is complete are waited for when its client is gone:
they are what it has to be booked with."""

_GOODBYE_S = 1.0
"""How long the last event of a broken stream may wait for a client to take it."""


async def send_error(
    send: Send,
    error: BaseException,
    *,
    dialect: Dialect,
    request_id: str | None,
    headers: Headers | None = None,
) -> None:
    """Send an error as a complete answer in a dialect."""
    status, error_headers, body = dialect.error(error, request_id=request_id)
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
    dialect: Dialect
    send: Send
    ping_s: float = 0.0
    """After how long a silence a stream gets a sign of life; 0 never."""
    headers_after_s: float | None = None
    """How long an answer is held back before its stream begins all the same; None for ever."""
    _writer: Writer | None = None
    """There once the answer has begun."""

    async def run(self, scope: Scope, receive: Receive) -> None:
        """Answer the client.

        Raises
        ------
        ClientDisconnectedError
            If it goes away; nobody is left to be told of anything.
        """
        try:
            async with self.answer, CancelOnDisconnect(scope, receive) as watch:
                request = self.answer.account.request
                head, chunks = await self._head(request), self.answer.chunks()
                writer = self._writer
                if writer is None or head.dialect != CHAT_COMPLETIONS:
                    writer = self.dialect.writer(request, dialect=head.dialect)
                    self._writer = self._writer and writer
                send = self._send_stream if request.stream else self._send_whole
                await send(writer, head, chunks, watch)
        except ClientDisconnectedError:
            raise
        except Exception as error:  # noqa: BLE001  (the outermost edge of a request)
            await self._fail(error)

    async def _head(self, request: RouteRequest) -> Head:
        """Wait for the answer; where it is held back for long, begin the stream before it."""
        if self.headers_after_s is None or not self.answer.may_be_held:
            return await self.answer.head()
        writer = self.dialect.writer(request)

        async def begin() -> None:
            headers = [*STREAM_HEADERS, *writer.headers, *self._route_headers()]
            await self.send({"type": "http.response.start", "status": 200, "headers": headers})
            self._writer = writer  # not before: a send that is cancelled has sent nothing

        pings = Pings(self.send, every_s=self.ping_s, ping=writer.ping)
        async with Waiting(
            after_s=self.headers_after_s,
            held_s=lambda: self.answer.held_s,
            begin=begin,
            pings=pings,
        ):
            return await self.answer.head()

    async def _send_whole(
        self,
        writer: Writer,
        head: Head,
        chunks: AsyncGenerator[Chunk, None],
        watch: CancelOnDisconnect,
    ) -> None:
        entry = self.answer.account
        body = b"".join([chunk.data async for chunk in chunks])
        cost_usd = told_cost_usd(entry)
        body = writer.whole(
            body,
            usage=settled_usage(entry),
            cost_usd=rounded_usd(cost_usd),
            extras=self._extras(head, whole=body),
        )
        if writer.keeps:
            await self.dialect.keep(writer, entry.request)
        entry.answering()
        ours = _untyped([JSON_HEADER], head)
        headers = [*ours, *writer.headers, *head.headers, *self._route_headers()]
        if cost_usd is not None:
            headers.append((b"x-route-cost-usd", usd(cost_usd)))
        headers.append((b"content-length", str(len(body)).encode()))
        watch.disarm()
        await self._start(writer, headers)
        await self.send({"type": "http.response.body", "body": body})

    async def _send_stream(
        self,
        writer: Writer,
        head: Head,
        chunks: AsyncGenerator[Chunk, None],
        watch: CancelOnDisconnect,
    ) -> None:
        entry, send = self.answer.account, self.send
        entry.answering()
        ours = _untyped(STREAM_HEADERS, head)
        headers = [*ours, *writer.headers, *head.headers, *self._route_headers()]
        if head.from_cache:
            headers.append((b"x-route-cost-usd", usd(0.0)))
        if self._writer is None:
            await self._start(writer, headers)
        data = writer.begin(await anext(chunks), self._extras(head))
        if data:
            await send({"type": "http.response.body", "body": data, "more_body": True})
        watch.grace_s = lambda: _BILL_S if self.answer.awaits_counts else 0.0
        write = writer.chunk
        every_s = self.ping_s if writer.ping else 0.0
        async with Pings(send, every_s=every_s, ping=writer.ping) as pings:
            async for chunk in chunks:
                data = write(chunk)
                if data:
                    await send({"type": "http.response.body", "body": data, "more_body": True})
                    pings.sent()
        if writer.tells_usage:
            tail = writer.end(settled_usage(entry), rounded_usd(told_cost_usd(entry)))
        else:
            tail = writer.end(None, None)
        if writer.keeps:  # before the client can refer to it
            await self.dialect.keep(writer, entry.request)
        watch.disarm()
        await send({"type": "http.response.body", "body": tail})

    def _route_headers(self) -> Headers:
        return route_headers(self.answer.account, limits=self.dialect.limit_headers)

    def _extras(self, head: Head, *, whole: bytes | None = None) -> Mapping[str, Any] | None:
        """Return what the client asked to be told beside the answer, which may be there whole."""
        entry = self.answer.account
        if not entry.request.explain or head.from_cache:
            return None
        text = None
        if whole is not None and entry.request.references and head.dialect == CHAT_COMPLETIONS:
            held = read_held((Chunk(data=whole),), stream=False)
            text = None if held is None else held.text
        return {"steelyard": explain_object(entry, text=text)}

    async def _start(self, writer: Writer, headers: Headers) -> None:
        self._writer = writer
        await self.send({"type": "http.response.start", "status": 200, "headers": headers})

    async def _fail(self, error: BaseException) -> None:
        """Tell the client of a failure: as the answer, or as the last event of a stream."""
        entry = self.answer.account
        if self._writer is None:
            headers = self._route_headers()
            cost_usd = told_cost_usd(entry)
            if cost_usd:  # calls that failed were paid all the same
                headers.append((b"x-route-cost-usd", usd(cost_usd)))
            await send_error(
                self.send,
                error,
                dialect=self.dialect,
                request_id=entry.request.request_id,
                headers=headers,
            )
            return
        if entry.request.stream:
            last = self._writer.broken(error)
            if not last:
                return  # no event can tell of it: the server ends the connection
            # A client that does not read may not hold the request beyond its end.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_GOODBYE_S):
                    await self.send({"type": "http.response.body", "body": last})


def _untyped(headers: Headers, head: Head) -> Headers:
    """Return headers of ours without the content type, where the upstream's own is passed on."""
    if head.dialect not in PASSED_THROUGH:
        return headers
    return [each for each in headers if each[0] != JSON_HEADER[0]]
