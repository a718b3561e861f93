"""One line for every request that is turned away, as far as that does not fill a disk.

Such a request leaves no outcome. What is told of it are names and codes of ours, never what the
client wrote.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from typing import Any

from app.access.guard import Caller
from app.error_answers import answer_for
from app.errors import (
    AbsentEndpointError,
    BudgetExceededError,
    GatewayError,
    RateLimitedError,
    UnauthenticatedError,
)

_log = logging.getLogger("app.requests")

LINES_AT_ONCE = 100
LINES_PER_S = 5.0
"""After a hundred lines in a row so many more a second; what is left out is counted and told."""

_OTHERS = frozenset({"/v1/feedback", "/v1/models", "/metrics"})
"""Paths of ours besides those of the traffic."""

OTHER_PATH = "other"
_OF_LIMITS = RateLimitedError | BudgetExceededError
_DASHES = {ord("_"): None, ord("-"): None}


@dataclass(slots=True, kw_only=True)
class RefusalLog:
    """Write the lines.

    Attributes
    ----------
    traffic
        The paths of the traffic.
    count
        Notified of the path and the error of every request of the traffic.
    clock
        Monotonic seconds.
    """

    traffic: frozenset[str] = frozenset()
    count: Callable[[str, BaseException], None] = lambda _path, _error: None
    clock: Callable[[], float] = time.monotonic
    _left: float = float(LINES_AT_ONCE)
    _at: float = 0.0
    _left_out: Counter[str] = field(default_factory=Counter)

    def refused(
        self, scope: Mapping[str, Any], error: BaseException, caller: Caller | None
    ) -> None:
        """Count a request of the traffic that was turned away, and tell of it."""
        path = scope["path"]
        self.count(path if path in self.traffic else OTHER_PATH, error)
        self.tell(scope, error, caller)

    def tell(
        self, scope: Mapping[str, Any], error: BaseException, caller: Caller | None = None
    ) -> None:
        """Tell of one refusal.

        Parameters
        ----------
        scope
            Of the request.
        caller
            Who asked, where that is known.
        """
        if not _log.isEnabledFor(logging.INFO):
            return
        answer = answer_for(error)
        code = (error.code if isinstance(error, GatewayError) else None) or answer.code
        code = code or "invalid_request"
        now = self.clock()
        self._left = min(self._left + (now - self._at) * LINES_PER_S, float(LINES_AT_ONCE))
        self._at = now
        if self._left < 1:
            self._left_out[code] += 1
            return
        self._left -= 1
        if self._left_out:
            self.tell_of_the_rest()
        key_id = error.key_id if isinstance(error, UnauthenticatedError) else None
        fields = {
            "request_id": scope.get("state", {}).get("request_id"),
            "method": scope["method"],
            "path": error.path
            if isinstance(error, AbsentEndpointError)
            else path_of(scope, self.traffic),
            "status": answer.status,
            "error": code,
            "param": _ours(error),
            "refused_by": error.whose if isinstance(error, _OF_LIMITS) else None,
            "key_id": key_id if caller is None else caller.key_id,
            "team": None if caller is None else caller.team,
            "peer": scope["client"][0] if scope.get("client") else None,
        }
        _log.info("refused", extra={"fields": fields})

    def tell_of_the_rest(self) -> None:
        """Tell how many were left out, if any were."""
        if self._left_out:
            left_out, self._left_out = dict(self._left_out), Counter()
            fields = {"requests": sum(left_out.values()), "errors": left_out}
            _log.info("further requests were refused", extra={"fields": fields})


def path_of(scope: Mapping[str, Any], traffic: Container[str]) -> str:
    """Return the path as it is configured; `other` for what is none of ours."""
    route = getattr(scope.get("route"), "path", None)
    path: str = scope["path"] if route is None else route
    return path if route is not None or path in traffic or path in _OTHERS else OTHER_PATH


def _ours(error: BaseException) -> str | None:
    """Return the name of what was wrong, but for names that the client made up."""
    param = error.param if isinstance(error, GatewayError) else None
    if param is None or not param.translate(_DASHES).isalpha():
        return None
    return param
