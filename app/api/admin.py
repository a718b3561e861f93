"""`/admin`: virtual keys for whoever holds the admin token.

The routes exist only where a token is configured. Each of them asks for it before anything else of
the request is read, in the route itself and not by its path; a virtual key never opens them.
"""

import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Literal

from fastapi import APIRouter, Request, Security
from fastapi.responses import Response
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from pydantic import BaseModel
from starlette.types import Message

from app.access.issuing import Issuer
from app.access.key_views import OwnStandings
from app.api.admin_keys import Standings, add_key_routes
from app.api.admin_token import AdminToken
from app.api.asgi import check_json_content_type, head_of, read_body
from app.api.orchestration import Orchestrations, add_orchestration_route
from app.api.spend import add_spend_route
from app.api.watch import add_watch_routes
from app.errors import (
    ConfigError,
    InvalidRequestError,
    StoreUnavailableError,
)
from app.gateway.watch.canaries import Canaries
from app.spend.desk import SpendDesk
from app.stores.base import StoreError

_MAX_BODY_BYTES = 64_000

_Handler = Callable[[Request], Coroutine[Any, Any, Response]]


Reload = Callable[[], Awaitable[str]]
"""Read the configuration anew and return its version."""


class Reloaded(BaseModel):
    """The configuration that is served now."""

    object: Literal["configuration"] = "configuration"
    version: str


def admin_router(
    issuer: Issuer,
    *,
    token: str,
    standings: Standings | None = None,
    own_standings: OwnStandings | None = None,
    spend: SpendDesk | None = None,
    reload: Reload | None = None,
    orchestrations: Orchestrations | None = None,
    canaries: Canaries | None = None,
    now: Callable[[], float] = time.time,
) -> APIRouter:
    """Return the routes of `/admin`.

    Parameters
    ----------
    token
        What opens them, at least 16 characters.
    standings
        Where limits stand; without it there is no route that tells.
    own_standings
        Where those of keys alone stand; without it nothing is told of what keys spent.
    spend
        Answers questions about spending; without it there is no route that does.
    reload
        Reads the configuration anew; without it there is no route that does.
    orchestrations
        How models are orchestrated; without it there is no route that tells.
    canaries
        Asks whether models are still what they were; without it there is no route of the watch.
    now
        Seconds since the epoch.
    """
    # The scheme is for /docs; by itself it refuses nobody.
    scheme = HTTPBearer(
        scheme_name="admin token", description="Not a virtual key.", auto_error=False
    )
    router = APIRouter(
        prefix="/admin",
        tags=["admin"],
        route_class=_route_class(token),
        dependencies=[Security(scheme)],
    )

    add_key_routes(router, issuer, standings=standings, own_standings=own_standings, now=now)
    if spend is not None:
        add_spend_route(router, spend, now=now)
    if orchestrations is not None:
        add_orchestration_route(router, orchestrations)
    if reload is not None:
        _add_reload(router, reload)
    if canaries is not None:
        add_watch_routes(router, canaries.watch, canaries)
    return router


def _add_reload(router: APIRouter, reload: Reload) -> None:
    @router.post("/reload", summary="Read the configuration anew")
    async def reload_configuration() -> Reloaded:
        """Serve what the configuration file says now, or say what is wrong with it.

        Requests that run are not disturbed. Of several workers all serve it, or none does; other
        replicas are not reached.
        """
        try:
            return Reloaded(version=await reload())
        except ConfigError as error:
            raise InvalidRequestError(error.message, code="invalid_configuration") from error


def _route_class(token: str) -> type[APIRoute]:
    admin = AdminToken(token)

    class AdminRoute(APIRoute):
        """A route that asks for the token first and bounds what it reads."""

        def get_route_handler(self) -> _Handler:
            handler = super().get_route_handler()

            async def guarded(request: Request) -> Response:
                admin.require(request.scope["headers"])
                try:
                    response = await handler(await _bounded(request))
                except StoreError as error:
                    raise StoreUnavailableError(
                        "the store of keys cannot be asked at the moment; try again"
                    ) from error
                response.headers["cache-control"] = "no-store"
                return response

            return guarded

    return AdminRoute


async def _bounded(request: Request) -> Request:
    """Read the body within its bound, and return a request that replays it."""
    head = head_of(request.scope)
    check_json_content_type(head)
    body = await read_body(head, request.receive, max_bytes=_MAX_BODY_BYTES)

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return Request(request.scope, receive)
