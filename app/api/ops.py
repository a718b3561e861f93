"""What operators and orchestrators ask: health, readiness, metrics."""

import asyncio
from typing import Literal

from fastapi import APIRouter, Request
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel
from starlette.types import Receive, Scope, Send

from app.api.admin_token import AdminToken
from app.api.browser_rules import BrowserRules
from app.config import LoadedConfig
from app.config.settings import is_loopback
from app.errors import ForbiddenError, GatewayError, NotReadyError, UnauthenticatedError
from app.state import AppState
from app.telemetry.exposition import RawHeaders, Refusal

_CLOSED = (
    "the metrics are closed, since they name keys and what they spend; set "
    "server.metrics_token_env or the admin token, give them a port on a loopback address "
    "(server.metrics_port), or open them to everybody (server.metrics: open)"
)
_CLOSED_CODE = "metrics_closed"


PROBED = ("/", "/api/hello")
"""Where clients look by HEAD whether anybody is there: Claude Code before its first request."""


async def answer_probe(_scope: Scope, _receive: Receive, send: Send) -> None:
    """Say that somebody is there."""
    headers = [(b"content-length", b"0")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


class Health(BaseModel):
    """The process is alive."""

    status: Literal["ok"] = "ok"


class Ready(BaseModel):
    """New requests may come.

    `unhealthy_models` are those whose upstream fails at the moment. `failing_stores` says what is
    not kept or cannot be asked, and why: `spending`, `outcomes`, `redis`.
    """

    status: Literal["ready"] = "ready"
    unhealthy_models: list[str]
    failing_stores: dict[str, str] = {}
    missing_workers: int = 0
    """Of several processes behind one address, those that do not run at the moment."""


router = APIRouter(tags=["operations"])


@router.get("/healthz", summary="Is the process alive?")
async def healthz() -> Health:
    """Answer 200 as long as the event loop turns."""
    return Health()


@router.get("/readyz", summary="Should new requests come here?")
async def readyz(request: Request) -> Ready:
    """Answer 200 when requests can be served, 503 while starting and shutting down."""
    state: AppState = request.app.state.steelyard
    if not state.readiness.ready:
        raise NotReadyError("the gateway is not ready")
    return Ready(
        unhealthy_models=sorted(state.serving.pool.unhealthy()),
        failing_stores=state.problems(),
        missing_workers=state.readiness.missing_workers,
    )


def metrics_refusal(config: LoadedConfig, *, host: str) -> Refusal:
    """Return what tells by the headers of a request why it may not read the metrics, if so.

    Whoever holds the token of the metrics may; where there is none but keys are asked for, whoever
    holds the admin token, since the metrics name keys and what they spend; without either nobody,
    unless the configuration opens them, or they have a port of their own that only this machine
    reaches. Where no keys are asked for, everybody may who may ask at all.

    Parameters
    ----------
    host
        The address that the metrics are served on.
    """
    server = config.gateway.server
    token = config.metrics_token
    if server.metrics == "open":
        return lambda _headers: None
    if token is None and config.gateway.auth.keys_needed:
        token = config.admin_token
        if token is None and not (server.metrics_port is not None and is_loopback(host)):
            return lambda _headers: ForbiddenError(_CLOSED, code=_CLOSED_CODE)
    if token is None:
        return _by_whom(BrowserRules.near(config.gateway, host=host))
    held = AdminToken(token).is_held
    return lambda headers: (
        None
        if held(headers)
        else UnauthenticatedError(
            "metrics need their token as 'Authorization: Bearer TOKEN'",
            code="invalid_metrics_token",
        )
    )


def _by_whom(rules: BrowserRules) -> Refusal:
    """Tell who may not read what everybody may who is no page of the web."""

    def refusal(headers: RawHeaders) -> GatewayError | None:
        try:
            rules.check({"headers": headers, "path": "/metrics"})
        except ForbiddenError as error:
            return error
        return None

    return refusal


def metrics_router(refusal: Refusal) -> APIRouter:
    """Return the route of `/metrics`, for an application that has no port of its own for it."""
    router = APIRouter(tags=["operations"])

    @router.get("/metrics", summary="Prometheus metrics", response_class=Response)
    async def render(request: Request) -> Response:
        """Render every instrument in Prometheus' text format."""
        refused = refusal(request.scope["headers"])
        if refused is not None:
            raise refused
        state: AppState = request.app.state.steelyard
        state.resources.drain()
        # Rendering takes milliseconds, too long for the event loop.
        text = await asyncio.to_thread(state.metrics.render)
        return Response(text, media_type=CONTENT_TYPE_LATEST)

    return router
