"""When a model may be asked once more, and how long to wait before.

Asking twice must not pay twice: a call is repeated only if the upstream surely did no work for
it. That rules out every timeout after the request was sent and every answer that had begun.
"""

import random

from app.errors import (
    UpstreamBusyError,
    UpstreamError,
    UpstreamRejectedError,
    UpstreamThrottledError,
    UpstreamTimeoutError,
    UpstreamUnavailableError,
)

MAX_RETRY_AFTER_S = 2.0
"""Up to how long a wait that an upstream asks for is waited; else the next model is tried."""

MAX_CALLS_OF_A_REPEAT = 2
"""How many calls a request gets that its client repeats: clients repeat, the gateway repeats, and
what was multiplied would fall upon upstreams that fail already."""

_FIRST_BACKOFF_S, _MAX_BACKOFF_S = 0.1, 2.0
_OVERLOADED = (503, 529)


def may_go_elsewhere(error: UpstreamError) -> bool:
    """Return whether another deployment of the same model may take the call.

    So it is where the call never reached the upstream, and where the upstream answered with an
    error status that is about itself: overload, rate limit, failure, credentials.
    """
    if not error.sent:
        return True
    return error.status is not None and not isinstance(
        error, UpstreamRejectedError | UpstreamTimeoutError
    )


def wait_before_repeating_s(
    error: UpstreamError, *, n_retries: int, rng: random.Random
) -> float | None:
    """Return how long to wait before the same deployment is asked again; None for never.

    It is asked again where no connection came about, on 503 and 529, and on a 429 that says how
    soon, if that is at most `MAX_RETRY_AFTER_S`. The wait is an exponential backoff with jitter,
    on top of what the upstream asks for, so that those who were turned away together do not
    come back together.

    Parameters
    ----------
    n_retries
        How many there were already for this model and request.
    """
    asked_for_s = error.retry_after_s or 0.0
    if asked_for_s > MAX_RETRY_AFTER_S:
        return None
    if isinstance(error, UpstreamThrottledError):
        passing = error.status is not None and error.retry_after_s is not None
    elif isinstance(error, UpstreamBusyError | UpstreamTimeoutError):
        passing = False  # it was waited for already
    elif isinstance(error, UpstreamUnavailableError):
        passing = not error.sent or error.status in _OVERLOADED
    else:
        passing = False
    if not passing:
        return None
    backoff_s = min(_FIRST_BACKOFF_S * 2.0**n_retries, _MAX_BACKOFF_S)
    return asked_for_s + backoff_s * rng.uniform(0.5, 1.0)
