"""The application: built from a configuration, nothing before that."""

import contextlib
import random
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from fastapi_swagger import patch_fastapi
from prometheus_client import CollectorRegistry, start_http_server
from starlette.exceptions import HTTPException
from starlette.routing import Route

from app import __version__
from app.access.guard import Guard
from app.access.issuing import Issuer
from app.access.terms import KnownNames
from app.api import models, ops
from app.api.admin import admin_router
from app.api.answers import error_answer
from app.api.chat import ChatEndpoint
from app.api.route import RouteEndpoint
from app.api.schema import document_endpoints
from app.api.visible import VisibleNames
from app.build import (
    build_deployments,
    build_names,
    build_policies,
    build_pool,
    build_store,
    config_version,
    load_artifacts,
    providers_of,
)
from app.config import LoadedConfig, load_config
from app.errors import (
    GatewayError,
    InvalidRequestError,
    MethodNotAllowedError,
    RouteNotFoundError,
    UpstreamError,
    answer_for,
)
from app.gateway.breaker import Breaker, CircuitState
from app.gateway.decide import Decider
from app.gateway.dispatch import Dispatcher
from app.gateway.handle import Gateway
from app.gateway.request import Deployment, Policy
from app.gateway.score import Scorer
from app.middleware.boundary import BoundaryMiddleware
from app.settings import Settings
from app.state import AppState
from app.stores._base import Lifecycle
from app.telemetry.logs import log_outcome
from app.telemetry.metrics import Metrics
from app.types import Outcome
from routers.artifact import RouterArtifact

_DESCRIPTION = """
Send every chat request to the model that is worth its price.

Point an OpenAI client's `base_url` at `/v1`, ask for the model `auto`, and set the header
`x-cost-quality` from 0 (cheapest) to 1 (best); 0.5 promises half of the quality gap between the
cheapest candidate and the best achievable, at the lowest cost.
"""


def from_env() -> FastAPI:
    """Build the application that the environment describes (for `uvicorn --factory`)."""
    return create_app(load_config(Settings().config))


