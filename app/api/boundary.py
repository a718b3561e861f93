"""The outermost edge: every answer has a request id, every failure the shape of its path."""

import asyncio
import logging
import re
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.dialects.base import dialects
from app.api.exchange import send_error
from app.errors import ShuttingDownError
from app.head import RequestHead
from app.ids import new_id

_log = logging.getLogger(__name__)

_SAFE_ID = re.compile(rb"[A-Za-z0-9._:/@+=-]{1,128}")


class BoundaryMiddleware:
    """Give each request an id (the client's own if it is harmless) and catch what nobody did.

    Parameters
    ----------
    draining
        Whether the gateway is about to stop: clients are then asked to connect anew, elsewhere.
    """

    def __init__(self, app: ASGIApp, *, draining: Callable[[], bool] = lambda: False) -> None:
        self._app = app
        self._draining = draining

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection event; anything but HTTP passes through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        head = RequestHead(scope["headers"])
        request_id = _request_id(head)
        state = scope.setdefault("state", {})
        state["head"], state["request_id"] = head, request_id.decode()
        began = False

        async def send_with_id(message: Message) -> None:
            nonlocal began
            if message["type"] == "http.response.start":
                began = True
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id)]
                if self._draining():
                    message["headers"].append((b"connection", b"close"))
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except asyncio.CancelledError:
            if began:
                raise
            await _send_error(scope, send_with_id, ShuttingDownError())
        except Exception as error:  # noqa: BLE001  (the outermost edge of all)
            _log.exception("request %s failed", request_id.decode())
            if not began:
                await _send_error(scope, send_with_id, error)


async def _send_error(scope: Scope, send: Send, error: BaseException) -> None:
    dialect = dialects().of(scope)
    await send_error(send, error, dialect=dialect, request_id=scope["state"]["request_id"])


def _request_id(head: RequestHead) -> bytes:
    if head.get(b"x-request-id") is not None:
        for value in head.all(b"x-request-id"):
            if _SAFE_ID.fullmatch(value):
                return value
    return new_id("req-").encode()
