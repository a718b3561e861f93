"""Answers: errors in OpenAI's shape, and the headers of rate limits."""

import dataclasses
import math
from typing import Any

from app.error_answers import answer_for
from app.errors import (
    AllAttemptsFailedError,
    GatewayError,
    RateLimitedError,
    UnauthenticatedError,
    UpstreamError,
)
from app.stores.claims import Standing
from routers.errors import NoEligibleModelError, RoutingError

Headers = list[tuple[bytes, bytes]]

JSON_HEADER = (b"content-type", b"application/json")
STREAM_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]
_INTERNAL = "the gateway failed on this request; quote the x-request-id to its operator"


def error_head(error: BaseException) -> tuple[int, Headers]:
    """Return status and headers that tell a client of an error, whatever dialect it reads."""
    answer = answer_for(error)
    status = answer.status
    headers: Headers = [JSON_HEADER]
    if isinstance(error, UpstreamError):
        if error.body is not None and error.status is not None:
            return error.status, headers
        status = error.status if error.status == 400 else status
    if isinstance(error, UnauthenticatedError):
        headers.append((b"www-authenticate", b'Bearer realm="steelyard"'))
    retry_after_s = getattr(error, "retry_after_s", None)
    if retry_after_s is not None:
        headers.append((b"retry-after", str(math.ceil(retry_after_s)).encode()))
        headers.append((b"retry-after-ms", str(math.ceil(retry_after_s * 1e3)).encode()))
    if isinstance(error, RateLimitedError):
        headers.extend(_refusal_headers(error))
    if getattr(error, "should_retry", True) is False:
        headers.append((b"x-should-retry", b"false"))
    return status, headers


def error_object(error: BaseException) -> dict[str, Any]:
    """Return the value of `error` in OpenAI's error body; all four keys are always there."""
    answer = answer_for(error)
    body: dict[str, Any] = {
        "message": _INTERNAL,
        "type": answer.type,
        "param": None,
        "code": answer.code,
    }
    if isinstance(error, GatewayError):
        body["message"] = error.message
        body["param"] = error.param
        body["code"] = error.code or answer.code
    elif isinstance(error, RoutingError):
        body["message"] = str(error)
    if isinstance(error, NoEligibleModelError):
        body["models"] = error.exclusions
    if isinstance(error, AllAttemptsFailedError):
        body["attempts"] = [dataclasses.asdict(attempt) for attempt in error.attempts]
    return body


def limit_headers(standing: Standing) -> Headers:
    """Return OpenAI's `x-ratelimit-*` headers for a standing."""
    headers: Headers = []
    for name, rate in (("requests", standing.requests), ("tokens", standing.tokens)):
        if rate is None:
            continue
        headers += (
            (f"x-ratelimit-limit-{name}".encode(), b"%d" % rate.limit),
            (f"x-ratelimit-remaining-{name}".encode(), b"%d" % rate.remaining),
            (f"x-ratelimit-reset-{name}".encode(), _duration(rate.reset_s)),
        )
    return headers


def _refusal_headers(error: RateLimitedError) -> Headers:
    if error.resource not in {"requests", "tokens"}:
        return []
    headers: Headers = [
        (f"x-ratelimit-limit-{error.resource}".encode(), b"%d" % error.limit),
        (f"x-ratelimit-remaining-{error.resource}".encode(), b"0"),
    ]
    if error.retry_after_s is not None:
        reset = _duration(error.retry_after_s)
        headers.append((f"x-ratelimit-reset-{error.resource}".encode(), reset))
    return headers


def _duration(seconds: float) -> bytes:
    """Format a time as OpenAI does: 12ms, 1s, 6m0s."""
    if seconds < 1:
        return b"%dms" % math.ceil(seconds * 1e3)
    whole = math.ceil(seconds)
    return b"%ds" % whole if whole < 60 else b"%dm%ds" % divmod(whole, 60)
