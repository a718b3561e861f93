"""What a failure means, told in the gateway's own errors: one mapping for all it may come by.

Messages name statuses and error codes and never quote an upstream: its prose may contain keys,
organisation names or addresses. The one thing passed on is the body of a rejection, which is
meant for whoever wrote the request.
"""

import math
from collections.abc import Sequence
from email.utils import parsedate_to_datetime

import httpx

from app.errors import (
    UpstreamBusyError,
    UpstreamCertificateError,
    UpstreamConnectionLostError,
    UpstreamContextLengthError,
    UpstreamError,
    UpstreamInvalidResponseError,
    UpstreamMisconfiguredError,
    UpstreamRejectedError,
    UpstreamThrottledError,
    UpstreamTimeoutError,
    UpstreamUnavailableError,
    UpstreamUnsupportedError,
)
from app.http_client.connection import CertificateError, StaleConnectionError
from app.providers.http import wordings
from app.providers.http.error_body import ErrorDetail, error_detail, is_openais, told_body

Headers = Sequence[tuple[bytes, bytes]]

MAX_WAIT_S = 86_400.0
"""The longest that an upstream is believed when it asks to be left alone: a day."""

_REFUSED = frozenset({401, 402, 403, 404})
"""Statuses that are the operator's to mend."""
_PROMPTS_FAULT = frozenset({400, 403, 451})


def retry_after_s(headers: Headers, *, now_s: float) -> float | None:
    """Read how long the upstream asks to be left alone, in seconds from now: 0 to a day.

    Parameters
    ----------
    headers
        Of the response; `retry-after-ms` wins over `retry-after` (seconds or an HTTP date).
    now_s
        The current time, in seconds since the epoch, for dates.
    """
    found = {name.lower(): value.decode("latin-1").strip() for name, value in headers}
    milliseconds = _number(found.get(b"retry-after-ms"))
    if milliseconds is not None:
        return min(milliseconds / 1000, MAX_WAIT_S)
    text = found.get(b"retry-after")
    seconds = _number(text)
    if seconds is not None:
        return min(seconds, MAX_WAIT_S)
    if text is None:
        return None
    try:
        return min(max(0.0, parsedate_to_datetime(text).timestamp() - now_s), MAX_WAIT_S)
    except (ValueError, OverflowError, TypeError):
        return None


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None


def error_from_status(status: int, headers: Headers, body: bytes, *, now_s: float) -> UpstreamError:
    """Turn an answer that is no success into the error it means.

    Parameters
    ----------
    body
        As far as it was read; need not be JSON.
    now_s
        The current time, in seconds since the epoch, for a `retry-after` that is a date.
    """
    detail = error_detail(body) or ErrorDetail()
    code = detail.safe_code
    message = f"the upstream answered {status}" + (f" ({code})" if code else "")
    if 300 <= status < 400:
        return UpstreamMisconfiguredError(
            f"{message}: redirects are not followed, correct base_url", status=status
        )
    kind = _kind(status, detail)
    if issubclass(kind, UpstreamRejectedError):
        if detail == ErrorDetail():
            return kind(message, status=status)
        told = body if is_openais(body) else told_body(detail)
        return kind(message, status=status, body=told)
    wait_s = retry_after_s(headers, now_s=now_s)
    return kind(message, status=status, retry_after_s=_wait_s(wait_s, detail))


def error_from_event(detail: ErrorDetail, *, began: bool = False) -> UpstreamError:
    """Turn an error that came under status 200, in a stream or as its whole body.

    Parameters
    ----------
    began
        Whether a part of the answer had come. A request that was being answered is in order: vLLM
        calls it a 400 when it gives up in the middle.
    """
    message = "the upstream reported an error" + (
        f" ({detail.safe_code})" if detail.safe_code else ""
    )
    status = detail.status
    kind = _kind(status, detail)
    if began and kind is UpstreamRejectedError and not wordings.MODERATED.search(detail.said):
        return UpstreamUnavailableError(message)
    if issubclass(kind, UpstreamRejectedError):
        known = status is not None and 400 <= status < 500
        return kind(message, status=status if known else 400, body=told_body(detail))
    return kind(message, retry_after_s=_wait_s(None, detail))


