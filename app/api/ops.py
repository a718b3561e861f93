"""What operators and orchestrators ask: health, readiness, metrics."""

import asyncio
from typing import Literal

from fastapi import APIRouter, Request
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from pydantic import BaseModel

from app.errors import NotReadyError
from app.state import AppState


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


def metrics_router() -> APIRouter:
    """Return the route of `/metrics`, for an application that has no port of its own for it."""
    metrics = APIRouter(tags=["operations"])

    @metrics.get("/metrics", summary="Prometheus metrics", response_class=Response)
    async def render(request: Request) -> Response:
        """Render every instrument in Prometheus' text format."""
        registry: CollectorRegistry = request.app.state.steelyard.metrics.registry
        # Rendering takes milliseconds, too long for the event loop.
        text = await asyncio.to_thread(generate_latest, registry)
        return Response(text, media_type=CONTENT_TYPE_LATEST)

    return metrics
