"""Every error the gateway can answer with; how, stands in `error_answers`."""

from dataclasses import dataclass

from app.paths import CHAT_COMPLETIONS


class GatewayError(Exception):
    """Base of everything the gateway raises on purpose; the message is shown to the client."""

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code


class ConfigError(GatewayError):
    """The configuration cannot be used; stops the start."""


class InvalidRequestError(GatewayError):
    """The client sent something that cannot be understood or contradicts itself."""


class ModelNotFoundError(GatewayError):
    """The requested model name is none that the gateway serves."""


class RouteNotFoundError(GatewayError):
    """There is nothing at this path."""


class AbsentEndpointError(GatewayError):
    """A path that clients know and the gateway does not have; `path` is the one that is known."""

    def __init__(self, message: str, *, path: str) -> None:
        super().__init__(message)
        self.path = path


class MethodNotAllowedError(GatewayError):
    """The path exists, the method does not; `allow` lists those that do."""

    def __init__(self, message: str, *, allow: str) -> None:
        super().__init__(message)
        self.allow = allow


class UnauthenticatedError(GatewayError):
    """The request carries no key, or none that may be used; the message never repeats it.

    `key_id` is the public name of the key, where it is one of ours that is used up.
    """

    def __init__(self, message: str, *, code: str | None = None, key_id: str | None = None) -> None:
        super().__init__(message, code=code)
        self.key_id = key_id


class ForbiddenError(GatewayError):
    """The key may be used, but not for this."""


class RequestRefusedError(GatewayError):
    """A guard found that the request is not to be answered."""


class KeyNotFoundError(GatewayError):
    """There is no virtual key of this name."""


class KeyVersionError(GatewayError):
    """A virtual key is not of the version that a change was meant for."""


class PreviousResponseNotFoundError(GatewayError):
    """There is no response of this id to go on from: everything has to be sent again."""


class BatchFileNotFoundError(GatewayError):
    """There is no such file, or it belongs to somebody else."""


class BatchNotFoundError(GatewayError):
    """There is no such batch, or it belongs to somebody else."""


class BatchStateError(GatewayError):
    """What is asked of a batch or a file does not go with how far the batch is."""


class StorageFullError(GatewayError):
    """The files of a key take as much as they may."""


class StoreOutOfSpaceError(GatewayError):
    """The store has no room for what is to be kept, whoever it belongs to."""


class ResponseNotFoundError(GatewayError):
    """The caller was given no response of this id, or it is not kept, or not any more."""


class DecisionNotFoundError(GatewayError):
    """The caller made no request of this decision id, or it is no longer known."""


class NoDecisionLogError(GatewayError):
    """What is asked for is read from the decision log, and none is kept."""


class LabelChangedError(GatewayError):
    """A label was changed as often as it may be."""


