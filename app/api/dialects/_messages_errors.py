"""Errors as clients of Anthropic's dialect know them."""

from collections.abc import Mapping
from typing import Any

import msgspec

from app.api.answers import Headers, error_head, error_object
from app.api.dialects._messages_limits import refusal_headers
from app.errors import (
    AllAttemptsFailedError,
    BudgetExceededError,
    RateLimitedError,
    UpstreamContextLengthError,
    UpstreamError,
    UpstreamUnsupportedError,
)
from app.paths import MESSAGES
from app.wire.decoding import DECODE_ERRORS
from app.wire.messages.errors import OVERLOADED, error_body, status_of, too_long, type_of
from routers.errors import NoEligibleModelError

_WITHOUT_THREADS = {"error_code": "thread_unsupported_request", "unsupported": ["thread"]}
"""On which Anthropic's libraries send the whole conversation, as they did before threads."""

_OVERLOADS = frozenset({503, OVERLOADED})
_AS_OPENAI_TELLS_IT = ("message", "type", "param", "code")


class MessagesError(msgspec.Struct, frozen=True):
    """The status of an error, and what its body says of it."""

    status: int
    object: Mapping[str, Any]


class _Error(msgspec.Struct):
    message: str = ""


class _Body(msgspec.Struct):
    error: _Error


_decode_body = msgspec.json.Decoder(_Body).decode


def error_answer(error: BaseException, *, request_id: str | None) -> tuple[int, Headers, bytes]:
    """Return status, headers and body that tell a client of an error."""
    status, headers = error_head(error)
    if isinstance(error, UpstreamError) and error.body is not None and error.dialect == MESSAGES:
        return status, headers, error.body
    told = error_of(error)
    if isinstance(error, RateLimitedError):
        headers.extend(refusal_headers(error))
    return told.status, headers, error_body(told.object, request_id=request_id)


def error_of(error: BaseException) -> MessagesError:
    """Return how an error is told."""
    status, _ = error_head(error)
    status = OVERLOADED if _is_overload(error) else status_of(status)
    # What it is called in OpenAI's words is left out; models and attempts are worth telling.
    told = error_object(error)
    more = {key: value for key, value in told.items() if key not in _AS_OPENAI_TELLS_IT}
    message = _message(error, told["message"])
    kind = type_of(status)
    if isinstance(error, BudgetExceededError) and not error.should_retry:
        kind = "billing_error"
    if _is_too_long(error):
        message = too_long(message)
    if isinstance(error, UpstreamUnsupportedError) and error.param == "thread":
        more["details"] = _WITHOUT_THREADS
    return MessagesError(status, {"type": kind, "message": message, **more})


def _is_overload(error: BaseException) -> bool:
    """Whether all that stood in the way were upstreams that had too much to do."""
    attempts = error.attempts if isinstance(error, AllAttemptsFailedError) else ()
    return bool(attempts) and all(each.status in _OVERLOADS for each in attempts)


def _message(error: BaseException, usual: str) -> str:
    """Return what is wrong: the words of an upstream, where it has found the request at fault."""
    if not isinstance(error, UpstreamError) or error.body is None:
        return usual
    try:
        return _decode_body(error.body).error.message or usual
    except DECODE_ERRORS:
        return usual


def _is_too_long(error: BaseException) -> bool:
    return isinstance(error, UpstreamContextLengthError) or (
        isinstance(error, NoEligibleModelError) and error.too_long
    )
