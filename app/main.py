"""The application: built from a configuration, nothing before that."""

import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi_swagger import patch_fastapi
from prometheus_client import CollectorRegistry
from starlette.exceptions import HTTPException
from starlette.routing import Route
from starlette.types import ASGIApp

from app import __version__
from app.access.issuing import Issuer
from app.access.terms import KnownNames
from app.api import docs, models, ops, responses
from app.api.admin import Reload, admin_router
from app.api.answering import AnsweringEndpoint, Reception
from app.api.batch_door import AT_ENDPOINTS, GatewayDoor
from app.api.batches import batches_router
from app.api.boundary import BoundaryMiddleware
from app.api.browser_rules import browser_rules
from app.api.browsers import BrowserMiddleware
from app.api.console import console_is_served, console_router
from app.api.count_tokens import CountTokensEndpoint, InputTokenCounting, TokenCounting
from app.api.dialects.base import dialects
from app.api.fast_path import FastPathApp
from app.api.feedback import feedback_router
from app.api.files import files_router
from app.api.framework_errors import answer_error
from app.api.openapi import document_endpoints
from app.api.pinned import pinned
from app.api.refusals import RefusalLog
from app.api.route import RouteEndpoint
from app.api.spend import usage_router
from app.assembly import build_store
from app.assembly.active_config import prepare
from app.assembly.app_state import build_state
from app.assembly.batches import Batches, build_batches
from app.assembly.reload import Reloader
from app.assembly.resources import kept_responses
from app.config import LoadedConfig, load_config
from app.config.settings import Settings
from app.errors import GatewayError
from app.gateway.intake import Intake
from app.lifespan import lifespan
from app.paths import (
    CHAT_COMPLETIONS,
    COUNT_TOKENS_ROUTE,
    DECISION_ROUTE,
    INPUT_TOKENS_ROUTE,
    MESSAGES_ROUTE,
)
from app.spend.desk import SpendDesk
from app.spend.source import spend_source
from app.state import AppState
from app.stores.base import Lifecycle
from app.stores.keys import Keys
from app.stores.owners import new_run, owner_of
from app.telemetry.metrics import Metrics
from app.telemetry.recent import Recent
from routers.artifact.artifact import RouterArtifact
from routers.plugins import load_plugins, plugin_names

_DESCRIPTION = """
Send every chat request to the model that is worth its price.

Point an OpenAI client's `base_url` at `/v1`, ask for the model `auto`, and set the header
`x-cost-quality` from 0 (cheapest) to 1 (best); 0.5 promises half of the quality gap between the
cheapest candidate and the best achievable, at the lowest cost.
"""


def from_env() -> FastAPI:
    """Build the application that the environment describes (for `uvicorn --factory`)."""
    settings = Settings()
    load_plugins(plugin_names(settings.plugins))
    return create_app(
        load_config(settings.config),
        host=settings.listen_host,
        workers_dir=settings.metrics_dir,
        run=settings.run,
    )


