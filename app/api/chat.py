"""`POST /v1/chat/completions`: the request path's plain ASGI endpoint.

FastAPI's dependency injection and response classes buy nothing here and would cost more CPU
than deciding does; the endpoint is still part of the app and of its OpenAPI document.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from starlette.types import Receive, Scope, Send

from app.access.guard import Guard
from app.api.asgi import check_json_content_type, read_body
from app.api.exchange import Exchange, send_error
from app.api.knobs import knobs_from_headers
from app.api.resolve import resolve
from app.api.wire import parse_chat_request
from app.errors import (
    ClientDisconnectedError,
    GatewayError,
    OverloadedError,
)
from app.gateway.affinity import place
from app.gateway.overload import Places
from app.gateway.permissions import permit
from app.gateway.request import RouteRequest
from app.state import Serving
from routers.errors import RoutingError

_PARSED_INLINE_BYTES = 128_000
"""A larger body takes over a millisecond to parse and to count, too long for the event loop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatEndpoint:
    """The ASGI application behind the path."""

    serving: Callable[[], Serving]
    guard: Guard
    places: Places
    in_flight: Callable[[int], None]
    refused: Callable[[str, BaseException], None] = lambda _path, _error: None
    """Told of every request that is turned away before it leaves an outcome."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, whatever happens."""
        serving = await self.take_place(scope, send)
        if serving is None:
            return
        gateway = serving.gateway
        started = gateway.clock()
        self.in_flight(1)
        try:
            request = await self.parse(serving, scope, receive)
            server = serving.config.gateway.server
            exchange = Exchange(
                gateway=gateway,
                request=request,
                entry=gateway.open_entry(request, started=started, headers=scope["headers"]),
                send=send,
                ping_s=server.sse_ping_s,
            )
            await exchange.run(scope, receive, timeout_s=server.request_timeout_s)
        except ClientDisconnectedError:
            return
        except (GatewayError, RoutingError) as error:
            self.refused(scope["path"], error)
            await send_error(send, error)
        finally:
            self.in_flight(-1)
            self.give_back(serving)

    async def take_place(self, scope: Scope, send: Send) -> Serving | None:
        """Take a place and what is served now; None, and the client is told, if there is none.

        What is taken has to be given back.
        """
        try:
            await self.places.enter()
        except OverloadedError as error:
            self.refused(scope["path"], error)
            await send_error(send, error)
            return None
        serving = self.serving()
        serving.enter()
        return serving

    def give_back(self, serving: Serving) -> None:
        """Give the place back to whoever waits for one."""
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
        return place(permit(request, caller), headers)
