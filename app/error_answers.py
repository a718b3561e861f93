"""How each error is answered: status, type and code."""

from collections.abc import Mapping
from dataclasses import dataclass

from app.errors import (
    AbsentEndpointError,
    AllAttemptsFailedError,
    AllAttemptsThrottledError,
    AllAttemptsTimedOutError,
    BatchFileNotFoundError,
    BatchNotFoundError,
    BatchStateError,
    BodyTooLargeError,
    BudgetExceededError,
    ClientDisconnectedError,
    ConfigError,
    DeadlineExceededError,
    DecisionNotFoundError,
    FailedToWaitError,
    ForbiddenError,
    HeadTooLargeError,
    InvalidRequestError,
    KeyNotFoundError,
    KeyVersionError,
    LabelChangedError,
    MethodNotAllowedError,
    ModelNotFoundError,
    NoDecisionLogError,
    NotReadyError,
    OverloadedError,
    PreviousResponseNotFoundError,
    RateLimitedError,
    RequestRefusedError,
    RequestTimeoutError,
    ResponseNotFoundError,
    RouteNotFoundError,
    ShuttingDownError,
    StorageFullError,
    StoreOutOfSpaceError,
    StoreUnavailableError,
    UnauthenticatedError,
    UnsupportedMediaTypeError,
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
from routers.errors import NoEligibleModelError


@dataclass(frozen=True, slots=True)
class Answer:
    """How an error is told to a client: HTTP status, OpenAI `type`, default `code`."""

    status: int
    type: str
    code: str | None


ANSWERS: Mapping[type[Exception], Answer] = {
    InvalidRequestError: Answer(400, "invalid_request_error", None),
    PreviousResponseNotFoundError: Answer(
        400, "invalid_request_error", "previous_response_not_found"
    ),
    NoEligibleModelError: Answer(400, "invalid_request_error", "no_eligible_model"),
    AbsentEndpointError: Answer(400, "invalid_request_error", "unsupported_endpoint"),
    UnauthenticatedError: Answer(401, "invalid_request_error", "invalid_api_key"),
    RequestRefusedError: Answer(400, "invalid_request_error", "content_filter"),
    ForbiddenError: Answer(403, "invalid_request_error", "forbidden"),
    ModelNotFoundError: Answer(404, "invalid_request_error", "model_not_found"),
    KeyNotFoundError: Answer(404, "invalid_request_error", "key_not_found"),
    BatchFileNotFoundError: Answer(404, "invalid_request_error", "file_not_found"),
    BatchNotFoundError: Answer(404, "invalid_request_error", "batch_not_found"),
    ResponseNotFoundError: Answer(404, "invalid_request_error", "response_not_found"),
    DecisionNotFoundError: Answer(404, "invalid_request_error", "decision_not_found"),
    NoDecisionLogError: Answer(404, "invalid_request_error", "no_decision_log"),
    RouteNotFoundError: Answer(404, "invalid_request_error", "unknown_url"),
    MethodNotAllowedError: Answer(405, "invalid_request_error", "method_not_allowed"),
    RequestTimeoutError: Answer(408, "invalid_request_error", "request_timeout"),
    LabelChangedError: Answer(409, "invalid_request_error", "label_changed_too_often"),
    BatchStateError: Answer(409, "invalid_request_error", "batch_state"),
    KeyVersionError: Answer(412, "invalid_request_error", "key_version_mismatch"),
    StorageFullError: Answer(413, "invalid_request_error", "storage_full"),
    BodyTooLargeError: Answer(413, "invalid_request_error", "request_too_large"),
    UnsupportedMediaTypeError: Answer(415, "invalid_request_error", "unsupported_media_type"),
    HeadTooLargeError: Answer(431, "invalid_request_error", "request_head_too_large"),
    ClientDisconnectedError: Answer(499, "invalid_request_error", "client_disconnected"),
    RateLimitedError: Answer(429, "rate_limit_error", "rate_limit_exceeded"),
    BudgetExceededError: Answer(429, "insufficient_quota", "budget_exceeded"),
    OverloadedError: Answer(503, "service_unavailable_error", "overloaded"),
    NotReadyError: Answer(503, "service_unavailable_error", "not_ready"),
    ShuttingDownError: Answer(503, "service_unavailable_error", "server_shutting_down"),
    StoreUnavailableError: Answer(503, "service_unavailable_error", "store_unavailable"),
    StoreOutOfSpaceError: Answer(507, "service_unavailable_error", "storage_full"),
    DeadlineExceededError: Answer(504, "service_unavailable_error", "deadline_exceeded"),
    AllAttemptsFailedError: Answer(502, "service_unavailable_error", "all_attempts_failed"),
    AllAttemptsThrottledError: Answer(429, "rate_limit_error", "upstream_rate_limit_exceeded"),
    AllAttemptsTimedOutError: Answer(504, "service_unavailable_error", "upstream_timeout"),
    UpstreamError: Answer(502, "service_unavailable_error", "upstream_error"),
    UpstreamTimeoutError: Answer(504, "service_unavailable_error", "upstream_timeout"),
    UpstreamUnavailableError: Answer(502, "service_unavailable_error", "upstream_unavailable"),
    UpstreamCertificateError: Answer(
        502, "service_unavailable_error", "upstream_certificate_invalid"
    ),
    UpstreamConnectionLostError: Answer(
        502, "service_unavailable_error", "upstream_connection_lost"
    ),
    UpstreamBusyError: Answer(503, "service_unavailable_error", "upstream_connections_exhausted"),
    FailedToWaitError: Answer(429, "rate_limit_error", "model_queue_full"),
    UpstreamThrottledError: Answer(429, "rate_limit_error", "upstream_rate_limit_exceeded"),
    UpstreamMisconfiguredError: Answer(502, "service_unavailable_error", "upstream_misconfigured"),
    UpstreamInvalidResponseError: Answer(
        502, "service_unavailable_error", "upstream_invalid_response"
    ),
    UpstreamRejectedError: Answer(400, "invalid_request_error", "upstream_rejected"),
    UpstreamContextLengthError: Answer(400, "invalid_request_error", "context_length_exceeded"),
    UpstreamUnsupportedError: Answer(400, "invalid_request_error", "unsupported_by_upstream"),
    ConfigError: Answer(500, "server_error", "config_error"),
    Exception: Answer(500, "server_error", "internal_error"),
}


def answer_for(error: BaseException) -> Answer:
    """Return the row of `ANSWERS` for the nearest class of `error`."""
    for cls in type(error).__mro__:
        if cls in ANSWERS:
            return ANSWERS[cls]
    return ANSWERS[Exception]
