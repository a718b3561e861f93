"""Errors that reach the framework, ours and its own, in the shape of their path."""

from functools import partial
from http import HTTPStatus

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.routing import Match

from app.api.absent import absent, body_of, meant
from app.api.dialects.base import dialects
from app.error_answers import answer_for
from app.errors import (
    AbsentEndpointError,
    GatewayError,
    InvalidRequestError,
    MethodNotAllowedError,
    RouteNotFoundError,
)
from app.problems import first_problem

HEAD = "steelyard.head"
"""In the scope of a request that came as HEAD and is answered as GET."""

_METHODS = ("DELETE", "GET", "OPTIONS", "PATCH", "POST", "PUT")


async def answer_error(request: Request, error: Exception) -> Response:
    """Turn an error of the framework or of ours into the error body of the path's dialect."""
    if isinstance(error, RequestValidationError):
        message, param = first_problem(error.errors(), skip=1)
        error = InvalidRequestError(message, param=param)
    elif isinstance(error, HTTPException):
        error = _from_http(request, error)
    scope = request.scope
    if isinstance(error, MethodNotAllowedError) and _asks_for_methods(request):
        # Who asks that has its answer, and has done nothing wrong.
        return Response(status_code=HTTPStatus.NO_CONTENT, headers={"allow": error.allow})
    request.app.state.refusals.tell(scope, error, scope["state"].get("caller"))
    dialect = dialects().of(scope)
    status, headers, body = dialect.error(error, request_id=scope["state"].get("request_id"))
    if isinstance(error, AbsentEndpointError):
        body = body_of(error, code=answer_for(error).code or "")
    response = Response(body, status_code=status)
    response.raw_headers.extend(headers)
    if isinstance(error, MethodNotAllowedError) and error.allow:
        response.headers["allow"] = error.allow
    return response


def _asks_for_methods(request: Request) -> bool:
    """Whether a client asks which methods there are; a browser's question for a page is another."""
    return request.method == "OPTIONS" and "access-control-request-method" not in request.headers


def _from_http(request: Request, error: HTTPException) -> GatewayError:
    path = request.scope["path"][:200]
    method = "HEAD" if HEAD in request.scope else request.method
    if error.status_code == HTTPStatus.NOT_FOUND:
        is_here = partial(_is_here, request)
        known = absent(path, is_here=is_here)
        if known is not None:
            return known
        there = meant(path, is_here=is_here)
        hint = "" if there is None else f"did you mean {there}? The base URL ends in /v1; "
        return RouteNotFoundError(f"unknown request URL: {method} {path}; {hint}see /docs")
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        allow = ", ".join(_methods_at(request)) or (error.headers or {}).get("Allow", "")
        if "GET" in allow.split(", "):
            allow += ", HEAD"
        return MethodNotAllowedError(
            f"not allowed to {method} on {path}; allowed: {allow}", allow=allow
        )
    return InvalidRequestError(str(error.detail))


def _methods_at(request: Request) -> list[str]:
    """Return every method of a path; the router tells those of the first route alone."""
    return [each for each in _METHODS if Match.FULL in _matches(request, method=each)]


def _is_here(request: Request, path: str) -> bool:
    """Return whether there is a path, of whatever methods."""
    found = _matches(request, path=path, raw_path=path.encode())
    return Match.FULL in found or Match.PARTIAL in found


def _matches(request: Request, **asked: object) -> set[Match]:
    """Return how the routes match a request that asks for something else."""
    scope = {**request.scope, **asked}
    return {route.matches(scope)[0] for route in request.app.routes}