def _kind(status: int | None, detail: ErrorDetail) -> type[UpstreamError]:  # noqa: C901, PLR0911
    """Tell failures apart: by what they are called, how they are worded, and their status last.

    Parameters
    ----------
    status
        Of the answer, or what the error's code amounts to; None where there is neither.
    """
    names, said = detail.names, detail.said
    worded = status is None or 400 <= status < 500 or status == 500
    if status == 401:
        return UpstreamMisconfiguredError
    if status == 429 or names & wordings.THROTTLED_CODES:
        return UpstreamThrottledError
    # What is said of one field may repeat what a client wrote there.
    own = wordings.unquoted(said) if worded and not detail.param else ""
    if worded and status != 500 and wordings.THROTTLED.search(own):
        return UpstreamThrottledError
    if status in (402, 408, 504):
        return UpstreamMisconfiguredError if status == 402 else UpstreamTimeoutError
    if names & wordings.TOO_LONG_CODES or (worded and detail.too_long):
        return UpstreamContextLengthError
    if names & wordings.OPERATOR_CODES:
        return UpstreamMisconfiguredError
    if names & wordings.UNSUPPORTED_CODES or wordings.is_unsupported(said, status):
        return UpstreamUnsupportedError
    if worded and (wordings.OUT_OF_MONEY.search(own) or wordings.BAD_CREDENTIALS.search(own)):
        return UpstreamMisconfiguredError
    if status in _PROMPTS_FAULT and wordings.MODERATED.search(f"{said} {detail.code}"):
        return UpstreamRejectedError
    if status in _REFUSED:
        return UpstreamMisconfiguredError
    if status is None or not 400 <= status < 500:
        return UpstreamUnavailableError
    return UpstreamRejectedError


def _wait_s(asked_s: float | None, detail: ErrorDetail) -> float | None:
    """Return how long to wait: the header's word, else that of the text."""
    if asked_s is not None or detail.wait_s is None:
        return asked_s
    return min(detail.wait_s, MAX_WAIT_S)


def error_from_exception(error: httpx.TransportError) -> UpstreamError:
    """Turn a failure of the transport; to be raised `from` it."""
    for cls, ours, message in _FAILURES:
        if isinstance(error, cls):
            reason = f" ({error.reason})" if isinstance(error, CertificateError) else ""
            return ours(message + reason, sent=cls not in _NEVER_SENT)
    return UpstreamUnavailableError("the connection to the upstream broke")


_FAILURES: tuple[tuple[type[httpx.TransportError], type[UpstreamError], str], ...] = (
    (httpx.ConnectTimeout, UpstreamTimeoutError, "the upstream accepted no connection in time"),
    (httpx.PoolTimeout, UpstreamBusyError, "every connection to the upstream is in use"),
    (httpx.TimeoutException, UpstreamTimeoutError, "the upstream did not answer in time"),
    (
        CertificateError,
        UpstreamCertificateError,
        "the upstream's certificate cannot be verified",
    ),
    (httpx.ConnectError, UpstreamUnavailableError, "the upstream cannot be reached"),
    (
        StaleConnectionError,
        UpstreamConnectionLostError,
        "a kept connection to the upstream ended as it was used again",
    ),
    (
        httpx.RemoteProtocolError,
        UpstreamUnavailableError,
        "the upstream cut its answer short or broke HTTP",
    ),
    (
        httpx.LocalProtocolError,
        UpstreamInvalidResponseError,
        "the request cannot be sent to this upstream",
    ),
)

_NEVER_SENT = (httpx.ConnectTimeout, httpx.PoolTimeout, CertificateError, httpx.ConnectError)
