"""Pages of the web that ask through somebody's browser: refused, or served as such."""

from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.access.guard import Caller
from app.api.browser_rules import BrowserRules
from app.api.dialects.base import dialects
from app.api.exchange import send_error
from app.errors import ForbiddenError

_METHODS = b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
_MAX_AGE_S = b"600"
_EXPOSED = (b"x-", b"retry-after", b"request-id", b"anthropic-")
"""What the names of those headers begin with that a page of a configured origin may read."""


class BrowserMiddleware:
    """Turn away pages that may not ask, and let those that may read the answer."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        rules: BrowserRules,
        refused: Callable[[Scope, BaseException, Caller | None], None],
    ) -> None:
        self._app, self._rules, self._refused = app, rules, refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection event; anything but HTTP passes through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            origin = self._rules.check(scope)
        except ForbiddenError as error:
            self._refused(scope, error, None)
            dialect = dialects().of(scope)
            await send_error(send, error, dialect=dialect, request_id=scope["state"]["request_id"])
            return
        if origin is None:
            await self._app(scope, receive, send)
            return
        if scope["method"] == "OPTIONS":
            asked = [
                value for name, value in scope["headers"] if name.startswith(b"access-control-req")
            ]
            if asked:
                await self._answer_preflight(scope, origin, send)
                return

        async def send_shared(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = list(message.get("headers", ()))
                exposed = [name for name, _ in headers if name.lower().startswith(_EXPOSED)]
                names = b", ".join(dict.fromkeys((b"x-request-id", *exposed)))
                headers.append((b"access-control-expose-headers", names))
                message["headers"] = [*headers, *_allowing(origin)]
            await send(message)

        await self._app(scope, receive, send_shared)

    async def _answer_preflight(self, scope: Scope, origin: bytes, send: Send) -> None:
        headers = [*_allowing(origin), (b"access-control-allow-methods", _METHODS)]
        for name, value in scope["headers"]:
            if name == b"access-control-request-headers":
                headers.append((b"access-control-allow-headers", value))
            elif name == b"access-control-request-private-network":
                headers.append((b"access-control-allow-private-network", b"true"))
        headers.append((b"access-control-max-age", _MAX_AGE_S))
        await send({"type": "http.response.start", "status": 204, "headers": headers})
        await send({"type": "http.response.body", "body": b""})


def _allowing(origin: bytes) -> tuple[tuple[bytes, bytes], ...]:
    return (b"access-control-allow-origin", origin), (b"vary", b"origin")
