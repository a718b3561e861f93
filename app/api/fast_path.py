"""The application object: FastAPI, with a short way in for the paths that carry the traffic."""

from typing import Any
from urllib.parse import quote

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.asgi import MODEL_IN_PATH
from app.api.framework_errors import HEAD
from app.api.paths import meant_path


class FastPathApp(FastAPI):
    """FastAPI that hands some exact paths to their ASGI applications, past its middleware.

    What Starlette and FastAPI do around a handler costs more than routing does. The direct
    applications are documented and routed as well: whatever is not exactly one of theirs (another
    method, a trailing slash) takes the ordinary way and is answered there.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._direct: dict[tuple[str, str], ASGIApp] = {}
        self.served: tuple[str, ...] = ()
        """Paths that are also reached by the other ways in which clients build addresses."""

    def add_direct(self, method: str, path: str, app: ASGIApp) -> None:
        """Hand requests of this method and exact path to `app`."""
        self._direct[method, path] = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take one connection event."""
        if scope["type"] == "http":
            direct = self._direct.get((scope["method"], scope["path"]))
            if direct is None and scope["method"] == "HEAD":
                # As GET (RFC 9110, 9.3.2); the server leaves the body out.
                scope = {**scope, "method": "GET", HEAD: True}
                direct = self._direct.get(("GET", scope["path"]))
            if direct is None and (meant := meant_path(scope["path"], self.served)) is not None:
                scope = {**scope, "path": meant.path, "raw_path": quote(meant.path).encode()}
                scope["state"] = {**scope.get("state", {}), MODEL_IN_PATH: meant.model}
                direct = self._direct.get((scope["method"], meant.path))
            if direct is not None:
                await direct(scope, receive, send)
                return
        await super().__call__(scope, receive, send)
