"""Where limits stand, in the headers that clients of Anthropic's dialect read."""

from datetime import UTC, datetime, timedelta

from app.api.answers import Headers
from app.errors import RateLimitedError
from app.stores.claims import Standing

_RESOURCES = frozenset({"requests", "tokens"})


def rate_limit_headers(standing: Standing) -> Headers:
    """Return Anthropic's `anthropic-ratelimit-*` headers for a standing."""
    headers: Headers = []
    for name, rate in (("requests", standing.requests), ("tokens", standing.tokens)):
        if rate is not None:
            headers += _headers(name, rate.limit, rate.remaining, rate.reset_s)
    return headers


def refusal_headers(error: RateLimitedError) -> Headers:
    """Return the same for a limit that stood in the way."""
    if error.resource not in _RESOURCES:
        return []
    return _headers(error.resource, error.limit, 0, error.retry_after_s)


def _headers(name: str, limit: int, remaining: int, reset_s: float | None) -> Headers:
    begin = f"anthropic-ratelimit-{name}-".encode()
    headers = [(begin + b"limit", b"%d" % limit), (begin + b"remaining", b"%d" % remaining)]
    if reset_s is not None:
        at = datetime.now(UTC) + timedelta(seconds=reset_s)
        # `strftime` takes many times as long, and every answer tells two.
        headers.append((begin + b"reset", at.isoformat()[:19].encode() + b"Z"))
    return headers
