"""What was tried for a request and brought no answer, and what that comes to for the client."""

from app.calls import Call
from app.error_answers import answer_for
from app.errors import (
    AllAttemptsFailedError,
    AllAttemptsThrottledError,
    AllAttemptsTimedOutError,
    FailedAttempt,
    UpstreamError,
    UpstreamMisconfiguredError,
    UpstreamRejectedError,
    UpstreamThrottledError,
    UpstreamTimeoutError,
)
from app.gateway.request import RouteRequest
from app.gateway.retry import MAX_CALLS_OF_A_REPEAT

Failures = list[tuple[Call, UpstreamError]]
"""What was tried for one request without an answer that serves."""


def has_had_its_calls(request: RouteRequest, failures: Failures) -> bool:
    """Return whether a request that is repeated has made all the calls that it may."""
    return request.repeated and len(failures) >= MAX_CALLS_OF_A_REPEAT


def told_attempts(failures: Failures) -> tuple[FailedAttempt, ...]:
    """Return what was tried without an answer, as clients are told."""
    return tuple(
        FailedAttempt(
            model=attempt.model_id,
            status=attempt.status,
            ms=round(attempt.duration_s * 1e3),
            error=error.code or answer_for(error).code or "upstream_error",
        )
        for attempt, error in failures
    )


def all_failed(failures: Failures) -> Exception:
    """Return what to raise where nobody answered."""
    if not failures:  # of several stages, a budget paid for none of those that are left
        return AllAttemptsFailedError("no budget pays for another model", attempts=())
    errors = [error for _, error in failures]
    last = errors[-1]
    if isinstance(last, UpstreamRejectedError):
        return last  # a prompt too long for every model: the upstream's own words say it best
    attempts = told_attempts(failures)
    tried = "; ".join(f"{attempt.model_id}: {error.message}" for attempt, error in failures)
    waits = [error.retry_after_s for error in errors if error.retry_after_s is not None]
    cls = AllAttemptsFailedError
    retry_after_s = min(waits, default=None)
    if all(isinstance(error, UpstreamThrottledError) for error in errors):
        cls = AllAttemptsThrottledError
        retry_after_s = 1.0 if retry_after_s is None else retry_after_s
    elif all(isinstance(error, UpstreamTimeoutError) for error in errors):
        cls = AllAttemptsTimedOutError
    return cls(
        f"no model answered ({tried})",
        attempts=attempts,
        retry_after_s=retry_after_s,
        # What the operator has to mend no client can: it must not multiply the calls.
        should_retry=not all(isinstance(error, UpstreamMisconfiguredError) for error in errors),
    )
