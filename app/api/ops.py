"""What operators and orchestrators ask: health, readiness, metrics."""

import asyncio
from collections.abc import Callable
from typing import Literal

from fastapi import APIRouter, Request
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel

from app.api.admin_token import AdminToken
from app.config import LoadedConfig
from app.errors import NotReadyError, UnauthenticatedError
from app.state import AppState
from app.telemetry.exposition import RawHeaders


class Health(BaseModel):
    """The process is alive."""

    status: Literal["ok"] = "ok"


class Ready(BaseModel):
    """New requests may come; `unhealthy_models` are those whose upstream fails at the moment."""

    status: Literal["ready"] = "ready"
    unhealthy_models: list[str]


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
    return Ready(unhealthy_models=sorted(state.gateway.dispatcher.pool.unhealthy()))


def may_read_metrics(config: LoadedConfig) -> Callable[[RawHeaders], bool]:
    """Return who may read the metrics, told by the headers of a request.

    Whoever holds the token of the metrics; where there is none but keys are asked for, whoever
    holds the admin token, since the metrics name keys and what they spend; else everybody.
    """
    token = config.metrics_token
    if token is None and config.gateway.auth.keys_needed:
        token = config.admin_token
    return (lambda _headers: True) if token is None else AdminToken(token).is_held


def metrics_router(allowed: Callable[[RawHeaders], bool]) -> APIRouter:
    """Return the route of `/metrics`, for an application that has no port of its own for it."""
    router = APIRouter(tags=["operations"])

    @router.get("/metrics", summary="Prometheus metrics", response_class=Response)
    async def render(request: Request) -> Response:
        """Render every instrument in Prometheus' text format."""
        if not allowed(request.scope["headers"]):
            raise UnauthenticatedError(
                "metrics need their token as 'Authorization: Bearer TOKEN'",
                code="invalid_metrics_token",
            )
        state: AppState = request.app.state.steelyard
        state.resources.drain()
        # Rendering takes milliseconds, too long for the event loop.
        text = await asyncio.to_thread(state.metrics.render)
        return Response(text, media_type=CONTENT_TYPE_LATEST)

    return router
