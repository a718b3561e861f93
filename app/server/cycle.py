"""One request on a client's connection, and its answer, as ASGI sees them.

uvicorn's own cycle searches the name and the value of every header with a regular expression each,
writes head and body apart, and tells of a client that has gone only to whoever waits for it, which
takes a task per request. This one does the same with one look at the whole head, one write, and a
callback.
"""

import asyncio
import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from starlette.types import ASGIApp, Message, Scope
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT, FlowControl

from app.server.flow import reset

_log = logging.getLogger(__name__)

_CONTROLS = bytes([*range(9), *range(10, 32), 127])
"""What no header may hold; a line break would begin another one."""

_STATUS_LINES = {
    status.value: b"HTTP/1.1 %d %b" % (status.value, status.phrase.encode())
    for status in HTTPStatus
}


class Cycle:
    """One request and its answer.

    The protocol feeds the body and tells when the client has gone; the application has `receive`
    and `send`. The scope refers to the cycle, so the cycle does not refer to the scope: nothing of
    a request is left to the garbage collector.

    Parameters
    ----------
    keep_alive
        Whether the connection may be used again; told to the client where not. It may not after an
        answer that does not wait for the whole request, since the rest is not read.
    old_client
        Whether it speaks HTTP/1.0, which knows no chunks: an answer of unknown length then ends
        with the connection.
    on_response
        Called once the answer is complete; it closes the connection that may not be used again.
    """

    __slots__ = (
        "_body",
        "_chunked",
        "_default_headers",
        "_flow",
        "_head",
        "_is_head_request",
        "_left_bytes",
        "_old_client",
        "_on_disconnect",
        "_on_response",
        "_told_end",
        "_transport",
        "_until_close",
        "_waiter",
        "disconnected",
        "keep_alive",
        "more_body",
        "response_complete",
        "response_started",
        "waiting_for_100_continue",
    )

    def __init__(
        self,
        *,
        is_head_request: bool,
        transport: asyncio.Transport,
        flow: FlowControl,
        default_headers: list[tuple[bytes, bytes]],
        expect_100_continue: bool,
        keep_alive: bool,
        old_client: bool,
        on_response: Callable[[], None],
    ) -> None:
        self._is_head_request = is_head_request
        self._transport = transport
        self._flow = flow
        self._default_headers = default_headers
        self._on_response = on_response
        self._on_disconnect: Callable[[], None] | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._body: bytes | bytearray = b""
        self._head: bytes | None = None
        self._old_client = old_client
        self._chunked = False
        self._until_close = False
        self._left_bytes = 0
        self._told_end = False
        self.keep_alive = keep_alive
        self.waiting_for_100_continue = expect_100_continue
        self.more_body = True
        self.disconnected = False
        self.response_started = False
        self.response_complete = False

    async def run(self, app: ASGIApp, scope: Scope) -> None:
        """Have the application answer, and answer for it where it does not."""
        try:
            await app(scope, self.receive, self.send)
        except asyncio.CancelledError:  # the server stops, and the application said nothing of it
            self._break_off()
        except BaseException:  # noqa: BLE001  (nobody awaits this task)
            _log.exception("Exception in ASGI application")
            if self.response_started:
                self._break_off()
            else:
                await self._send_500()
        else:
            if self.disconnected or self.response_complete:
                return
            if self.response_started:
                _log.error("ASGI callable returned without completing its response.")
                self._break_off()
            else:
                _log.error("ASGI callable returned without starting a response.")
                await self._send_500()

    # --- what the protocol tells ------------------------------------------------------------------

    def feed(self, data: bytes) -> None:
        """Take a part of the body."""
        if self.response_complete:
            return
        if not self._body:
            self._body = data
        else:
            if not isinstance(self._body, bytearray):
                self._body = bytearray(self._body)
            self._body += data
        if len(self._body) > HIGH_WATER_LIMIT:
            self._flow.pause_reading()
        self._wake()

    def feed_eof(self) -> None:
        """Take the end of the body."""
        if not self.response_complete:
            self.more_body = False
            self._wake()

    def disconnect(self) -> None:
        """Note that there is nobody left to answer, unless the answer is complete."""
        if not self.response_complete:
            self.disconnected = True
            if self._on_disconnect is not None:
                self._on_disconnect()
        self._wake()

    def on_disconnect(self, call: Callable[[], None] | None) -> None:
        """Have `call` called when the client goes before its answer is complete; None, nothing.

        At once, if it has gone already.
        """
        self._on_disconnect = call
        if call is not None and self.disconnected:
            call()

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # --- what the application has -----------------------------------------------------------------

    async def receive(self) -> Message:
        """Return the next part of the body, then wait for the end."""
        if self.waiting_for_100_continue and not self._transport.is_closing():
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.waiting_for_100_continue = False
        while not (self.disconnected or self.response_complete):
            if self._body or not (self.more_body or self._told_end):
                break
            self._flow.resume_reading()
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        if self.disconnected or self.response_complete:
            return {"type": "http.disconnect"}
        body, self._body = bytes(self._body), b""
        # Also after the last part: that the client leaves is seen only while something is read.
        self._flow.resume_reading()
        self._told_end = not self.more_body
        return {"type": "http.request", "body": body, "more_body": self.more_body}

    async def send(self, message: Message) -> None:
        """Write what the application answers."""
        if self._flow.write_paused and not self.disconnected:
            await self._flow.drain()
        if self.disconnected:
            return
        if not self.response_started:
            if message["type"] != "http.response.start":
                raise RuntimeError(f"expected http.response.start, got {message['type']!r}")
            self._start(message["status"], message.get("headers", ()))
        elif not self.response_complete:
            if message["type"] != "http.response.body":
                raise RuntimeError(f"expected http.response.body, got {message['type']!r}")
            self._write(message.get("body", b""), more=message.get("more_body", False))
        else:
            raise RuntimeError(f"{message['type']!r} sent after the response was complete")

    def _start(self, status: int, headers: Any) -> None:
        parts = [_STATUS_LINES.get(status) or b"HTTP/1.1 %d " % status]
        length: int | None = None
        closes = False
        for name, value in (*self._default_headers, *headers):
            name = name.lower()  # noqa: PLW2901
            if name == b"content-length":
                length = int(value)
            elif name == b"transfer-encoding":
                continue  # that is the connection's own
            elif name == b"connection" and b"close" in value.lower():
                closes = True
                self.keep_alive = False
            parts.append(name + b": " + value)
        head = b"".join(parts)
        if len(head.translate(None, _CONTROLS)) != len(head):
            raise RuntimeError("a header of the response holds a control character")
        self.response_started = True
        self.waiting_for_100_continue = False
        has_body = not self._is_head_request and status not in (204, 304)
        self._frame(length if has_body else 0)
        if self._chunked:
            parts.append(b"transfer-encoding: chunked")
        if not self.keep_alive and not closes:
            parts.append(b"connection: close")
        elif self.keep_alive and self._old_client:
            parts.append(b"connection: keep-alive")
        head = b"\r\n".join(parts) + b"\r\n\r\n"
        if self._left_bytes:
            self._head = head  # it goes out with the body, which is at hand wherever its length is
        else:
            self._transport.write(head)

    def _frame(self, length: int | None) -> None:
        """Settle how the client learns where the answer ends, and whether another may follow."""
        if length is None:
            self._chunked = not self._old_client
            self._until_close = self._old_client
        else:
            self._left_bytes = length
        if self.more_body or self._until_close:
            self.keep_alive = False

    def _write(self, body: bytes, *, more: bool) -> None:
        if self._is_head_request:
            pass
        elif self._chunked:
            data = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            if not more:
                data += b"0\r\n\r\n"
            self._transport.write(data)
        elif self._until_close:
            self._transport.write(body)
        else:
            self._left_bytes -= len(body)
            if self._left_bytes < 0:
                raise RuntimeError("the response is longer than its content-length")
            if self._head is not None:
                body, self._head = self._head + body, None
            self._transport.write(body)
        if not more:
            if self._left_bytes:
                raise RuntimeError("the response is shorter than its content-length")
            self.response_complete = True
            self._wake()
            self._on_response()

    def _break_off(self) -> None:
        """Show the client that this is not the end of its answer."""
        if self._until_close:
            reset(self._transport)
        else:
            self._transport.close()

    async def _send_500(self) -> None:
        body = b"Internal Server Error"
        headers = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
        ]
        await self.send({"type": "http.response.start", "status": 500, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})
