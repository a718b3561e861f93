"""`/admin`: virtual keys for whoever holds the admin token.

The routes exist only where a token is configured. Each of them asks for it before anything else of
the request is read, in the route itself and not by its path; a virtual key never opens them.
"""

import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request, Security
from fastapi.responses import Response
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from pydantic import BaseModel, Field
from starlette.types import Message

from app.access.guard import Caller
from app.access.issuing import Issuer
from app.access.terms import DAY_S, MAX_LIFETIME_S, KeyTerms, Strict
from app.access.view import KeyView, NewKeyView, ScopeView, StandingView
from app.api.admin_token import AdminToken
from app.api.asgi import check_json_content_type, read_body
from app.errors import (
    ConfigError,
    InvalidRequestError,
    StoreUnavailableError,
)
from app.stores._base import Standing, StoreError

_MAX_BODY_BYTES = 64_000

_Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class KeyList(BaseModel):
    """All keys, revoked ones too, oldest first."""

    object: Literal["list"] = "list"
    data: list[KeyView]


class Rotation(Strict):
    """How a secret is replaced."""

    grace_s: Annotated[float, Field(ge=0, le=MAX_LIFETIME_S, allow_inf_nan=False)] = DAY_S
    """How long the old secret goes on working."""


Standings = Callable[[Caller], Awaitable[Iterable[Standing]]]
"""Return where every limit of a caller stands."""


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
    reload: Reload | None = None,
    now: Callable[[], float] = time.time,
) -> APIRouter:
    """Return the routes of `/admin`.

    Parameters
    ----------
    token
        What opens them, at least 16 characters.
    standings
        Where limits stand; without it there is no route that tells.
    reload
        Reads the configuration anew; without it there is no route that does.
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

    @router.post("/keys", status_code=201, summary="Make a virtual key")
    async def create_key(terms: KeyTerms) -> NewKeyView:
        """Return the new key and its secret; this is the only time that the secret is told."""
        key, secret = await issuer.create(terms)
        return NewKeyView.with_secret(key, secret, now=now())

    @router.get("/keys", summary="List the virtual keys")
    async def list_keys() -> KeyList:
        """Return every key, revoked ones too, oldest first."""
        moment = now()
        return KeyList(data=[KeyView.of(key, now=moment) for key in await issuer.all()])

    @router.get("/keys/{key_id}", summary="Look a virtual key up")
    async def get_key(key_id: str) -> KeyView:
        """Return one key, without its secret."""
        return KeyView.of(await issuer.get(key_id), now=now())

    @router.delete("/keys/{key_id}", summary="Revoke a virtual key")
    async def revoke_key(key_id: str) -> KeyView:
        """Make all secrets of a key useless for good; a second time changes nothing."""
        return KeyView.of(await issuer.revoke(key_id), now=now())

    @router.post("/keys/{key_id}/rotate", summary="Give a virtual key a new secret")
    async def rotate_key(key_id: str, rotation: Rotation = Rotation()) -> NewKeyView:  # noqa: B008  (a frozen value)
        """Return the key with its new secret; the old one works for `grace_s` more seconds.

        Limits, budgets and what is spent stay those of the key.
        """
        key, secret = await issuer.rotate(key_id, grace_s=rotation.grace_s)
        return NewKeyView.with_secret(key, secret, now=now())

    if standings is not None:

        @router.get("/keys/{key_id}/standing", summary="See what a virtual key has used")
        async def get_standing(key_id: str) -> StandingView:
            """Return where the limits and budgets of a key, its team and the gateway stand."""
            record = (await issuer.get(key_id)).record
            caller = Caller(record, record.key_id, record.team)
            scopes = [ScopeView.of(each) for each in await standings(caller)]
            return StandingView(key_id=key_id, scopes=scopes)

    if reload is not None:
        _add_reload(router, reload)
    return router


def _add_reload(router: APIRouter, reload: Reload) -> None:
    @router.post("/reload", summary="Read the configuration anew")
    async def reload_configuration() -> Reloaded:
        """Serve what the configuration file says now, or say what is wrong with it.

        Requests that run are not disturbed. With several workers, send SIGHUP to the parent
        process instead: this reaches the one that answers.
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
    check_json_content_type(request.scope["headers"])
    body = await read_body(request.scope, request.receive, max_bytes=_MAX_BODY_BYTES)

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return Request(request.scope, receive)