class StoreUnavailableError(GatewayError):
    """What must be looked up before a request may be answered cannot be at the moment."""

    def __init__(self, message: str, *, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class RateLimitedError(GatewayError):
    """A limit of this gateway stands in the way; `code` says whose and of what.

    `retry_after_s` is None where waiting does not help; `whose` names the scope for the log.
    """

    def __init__(
        self,
        message: str,
        *,
        scope: str,
        resource: str,
        limit: int,
        retry_after_s: float | None,
        whose: str | None = None,
    ) -> None:
        super().__init__(message, code=f"{scope}_{resource}_limit_exceeded")
        self.whose = whose
        self.scope = scope
        self.resource = resource
        self.limit = limit
        self.retry_after_s = retry_after_s
        self.should_retry = retry_after_s is not None


class BudgetExceededError(GatewayError):
    """A budget of this gateway has too little left; `code` says whose.

    Trying again helps only where running requests hold what is missing; `whose` names the scope
    for the log.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str,
        retry_after_s: float | None,
        should_retry: bool = False,
        whose: str | None = None,
    ) -> None:
        super().__init__(message, code=code)
        self.whose = whose
        self.retry_after_s = retry_after_s
        self.should_retry = should_retry


class OverloadedError(GatewayError):
    """The gateway has as much to do as it can."""

    def __init__(self, message: str, *, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class BodyTooLargeError(GatewayError):
    """The request body exceeds the configured limit."""


class HeadTooLargeError(GatewayError):
    """The request line and the headers are more than a connection takes."""


class RequestTimeoutError(GatewayError):
    """The client took too long to send its request."""


class UnsupportedMediaTypeError(GatewayError):
    """The request body is not declared as JSON, or is compressed in a way that is not undone."""


class NotReadyError(GatewayError):
    """The gateway is starting or shutting down."""


class ShuttingDownError(GatewayError):
    """The gateway stops, and the request ran for longer than it could wait."""

    def __init__(self) -> None:
        super().__init__("the gateway is shutting down; send the request again")


class ClientDisconnectedError(GatewayError):
    """The client went away before the answer was complete; never answered, only recorded."""


class DeadlineExceededError(GatewayError):
    """The whole request took longer than it may."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedAttempt:
    """One upstream call that did not bring an answer, as the client is told of it."""

    model: str
    status: int | None
    ms: int
    error: str


class AllAttemptsFailedError(GatewayError):
    """Every model that was tried failed."""

    def __init__(
        self,
        message: str,
        *,
        attempts: tuple[FailedAttempt, ...],
        retry_after_s: float | None = None,
        should_retry: bool = True,
    ) -> None:
        super().__init__(message)
        self.attempts = attempts
        self.retry_after_s = retry_after_s
        self.should_retry = should_retry


class AllAttemptsThrottledError(AllAttemptsFailedError):
    """Every model that was tried answered that it is over its rate limit."""


class AllAttemptsTimedOutError(AllAttemptsFailedError):
    """Every model that was tried ran into one of its timeouts."""


class UpstreamError(GatewayError):
    """One upstream call failed.

    Parameters
    ----------
    status
        The HTTP status of the upstream's answer, where there was one.
    body
        The upstream's own error body, where it may be passed on.
    retry_after_s
        What the upstream asked for, in seconds.
    sent
        False where the request surely never reached the upstream.
    dialect
        In which `body` is written.
    """

    retryable = True
    """Whether another model may be tried in its place."""

    provider_fault = True
    """Whether it says something about the health of the upstream."""

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        body: bytes | None = None,
        retry_after_s: float | None = None,
        code: str | None = None,
        sent: bool = True,
        dialect: str = CHAT_COMPLETIONS,
    ) -> None:
        super().__init__(message, code=code)
        self.dialect = dialect
        self.status = status
        self.body = body
        self.retry_after_s = retry_after_s
        self.sent = sent


class UpstreamTimeoutError(UpstreamError):
    """The upstream did not connect, begin or go on in time."""


class UpstreamUnavailableError(UpstreamError):
    """The upstream cannot be reached, answered 5xx, or cut its answer short."""


class UpstreamCertificateError(UpstreamUnavailableError):
    """The upstream's certificate cannot be verified."""


class UpstreamConnectionLostError(UpstreamUnavailableError):
    """A kept connection ended as it was used again, before a byte of the answer.

    Most probably the upstream had just closed it for being idle, and read nothing; but it may have.
    """

    provider_fault = False


class UpstreamBusyError(UpstreamUnavailableError):
    """Every connection that we may have to the upstream is in use: our limit, not its fault."""

    provider_fault = False


class UpstreamThrottledError(UpstreamError):
    """The upstream answered 429."""

    provider_fault = False


class FailedToWaitError(UpstreamThrottledError):
    """A model's deployments take no more calls at once, and waiting for one came to nothing."""


class UpstreamMisconfiguredError(UpstreamError):
    """The upstream refused our credentials or does not know our model name (401, 403, 404)."""


class UpstreamInvalidResponseError(UpstreamError):
    """The upstream's answer is not what its dialect promises."""


class UpstreamRejectedError(UpstreamError):
    """The upstream found the client's request at fault (400, 409, 413, 422)."""

    retryable = False
    provider_fault = False


class UpstreamContextLengthError(UpstreamRejectedError):
    """The prompt was too long for this model; a larger one may take it."""

    retryable = True


class UpstreamUnsupportedError(UpstreamRejectedError):
    """The request asks for what this model, or the dialect of its upstream, does not have.

    Another model may. `param` is the field at fault, where it was found before anything was sent.
    """

    retryable = True

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        status: int | None = None,
        body: bytes | None = None,
    ) -> None:
        super().__init__(message, status=status, body=body, sent=status is not None)
        self.param = param
