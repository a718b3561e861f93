"""What HTTP says about a failure, told in the gateway's own errors.

Messages name statuses and error codes and never quote an upstream: its prose may contain keys,
organisation names or addresses. The one thing passed on is the body of a rejection, which is
meant for whoever wrote the request.
"""

import math
import re
from collections.abc import Sequence
from email.utils import parsedate_to_datetime

import httpx
import msgspec

from app.errors import (
    UpstreamBusyError,
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

Headers = Sequence[tuple[bytes, bytes]]

_TOO_LONG = re.compile(
    r"maximum context length|context (?:window|length|size)[^.]{0,40}(?:exceed|limit)"
    r"|exceeds? (?:the )?(?:model'?s? )?(?:available |maximum )?context|prompt is too long",
    re.IGNORECASE,
)
_TOO_LONG_CODES = {
    "context_length_exceeded",
    "exceed_context_size_error",
    "string_above_max_length",
}
_UNSUPPORTED = re.compile(
    r"\b(?:not supported|unsupported|deprecated)\b[^.]{0,40}\bthis model\b", re.IGNORECASE
)
_UNSUPPORTED_CODES = {"unsupported_parameter", "unsupported_value"}
_OPERATOR_CODES = {"invalid_api_key", "model_not_found", "invalid_organization"}
_OPERATOR_STATUSES = {401, 402, 403, 404}
_THROTTLED_CODES = {
    "insufficient_quota",
    "rate_limit_error",
    "rate_limit_exceeded",
    "rate_limit_reached",
    "requests",
    "tokens",
    "429",
}
_SAFE_CODE = re.compile(r"[a-z0-9_.-]{1,64}", re.IGNORECASE)


class ErrorDetail(msgspec.Struct, frozen=True):
    """The inside of an OpenAI error body; every key may be missing or of the wrong type."""

    message: str = ""
    type: str = ""
    code: str = ""

    @property
    def safe_code(self) -> str | None:
        """The code, or else the type, where it looks like an identifier."""
        for each in (self.code, self.type):
            if _SAFE_CODE.fullmatch(each):
                return each
        return None

    @property
    def throttled(self) -> bool:
        """Whether it speaks of a rate limit or a quota."""
        return bool({self.code.lower(), self.type.lower()} & _THROTTLED_CODES)

    @property
    def too_long(self) -> bool:
        """Whether it says that the prompt does not fit into the model's context window."""
        return bool(
            {self.code.lower(), self.type.lower()} & _TOO_LONG_CODES
            or _TOO_LONG.search(self.message)
        )

    @property
    def unsupported(self) -> bool:
        """Whether it says that the request is fine but this model lacks what it asks for."""
        return bool(self.code in _UNSUPPORTED_CODES or _UNSUPPORTED.search(self.message))


class _ErrorBody(msgspec.Struct, frozen=True):
    error: msgspec.Raw = msgspec.Raw(b"null")
    object: msgspec.Raw = msgspec.Raw(b"null")


_DECODE_BODY = msgspec.json.Decoder(_ErrorBody).decode


def error_detail(body: bytes) -> ErrorDetail | None:
    """Read an error body, or the data of an error event; None when it is neither.

    The error is the value of `error`, an object or a string, or, in older vLLM servers, the whole
    object, which then calls itself one: `{"object": "error", "message": …}`.
    """
    try:
        found = _DECODE_BODY(body)
        error = msgspec.json.decode(body if bytes(found.object) == b'"error"' else found.error)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if isinstance(error, str):
        return ErrorDetail(message=error)
    if not isinstance(error, dict):
        return None

    def text(key: str) -> str:
        value = error.get(key)
        return str(value) if isinstance(value, str | int) else ""

    return ErrorDetail(message=text("message"), type=text("type"), code=text("code"))


def retry_after_s(headers: Headers, *, now_s: float) -> float | None:
    """Read how long the upstream asks to be left alone, in seconds from now, at least 0.

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
        return milliseconds / 1000
    text = found.get(b"retry-after")
    seconds = _number(text)
    if seconds is not None or text is None:
        return seconds
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now_s)
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
    detail = error_detail(body)
    code = detail.safe_code if detail else None
    message = f"the upstream answered {status}" + (f" ({code})" if code else "")
    wait_s = retry_after_s(headers, now_s=now_s)
    detail = detail or ErrorDetail()
    if 300 <= status < 400:
        return UpstreamMisconfiguredError(
            f"{message}: redirects are not followed, correct base_url", status=status
        )
    if status in _OPERATOR_STATUSES or detail.code in _OPERATOR_CODES:
        return UpstreamMisconfiguredError(message, status=status)
    if status == 429:
        return UpstreamThrottledError(message, status=status, retry_after_s=wait_s)
    if status in (408, 504):
        return UpstreamTimeoutError(message, status=status, retry_after_s=wait_s)
    if not 400 <= status < 500:
        return UpstreamUnavailableError(message, status=status, retry_after_s=wait_s)
    keep = detail != ErrorDetail()
    return _rejection(detail)(message, status=status, body=body if keep else None)


def _rejection(detail: ErrorDetail) -> type[UpstreamRejectedError]:
    if detail.too_long:
        return UpstreamContextLengthError
    return UpstreamUnsupportedError if detail.unsupported else UpstreamRejectedError


def error_from_event(detail: ErrorDetail) -> UpstreamError:
    """Turn an error that came under status 200, in a stream or as its whole body."""
    message = "the upstream reported an error" + (
        f" ({detail.safe_code})" if detail.safe_code else ""
    )
    if detail.throttled:
        return UpstreamThrottledError(message)
    if detail.too_long:
        return UpstreamContextLengthError(message)
    return UpstreamUnavailableError(message)


def error_from_exception(error: httpx.TransportError) -> UpstreamError:
    """Turn a failure of the transport; to be raised `from` it."""
    for cls, ours, message in _FAILURES:
        if isinstance(error, cls):
            return ours(message, sent=cls not in _NEVER_SENT)
    return UpstreamUnavailableError("the connection to the upstream broke")


_FAILURES: tuple[tuple[type[httpx.TransportError], type[UpstreamError], str], ...] = (
    (httpx.ConnectTimeout, UpstreamTimeoutError, "the upstream accepted no connection in time"),
    (httpx.PoolTimeout, UpstreamBusyError, "every connection to the upstream is in use"),
    (httpx.TimeoutException, UpstreamTimeoutError, "the upstream did not answer in time"),
    (httpx.ConnectError, UpstreamUnavailableError, "the upstream cannot be reached"),
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

_NEVER_SENT = (httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ConnectError)
