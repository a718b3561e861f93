"""What comes in before a request has its place: how many of one caller, how many bytes of all.

A client may take a minute to send its body. It holds no place meanwhile, which others would miss,
but a connection and memory; of both nobody gets more than a share.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from app.access.guard import Caller
from app.errors import OverloadedError, RateLimitedError
from app.stores.claims import Resource, ScopeKind

LEAST_AT_ONCE = 8
"""So many may come in at once whatever a key's limit: the limit itself is asked about later."""

_SHARE = 2
"""One caller gets at most one of so many parts of what there is for all."""

_RETRY_AFTER_S = 1.0
_MAX_REFUSED = 10_000


@dataclass(slots=True)
class _Inbox:
    requests: int = 0
    n_bytes: int = 0


@dataclass(slots=True, kw_only=True)
class Intake:
    """Bounds what is on its way in, for every caller and for all of them.

    Parameters
    ----------
    max_bytes
        Of the bodies of all requests that are read or answered, together; one caller may have
        half of them.
    max_requests
        Of one caller without a limit of its own, on their way in at once.
    clock
        Monotonic seconds.
    """

    max_bytes: int
    max_requests: int
    clock: Callable[[], float]
    n_bytes: int = field(default=0, init=False)
    _inboxes: dict[str, _Inbox] = field(default_factory=dict, init=False)
    _refused: dict[str, tuple[RateLimitedError, float]] = field(default_factory=dict, init=False)

    def begin(self, caller: Caller, peer: str, *, at_once: int | None) -> "Arrival":
        """Let a request begin to come in; it has to leave.

        Parameters
        ----------
        peer
            The address that it comes from, which stands for callers without a key.
        at_once
            How many requests of the caller may run at once; twice as many may come in.

        Raises
        ------
        RateLimitedError
            If as many are coming in as may, or the caller's limit of requests was reached a
            moment ago by requests that were no good.
        """
        who = _name(caller, peer)
        if self._refused:
            self._check_refused(who)
        most = self.max_requests if at_once is None else max(2 * at_once, LEAST_AT_ONCE)
        inbox = self._inboxes.get(who)
        if inbox is None:
            inbox = self._inboxes[who] = _Inbox()
        elif inbox.requests >= most:
            raise RateLimitedError(
                f"{inbox.requests} requests of this caller are being sent at once already; wait "
                "for some of them",
                scope=ScopeKind.KEY,
                resource=Resource.CONCURRENCY,
                limit=most,
                retry_after_s=_RETRY_AFTER_S,
            )
        inbox.requests += 1
        return Arrival(self, who, inbox)

    def refuse(self, caller: Caller, peer: str, error: RateLimitedError) -> None:
        """Read nothing of this caller until its limit lets it ask again."""
        if error.retry_after_s is None:
            return
        if len(self._refused) >= _MAX_REFUSED:
            self._refused.clear()
        self._refused[_name(caller, peer)] = error, self.clock() + error.retry_after_s

    def _check_refused(self, who: str) -> None:
        error, until = self._refused.get(who, (None, 0.0))
        if error is None:
            return
        left_s = until - self.clock()
        if left_s > 0:
            raise RateLimitedError(
                error.message,
                scope=error.scope,
                resource=error.resource,
                limit=error.limit,
                retry_after_s=left_s,
                whose=error.whose,
            )
        del self._refused[who]

    def forget(self, who: str, inbox: _Inbox) -> None:
        """Drop the record of a caller of whom nothing is left."""
        if not (inbox.requests or inbox.n_bytes):
            self._inboxes.pop(who, None)


class Arrival:
    """One request on its way in, and what it holds until it leaves."""

    __slots__ = ("_coming", "_inbox", "_intake", "_n_bytes", "_who")

    def __init__(self, intake: Intake, who: str, inbox: _Inbox) -> None:
        self._intake, self._who, self._inbox = intake, who, inbox
        self._coming = True
        self._n_bytes = 0

    def grow(self, n_bytes: int) -> None:
        """Take so much of the body.

        Raises
        ------
        OverloadedError
            If there is no room for it.
        """
        intake, inbox = self._intake, self._inbox
        if intake.n_bytes + n_bytes > intake.max_bytes:
            raise OverloadedError("the bodies of requests take all the room there is; try again")
        if inbox.n_bytes + n_bytes > intake.max_bytes // _SHARE:
            raise OverloadedError("this caller's requests take all the room it has; try again")
        intake.n_bytes += n_bytes
        inbox.n_bytes += n_bytes
        self._n_bytes += n_bytes

    def arrived(self) -> None:
        """Note that the request has its place: its bytes count on, it itself no more."""
        if self._coming:
            self._coming = False
            self._inbox.requests -= 1

    def leave(self) -> None:
        """Give back what it holds; only once."""
        self.arrived()
        self._inbox.n_bytes -= self._n_bytes
        self._intake.n_bytes -= self._n_bytes
        self._intake.forget(self._who, self._inbox)


def _name(caller: Caller, peer: str) -> str:
    return caller.key_id if caller.key is not None else f"peer {peer}"
