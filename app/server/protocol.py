"""One client's connection: HTTP/1.1 as uvicorn speaks it, with a bound on everything.

llhttp, under httptools, already refuses what requests are smuggled with: a length beside a
transfer coding, two lengths, folded lines, bare line feeds, blanks before a colon. What neither it
nor uvicorn bounds is bounded here: how long a client may take, how large a head may be, how many
connections there are, and that a connection carries one request at a time.
"""

import asyncio
import enum
import urllib.parse
from functools import partial
from typing import Any, cast

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from app.api.asgi import ON_DISCONNECT
from app.config import ServerConfig
from app.errors import (
    GatewayError,
    InvalidRequestError,
    OverloadedError,
    RequestTimeoutError,
)
from app.server.bare_messages import head_without_upgrade, refusal
from app.server.bounds import (
    FREE_PARTS,
    LEAST_PART_BYTES,
    MAX_DROPPED_BYTES,
    MAX_HEAD_BYTES,
    MAX_HEADERS,
    ConnectionLimits,
    head_too_large,
)
from app.server.cycle import Cycle
from app.server.flow import Flow

_PARSED_BYTES = 16_384
"""What is parsed at once."""

_TURN_PARTS = 500
"""After how many pieces of a body the other connections have their turn."""

_TURN_BYTES = 65_536
"""After how many bytes, likewise."""


def gateway_protocol(server: ServerConfig) -> type[asyncio.Protocol]:
    """Return what uvicorn takes as `http`; it can be sent to worker processes."""
    # A class made here could not be sent; uvicorn does no more with it than call it.
    return cast(
        "type[asyncio.Protocol]", partial(GatewayProtocol, limits=ConnectionLimits.of(server))
    )


class _Phase(enum.Enum):
    IDLE = enum.auto()
    """Nothing of a request has come, or all of it."""
    HEAD = enum.auto()
    BODY = enum.auto()


class _Wait(enum.Enum):
    HEAD = enum.auto()
    BODY = enum.auto()
    LINGER = enum.auto()
    """For the client to read the answer, after which nothing more comes, and to close."""


class _StopParsingError(Exception):
    """Raised within the parser, which lets go of the rest of what it was fed."""