def create_app(
    config: LoadedConfig,
    *,
    artifacts: Mapping[str, RouterArtifact] | None = None,
    store: Lifecycle | None = None,
    clock: Callable[[], float] = time.perf_counter,
    host: str | None = None,
    workers_dir: Path | None = None,
    n_workers: int = 1,
    run: str | None = None,
    reload: Reload | None = None,
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
    host
        The address that is listened on; default: the one that the configuration names.
    workers_dir
        Where several worker processes count together; None where there is one process.
    n_workers
        How many there are, this one included.
    run
        What begins the name by which this process claims in a shared store; default: made here.
    reload
        What reads the configuration anew when `/admin/reload` is asked; default: this process, for
        itself alone, also on SIGHUP.

    Raises
    ------
    ConfigError
        If anything in the configuration does not fit together.
    """
    policies, names = prepare(config, artifacts)
    recent = None
    host = config.gateway.server.host if host is None else host
    if console_is_served(config.gateway, host, admin_token=config.admin_token):
        recent = Recent()
    metrics = Metrics(CollectorRegistry(), workers_dir=workers_dir)
    if store is None:
        owner = owner_of(run or new_run())
        store = build_store(config, events=metrics.store.events, owner=owner)
    state = build_state(
        config,
        policies,
        names,
        store,
        metrics=metrics,
        clock=clock,
        recent=recent,
        n_processes=n_workers,
    )
    app = FastPathApp(
        title="Steelyard",
        version=__version__,
        description=_DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
        # A redirect would lead to whatever the Host header says.
        redirect_slashes=False,
    )
    app.state.steelyard = state
    app.state.host = host
    app.state.reloader = reloader = Reloader(state, load=partial(load_config, config.path))
    app.state.reloads_itself = reload is None

    def draining() -> bool:
        return state.readiness.draining

    app.state.refusals = RefusalLog(
        traffic=frozenset({*(each.path for each in (*dialects().all, *pinned())), *_OTHER_TRAFFIC}),
        count=state.metrics.requests.refused,
    )
    app.state.batches = _add_traffic(app, state, clock, draining)
    app.include_router(models.router)
    app.include_router(
        responses.responses_router(kept_responses(config.gateway, state.store.store))
    )
    app.include_router(ops.router)
    if state.resources.feedback is not None:
        app.include_router(
            feedback_router(state.resources.feedback, state.guard, admin_token=config.admin_token)
        )
    for router in _managing(config, state, reload or reloader.reload):
        app.include_router(router)
    if recent is not None:
        app.include_router(
            console_router(
                state,
                recent,
                token=config.admin_token,
                anywhere=config.gateway.server.console is True,
            )
        )
    if config.gateway.server.metrics_port is None:
        app.include_router(ops.metrics_router(ops.metrics_refusal(config, host=host)))
    app.include_router(docs.router)
    patch_fastapi(app, docs_url="/docs", redirect_from_root_to_docs=False)  # for what it loads
    document_endpoints(app, dialects(), pinned())
    for error in (GatewayError, RequestValidationError, HTTPException):
        app.add_exception_handler(error, answer_error)
    rules = browser_rules(config.gateway, host=host)
    app.add_middleware(BrowserMiddleware, rules=rules, refused=app.state.refusals.refused)
    app.add_middleware(BoundaryMiddleware, draining=draining)
    return app


_OTHER_TRAFFIC = (DECISION_ROUTE, COUNT_TOKENS_ROUTE, INPUT_TOKENS_ROUTE)
"""Paths that share the limits of those where answers are asked for."""


def _add_traffic(
    app: FastPathApp,
    state: AppState,
    clock: Callable[[], float],
    draining: Callable[[], bool],
) -> Batches | None:
    server = state.config.gateway.server
    reception = Reception(
        serving=lambda: state.serving,
        guard=state.guard,
        places=state.places,
        intake=Intake(
            max_bytes=server.max_bodies_mb * 1_000_000,
            max_requests=max(server.max_concurrent_requests // 2, 16),
            clock=clock,
        ),
        in_flight=state.metrics.requests.in_flight,
        refused=app.state.refusals.refused,
    )
    rules = browser_rules(state.config.gateway, host=app.state.host)
    table, kept = dialects(), kept_responses(state.config.gateway, state.store.store)
    endpoints: dict[str, ASGIApp] = {
        each.path: AnsweringEndpoint(dialect=each.keeping(kept), reception=reception)
        for each in (*table.all, *pinned())
    }
    chat = table.named(CHAT_COMPLETIONS)
    counting = CountTokensEndpoint(dialect=TokenCounting(), reception=reception)
    endpoints[COUNT_TOKENS_ROUTE] = counting
    endpoints[INPUT_TOKENS_ROUTE] = CountTokensEndpoint(
        dialect=InputTokenCounting(kept), reception=reception
    )
    # A base URL that ends in /v1, or lacks it, is what clients of this dialect often have.
    messages = endpoints[MESSAGES_ROUTE]
    for begins in ("", "/v1/v1"):
        endpoints[begins + MESSAGES_ROUTE.removeprefix("/v1")] = messages
        endpoints[begins + COUNT_TOKENS_ROUTE.removeprefix("/v1")] = counting
    endpoints[DECISION_ROUTE] = RouteEndpoint(dialect=chat, reception=reception)
    app.served = (*endpoints, "/v1/models")
    for path in ops.PROBED:
        app.add_direct("HEAD", path, BoundaryMiddleware(ops.answer_probe, draining=draining))
    for path, endpoint in endpoints.items():
        app.router.routes.append(Route(path, endpoint, methods=["POST"]))
        inner: ASGIApp = endpoint
        if rules.bind:
            inner = BrowserMiddleware(endpoint, rules=rules, refused=app.state.refusals.refused)
        app.add_direct("POST", path, BoundaryMiddleware(inner, draining=draining))
    spoken = {each.path: each for each in (*table.all, *pinned())}
    batches = build_batches(
        state.config.gateway,
        state.store.store,
        guard=state.guard,
        door=GatewayDoor(
            {
                path: (spoken[path].keeping(kept), BoundaryMiddleware(endpoints[path]))
                for path in AT_ENDPOINTS
            },
            serving=lambda: state.serving,
        ),
        metrics=state.metrics,
    )
    if batches is not None:
        files, desk = batches.files, batches.desk
        max_file_bytes = state.config.gateway.batches.max_file_mb * 1_000_000
        intake = reception.intake
        app.include_router(files_router(files, desk, intake, max_file_bytes=max_file_bytes))
        app.include_router(batches_router(desk))
    return batches


def _managing(config: LoadedConfig, state: AppState, reload: Reload) -> Iterator[APIRouter]:
    """Yield the routes for who uses keys, and for who gives them out."""
    keys = state.store.store.keys
    spend = SpendDesk(spend_source(config), partial(_key_names, keys))
    if state.guard.asks_for_keys:
        yield usage_router(spend, state.guard, state.own_standings)
    if config.admin_token is not None:
        yield admin_router(
            Issuer(
                keys,
                lambda: KnownNames.of(state.config.gateway),
                on_change=state.guard.forget,
            ),
            token=config.admin_token,
            standings=state.standings,
            own_standings=state.own_standings,
            spend=spend,
            reload=reload,
            orchestrations=state.orchestrated,
            canaries=state.resources.canaries,
        )


async def _key_names(keys: Keys) -> dict[str, str]:
    """Return the name of every key by its id, revoked ones too."""
    return {record.key_id: record.name for record in await keys.all()}