def create_app(
    config: LoadedConfig,
    *,
    artifacts: Mapping[str, RouterArtifact] | None = None,
    store: Lifecycle | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> FastAPI:
    """Build the application.

    Parameters
    ----------
    artifacts
        Router name → loaded artifact; default: those that the configuration names.
    store
        Opened and closed with the application; default: the one that the configuration names.
    clock
        Monotonic seconds.

    Raises
    ------
    ConfigError
        If anything in the configuration does not fit together.
    """
    loaded = load_artifacts(config) if artifacts is None else artifacts
    policies = build_policies(config, loaded)
    names = build_names(config, policies)
    state = _state(config, policies, build_store(config) if store is None else store, clock)
    visible = VisibleNames(names)
    app = FastAPI(
        title="Steelyard",
        version=__version__,
        description=_DESCRIPTION,
        lifespan=_lifespan,
        docs_url=None,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
    )
    app.state.steelyard = state
    app.state.names = names
    app.state.visible = visible
    server = config.gateway.server
    chat = ChatEndpoint(
        gateway=state.gateway,
        guard=state.guard,
        names=visible,
        max_body_bytes=server.max_body_bytes,
        request_timeout_s=server.request_timeout_s,
        in_flight=state.metrics.in_flight.inc,
    )
    app.router.routes.append(Route("/v1/chat/completions", chat, methods=["POST"]))
    app.router.routes.append(Route("/v1/route", RouteEndpoint(chat=chat), methods=["POST"]))
    app.include_router(models.router)
    app.include_router(ops.router)
    if config.admin_token is not None:
        issuer = Issuer(
            state.store.store.keys,
            lambda: KnownNames.of(config.gateway),
            on_change=state.guard.forget,
        )
        app.include_router(admin_router(issuer, token=config.admin_token))
    if server.metrics_port is None:
        app.include_router(ops.metrics_router())
    patch_fastapi(app, docs_url="/docs", redirect_from_root_to_docs=True)
    document_endpoints(app)
    for error in (GatewayError, RequestValidationError, HTTPException):
        app.add_exception_handler(error, _answer_error)
    app.add_middleware(BoundaryMiddleware)
    return app


def _state(
    config: LoadedConfig,
    policies: Mapping[str, Policy],
    store: Lifecycle,
    clock: Callable[[], float],
) -> AppState:
    metrics = Metrics(CollectorRegistry())
    limits = config.gateway.breaker
    deployments = build_deployments(config)
    rng = random.Random()  # noqa: S311  (spreads load and retries, guards nothing)

    def breaker_changed(deployment: Deployment, state: CircuitState) -> None:
        metrics.breaker_changed(
            deployment.spec.model_id,
            upstream=deployment.upstream,
            upstream_model=deployment.upstream_model,
            state=state.value,
        )

    def attempt_failed(deployment: Deployment, error: UpstreamError) -> None:
        metrics.attempt_failed(
            deployment.spec.model_id,
            upstream=deployment.upstream,
            error=answer_for(error).code or "upstream_error",
        )

    pool = build_pool(config, deployments, clock=clock, rng=rng, on_breaker_change=breaker_changed)
    for slot in pool.slots():
        breaker_changed(slot.deployment, slot.circuit.state)

    def record(outcome: Outcome) -> None:
        metrics.record(outcome)
        log_outcome(outcome)

    gateway = Gateway(
        decider=Decider(
            unhealthy=pool.unhealthy,
            on_router_failure=lambda policy, reason: metrics.router_failed(policy.name, reason),
        ),
        scorer=Scorer(
            deployments={model_id: places[0] for model_id, places in deployments.items()},
            breaker=Breaker(clock=clock, failures=limits.failures, cooldown_s=limits.cooldown_s),
            clock=clock,
            on_call=metrics.scorer_called,
        ),
        dispatcher=Dispatcher(
            pool=pool,
            clock=clock,
            rng=rng,
            on_failure=attempt_failed,
            request_timeout_s=config.gateway.server.request_timeout_s,
        ),
        record=record,
        clock=clock,
        config_version=config_version(config),
    )
    auth = config.gateway.auth
    return AppState(
        config=config,
        gateway=gateway,
        deployments=deployments,
        policies=policies,
        metrics=metrics,
        store=store,
        guard=Guard(store.store.keys if auth.keys_needed else None, fresh_s=auth.fresh_s),
    )


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncGenerator[None, None]:
    state: AppState = app.state.steelyard
    server = state.config.gateway.server
    await state.store.open()
    metrics_server = None
    if server.metrics_port is not None:
        metrics_server, _ = start_http_server(
            server.metrics_port, addr=server.host, registry=state.metrics.registry
        )
    state.readiness.ready = True
    try:
        yield
    finally:
        state.readiness.ready = False
        state.gateway.decider.close()
        for provider in providers_of(state.deployments):
            await provider.aclose()
        await state.store.aclose()
        if metrics_server is not None:
            metrics_server.shutdown()
            metrics_server.server_close()


async def _answer_error(request: Request, error: Exception) -> Response:
    """Turn an error of the framework or of ours into OpenAI's error body."""
    if isinstance(error, RequestValidationError):
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"][1:])
        error = InvalidRequestError(f"{where}: {problem['msg']}", param=where or None)
    elif isinstance(error, HTTPException):
        error = _from_http(request, error)
    status, headers, body = error_answer(error)
    response = Response(body, status_code=status)
    response.raw_headers.extend(headers)
    if isinstance(error, MethodNotAllowedError) and error.allow:
        response.headers["allow"] = error.allow
    return response


def _from_http(request: Request, error: HTTPException) -> GatewayError:
    method, path = request.method, request.scope["path"][:200]
    if error.status_code == HTTPStatus.NOT_FOUND:
        return RouteNotFoundError(f"unknown request URL: {method} {path}; see /docs")
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        allow = (error.headers or {}).get("Allow", "")
        return MethodNotAllowedError(
            f"not allowed to {method} on {path}; allowed: {allow}", allow=allow
        )
    return InvalidRequestError(str(error.detail))