class GatewayProtocol(HttpToolsProtocol):
    """One connection.

    A client that breaks a bound, or HTTP, gets one answer in OpenAI's shape, and the connection is
    closed. Requests are not pipelined: what follows a request before its answer is complete is
    dropped, and the connection closed after the answer, since of two requests on their way
    only the last would notice that the client has gone.

    Nothing is parsed of what comes after an answer that was the last, and of anything else only so
    much a turn of the event loop that other connections do not notice.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        limits: ConnectionLimits,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.cycle: Cycle | None = None  # type: ignore[assignment]
        self.timeout_keep_alive = cast("int", limits.keep_alive_s)  # a fraction does as well
        self.ws_protocol_class = None
        self._limits = limits
        self._phase = _Phase.IDLE
        self._head_bytes = self._untold_bytes = 0
        self._hosts = 0
        self._refusal: GatewayError | None = None
        self._deaf = False
        self._dropped_bytes = 0
        self._rest: memoryview | None = None
        self._n_parts = 0
        self._body_parts = self._body_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._wait: _Wait | None = None
        self._idle_until = 0.0

    # --- the connection ---------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, or turn it away."""
        super().connection_made(transport)
        self.flow: Flow = Flow(transport, loop=self.loop, stalled_s=self._limits.stalled_s)
        if len(self.connections) > self._limits.max_connections:
            self._deaf = True
            self.transport.write(
                refusal(OverloadedError("the gateway has as many connections as it may"))
            )
            self._close()  # it may not stay a connection for as long as it takes to read this
        else:
            self._time(_Wait.HEAD, self._limits.head_timeout_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of it."""
        self._deaf = True
        self._stop_timer()
        self.flow.stop()
        self._unset_keepalive_if_required()
        self.connections.discard(self)
        if self.cycle is not None:
            self.cycle.disconnect()
        self.flow.resume_writing()
        if exc is None:
            self.transport.close()
        self.parser = None  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        """Parse what came."""
        if self._deaf:
            self._drop(len(data))
        elif len(data) <= _PARSED_BYTES:
            self._parse(data)
        else:
            self._parse_some(memoryview(data))

    def _parse_some(self, data: memoryview) -> None:
        """Parse what one turn of the event loop allows; nothing is read until the rest is done."""
        self._n_parts = 0
        n_bytes = len(data)
        while data and not self._deaf and self._n_parts < _TURN_PARTS:
            self._parse(data[:_PARSED_BYTES])
            data = data[_PARSED_BYTES:]
        # After a read as large as that uvloop would read on at once.
        if data or n_bytes > _TURN_BYTES:
            self._rest = data
            self.flow.hold_reading()
            self.loop.call_soon(self._go_on)
        else:
            self.flow.release_reading()

    def _go_on(self) -> None:
        rest, self._rest = self._rest, None
        if rest and not self._deaf:
            self._parse_some(rest)
        else:
            self.flow.release_reading()

    def _drop(self, n_bytes: int) -> None:
        """Let what is not parsed any more come to nothing, a little at a time and not for ever."""
        self._dropped_bytes += n_bytes
        if self._dropped_bytes > MAX_DROPPED_BYTES:
            if self._wait is _Wait.LINGER:
                self.flow.hold_reading()  # the answer is out: it may be read until the time is up
            else:
                self.transport.abort()
        elif n_bytes > _TURN_BYTES:
            self.flow.hold_reading()
            self.loop.call_soon(self._go_on)

    def _parse(self, data: bytes | memoryview) -> None:
        if self._answering:
            if bytes(data).strip(b"\r\n"):  # some clients end a body with a line break
                self._answer_no_more()
            return
        before = self._phase
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._parse(self._without_upgrade() + bytes(data[upgrade.args[0] :]))
            return
        except httptools.HttpParserError:
            if self._answering and self._refusal is None:
                self._answer_no_more()
            else:
                self._refuse(self._refusal or InvalidRequestError("the request is not valid HTTP"))
            return
        if before is _Phase.HEAD and self._phase is _Phase.HEAD:
            # A line without an end is not told by the parser, so bytes are counted besides what it
            # tells; those that came with the beginning may belong to an earlier request.
            self._untold_bytes += len(data)
            if self._untold_bytes > MAX_HEAD_BYTES:
                self._refuse(head_too_large())
                return
        self._watch_the_time()

    @property
    def _answering(self) -> bool:
        """Whether a whole request is here, and its answer not complete."""
        cycle = self.cycle
        return self._phase is _Phase.IDLE and cycle is not None and not cycle.response_complete

    # --- the parser -------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Begin a request."""
        if self.cycle is not None and not self.cycle.response_complete:
            raise _StopParsingError
        self._phase = _Phase.HEAD
        self._head_bytes = self._untold_bytes = self._hosts = 0
        self._body_parts = self._body_bytes = 0
        self.url = b""
        self.headers = []
        self.expect_100_continue = False

    def on_url(self, url: bytes) -> None:
        """Take a part of the request line."""
        self._head_bytes += len(url)
        if self._head_bytes > MAX_HEAD_BYTES:
            self._stop(head_too_large())
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; trailers are counted and dropped, since a body must not add headers."""
        # Called a dozen times per request: nothing in it calls further.
        self._head_bytes += len(name) + len(value) + 4
        if self._head_bytes > MAX_HEAD_BYTES:
            self._stop(head_too_large())
        if self._phase is not _Phase.HEAD:
            return
        name = name.lower()
        self.headers.append((name, value))
        if len(self.headers) > MAX_HEADERS:
            self._stop(head_too_large())
        if name == b"host":
            self._hosts += 1
        elif name == b"transfer-encoding":
            if value.strip().lower() != b"chunked":
                self._stop(InvalidRequestError("the only transfer-encoding is chunked"))
        elif name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True

    def on_headers_complete(self) -> None:
        """Start the application."""
        parser = self.parser
        version = parser.get_http_version()
        method = parser.get_method()
        if self._hosts > 1 or (self._hosts == 0 and version == "1.1"):
            self._stop(InvalidRequestError("a request needs one Host header"))
        if method == b"CONNECT":
            self._stop(InvalidRequestError("this is no proxy"))
        if parser.should_upgrade():
            return  # the parser stops after the head, see `_without_upgrade`
        old_client = version == "1.0"
        url = httptools.parse_url(self.url)
        path = url.path.decode("ascii")
        scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "http_version": version,
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            "root_path": self.root_path,
            "headers": self.headers,
            "state": self.app_state.copy(),
            "method": method.decode("ascii"),
            "path": self.root_path + (urllib.parse.unquote(path) if "%" in path else path),
            "raw_path": self.root_path.encode("ascii") + url.path,
            "query_string": url.query or b"",
        }
        self.cycle = cycle = Cycle(
            is_head_request=method == b"HEAD",
            transport=self.transport,
            flow=self.flow,
            default_headers=self.server_state.default_headers,
            expect_100_continue=self.expect_100_continue and not old_client,
            keep_alive=parser.should_keep_alive(),
            old_client=old_client,
            on_response=self.on_response_complete,
        )
        scope["extensions"] = {ON_DISCONNECT: cycle.on_disconnect}
        self._phase = _Phase.BODY
        task = self.loop.create_task(cycle.run(self.app, scope))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        self._n_parts += 1
        self._body_parts += 1
        self._body_bytes += len(body)
        if self._body_parts > FREE_PARTS and self._body_bytes < self._body_parts * LEAST_PART_BYTES:
            self._stop(InvalidRequestError("the body comes in pieces that are too small"))
        if self._phase is _Phase.BODY and self.cycle is not None:
            self.cycle.feed(body)

    def on_message_complete(self) -> None:
        """Take the end of a request."""
        if self._phase is _Phase.BODY and self.cycle is not None:
            self._phase = _Phase.IDLE
            self.cycle.feed_eof()

    def _without_upgrade(self) -> bytes:
        """Return the head that was read without the wish for another protocol, and parse anew.

        A server may ignore the wish, but the parser takes the body for the other protocol. Java's
        client, for one, asks for HTTP/2 like this with its every first request.
        """
        method, version = self.parser.get_method(), self.parser.get_http_version()
        self.parser = httptools.HttpRequestParser(self)
        self._phase = _Phase.IDLE
        request_line = b"%b %b HTTP/%b" % (method, self.url, version.encode())
        return head_without_upgrade(request_line, self.headers)

    def _stop(self, refusal: GatewayError) -> None:
        self._refusal = refusal
        raise _StopParsingError

    # --- the end ----------------------------------------------------------------------------------

    def on_response_complete(self) -> None:
        """Wait for the next request, or close."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            self.flow.watch()
        elif self._phase is not _Phase.IDLE or self._deaf:
            self._linger()
        elif self.cycle is None or not self.cycle.keep_alive:
            self._close()
        else:
            self.flow.resume_reading()
            self._idle_until = self.loop.time() + self._limits.keep_alive_s
            if self.timeout_keep_alive_task is None:
                self.timeout_keep_alive_task = self.loop.call_at(
                    self._idle_until, self.timeout_keep_alive_handler
                )

    def timeout_keep_alive_handler(self) -> None:
        """Close what nothing came on.

        The timer is left running when a request comes, and looks again later: making and
        cancelling one for every request would cost more than the odd look for nothing.
        """
        self.timeout_keep_alive_task = None
        if not self._is_idle:
            return  # the end of the request sets it again
        if self.loop.time() < self._idle_until:
            self.timeout_keep_alive_task = self.loop.call_at(
                self._idle_until, self.timeout_keep_alive_handler
            )
        else:
            self._close()

    @property
    def _is_idle(self) -> bool:
        """Whether nothing of a further request has come since an answer was complete."""
        return (
            self._phase is _Phase.IDLE and self.cycle is not None and self.cycle.response_complete
        )

    def _close(self) -> None:
        self.transport.close()
        self.flow.watch()

    def _linger(self) -> None:
        """Send nothing more, and let the client read and close.

        Closing with something of the client's unread would reset the connection, and the answer
        could be lost with it.
        """
        self._deaf = True
        self._dropped_bytes = 0
        self._time(_Wait.LINGER, min(self._limits.linger_s, self._limits.body_timeout_s))
        self.flow.resume_reading()
        self.flow.watch()
        self.transport.write_eof()

    def _answer_no_more(self) -> None:
        """Close after the answer that is under way, whatever else comes."""
        self._deaf = True
        self._stop_timer()
        if self.cycle is not None:
            self.cycle.keep_alive = False

    def _refuse(self, error: GatewayError) -> None:
        """Answer what is wrong, unless something was answered already, and close."""
        self._deaf = True
        cycle = self.cycle
        answered = self._phase is _Phase.BODY and cycle is not None and cycle.response_started
        if cycle is not None:
            cycle.disconnect()  # whoever works on it learns that there is nobody left to answer
        if answered:
            self._stop_timer()
            self._close()
        else:
            self.transport.write(refusal(error))
            self._linger()

    # --- time -------------------------------------------------------------------------------------

    def _watch_the_time(self) -> None:
        """Set the clock for what is awaited of the client; not again while it is the same."""
        if self._answering:
            self._stop_timer()
        elif self._phase is _Phase.BODY:
            if self._wait is not _Wait.BODY:
                self._time(_Wait.BODY, self._limits.body_timeout_s)
        elif self._wait is not _Wait.HEAD:
            self._time(_Wait.HEAD, self._limits.head_timeout_s)

    def _time(self, wait: _Wait, seconds: float) -> None:
        self._stop_timer()
        self._wait = wait
        self._timer = self.loop.call_later(seconds, self._too_slow)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = self._wait = None

    def _too_slow(self) -> None:
        wait, self._timer, self._wait = self._wait, None, None
        if wait is _Wait.LINGER or self._phase is _Phase.IDLE:
            self._close()
        else:
            self._refuse(RequestTimeoutError("the request did not arrive in time"))
