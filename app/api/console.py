"""`/console`: a page that shows what the router does, and the data behind it.

The page's files hold no data and are open to whoever reaches the port; its data needs the admin
token where one is configured. Deciding and answering go through `/v1` like everybody's requests.
"""

import asyncio
import mimetypes
import os
from collections.abc import Callable, Coroutine, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response
from fastapi.routing import APIRoute

from app.api.admin_token import AdminToken
from app.config import GatewayConfig
from app.config.settings import is_loopback
from app.console.curves import of_another_policy, policy_curve
from app.console.live import models_by_price, places, summarise
from app.errors import RouteNotFoundError
from app.gateway.policy import Policy
from app.state import AppState
from app.telemetry.recent import Recent

STATIC = Path(__file__).parents[1] / "console" / "static"

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
_TYPES = {".js": "text/javascript", ".css": "text/css", ".html": "text/html"}

_Handler = Callable[[Request], Coroutine[Any, Any, Response]]


def console_is_served(config: GatewayConfig, host: str, *, admin_token: str | None) -> bool:
    """Return whether there is a console on a gateway that listens on `host`.

    Where requests need keys there is none without an admin token: nobody could open it.
    """
    wanted = config.server.console
    if config.auth.keys_needed and admin_token is None:
        return False
    return is_loopback(host) if wanted is None else wanted


def console_router(
    state: AppState, recent: Recent, *, token: str | None, anywhere: bool
) -> APIRouter:
    """Return the routes of `/console`.

    Parameters
    ----------
    recent
        The last requests of this process.
    token
        What opens the data; None where it is open to whoever reaches the port.
    anywhere
        False answers only requests that came over a loopback address and were addressed to one,
        so that neither a forgotten proxy nor a rebound name shows it to others.
    """
    files = _read_files(STATIC)
    admin = None if token is None else AdminToken(token)

    class ConsoleRoute(APIRoute):
        """A route that is there only for whom the console is meant."""

        def get_route_handler(self) -> _Handler:
            handler = super().get_route_handler()

            async def guarded(request: Request) -> Response:
                if not anywhere and not _from_this_machine(request):
                    raise RouteNotFoundError(
                        "there is no console here; see server.console in the configuration"
                    )
                return await handler(request)

            return guarded

    router = APIRouter(prefix="/console", include_in_schema=False, route_class=ConsoleRoute)

    @router.get("")
    async def redirect() -> Response:
        # Relative: it also works where a proxy serves the gateway under a path.
        return RedirectResponse("console/")

    @router.get("/api/access")
    async def access() -> Response:
        """Say what has to be typed in; the page asks this first."""
        keys_needed = state.config.gateway.auth.keys_needed
        return _json({"admin_token": admin is not None, "key": keys_needed})

    _add_data(router, state, recent, admin)

    @router.get("/{path:path}")
    async def static(request: Request, path: str) -> Response:
        """Serve the files of the page."""
        found = files.get(path or "static/index.html")
        if found is None:
            raise RouteNotFoundError(f"unknown request URL: GET /console/{path[:200]}")
        if request.headers.get("if-none-match") == found.headers["etag"]:
            return Response(status_code=304, headers=_HEADERS | {"etag": found.headers["etag"]})
        return found

    return router


def _add_data(router: APIRouter, state: AppState, recent: Recent, admin: AdminToken | None) -> None:
    curves = _Curves()

    @router.get("/api/live")
    async def live(request: Request) -> Response:
        """Tell how the last requests of this process ended, and how its upstreams are."""
        _require(admin, request)
        pool = state.serving.pool
        health = places(pool.slots(), pool.clock(), state.resources.watch.alarmed)
        state.resources.drain()
        # Some milliseconds for 500 requests, too long for the event loop.
        summary = await asyncio.to_thread(
            summarise,
            recent.snapshot(),
            process_id=os.getpid(),
            now=recent.now(),
            started_at=recent.started_at,
            n_seen=recent.n_seen,
        )
        return _json(
            {
                **msgspec.to_builtins(summary),
                "upstreams": msgspec.to_builtins(health),
                "models_by_price": models_by_price(pool.slots()),
            }
        )

    @router.get("/api/curve")
    async def curve(request: Request) -> Response:
        """Tell what each policy can promise with its models at today's prices."""
        _require(admin, request)
        policies = state.policies
        return _json(
            {
                "default_policy": state.config.gateway.default_policy,
                "policies": [await curves.of(each) for each in policies.values()],
            }
        )


class _Curves:
    """Curves by version of their policy; one is computed at a time, in a thread."""

    def __init__(self) -> None:
        self._known: Mapping[str, dict[str, Any]] = {}
        self._computed: tuple[object, dict[str, Any]] | None = None
        self._lock = asyncio.Lock()

    async def of(self, policy: Policy) -> dict[str, Any]:
        async with self._lock:
            answer = self._known.get(policy.version)
            if answer is None:
                world = (policy.artifact.version, policy.candidates)
                if self._computed is None or self._computed[0] != world:
                    self._computed = world, await asyncio.to_thread(policy_curve, policy)
                # Policies mostly differ in nothing but where their knob stands.
                answer = of_another_policy(self._computed[1], policy)
                # Versions of before a reload are of no use any more.
                kept = {k: v for k, v in self._known.items() if v["policy"] != policy.name}
                self._known = {**kept, policy.version: answer}
            return answer


def _require(admin: AdminToken | None, request: Request) -> None:
    if admin is not None:
        admin.require(request.scope["headers"])


def _from_this_machine(request: Request) -> bool:
    server = request.scope.get("server")
    name = request.url.hostname or ""
    return server is not None and is_loopback(str(server[0])) and is_loopback(name)


def _json(value: object) -> Response:
    headers = {**_HEADERS, "cache-control": "no-store"}
    return Response(msgspec.json.encode(value), media_type="application/json", headers=headers)


def _read_files(directory: Path) -> dict[str, Response]:
    """Read the page once: it is small, and answering then touches no disk."""
    files = {}
    for path in sorted(directory.rglob("*")):
        if not path.is_file():
            continue
        body = path.read_bytes()
        media_type = _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0]
        headers = {
            **_HEADERS,
            "cache-control": "no-cache",
            "etag": f'"{sha256(body).hexdigest()[:16]}"',
        }
        files[path.relative_to(directory.parent).as_posix()] = Response(
            body, media_type=media_type, headers=headers
        )
    return files
