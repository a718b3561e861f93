"""What every request has, whatever is asked: a deadline, an account, and one end."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from app.concurrency.deadline import Deadline
from app.error_answers import answer_for
from app.errors import (
    BudgetExceededError,
    DeadlineExceededError,
    GatewayError,
    RateLimitedError,
    ShuttingDownError,
    UpstreamError,
)
from app.gateway.closing import closed
from app.gateway.ledger import LedgerEntry
from app.gateway.reservations import Reservations
from app.outcome import Outcome
from app.stores.base import StoreError
from routers.errors import RoutingError

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """Where requests are settled and recorded when they end."""

    reservations: Reservations
    record: Callable[[Outcome], None]
    """Takes the outcome of every request."""
    request_timeout_s: float
    """For a whole request, from the moment that it is understood to the end of its answer."""


class Life:
    """A request from its account to its outcome.

    Attributes
    ----------
    account
        What is known of the request so far; the answer's headers are made of it.
    """

    __slots__ = ("_books", "_deadline", "account")

    def __init__(self, books: Books, account: LedgerEntry) -> None:
        self._books = books
        self._deadline = Deadline(books.request_timeout_s)
        self.account = account

    async def __aenter__(self) -> Self:
        self._deadline.__enter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Let go of everything, record and settle.

        Raises
        ------
        DeadlineExceededError
            If there was no more time.
        ShuttingDownError
            If the task was cancelled: only a server that stops does that from outside.
        """
        ended = self._ended_by(exc_type, error, traceback)
        if self.account.course is not None:
            self.account.course.stop()  # what was begun and not carried out
        try:
            await self._let_go()
        finally:
            self._record(ended)
            await self._settle()
        if ended is not error and ended is not None:
            raise ended from error

    def _ended_by(
        self,
        exc_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> BaseException | None:
        """Return what ended the request: `error`, or what it stands for."""
        ended = error
        try:
            self._deadline.__exit__(exc_type, error, traceback)
        except TimeoutError as late:
            ended = late
        if isinstance(ended, TimeoutError):
            return DeadlineExceededError(
                f"the request took longer than {self._books.request_timeout_s:g} s"
            )
        if isinstance(ended, asyncio.CancelledError):
            return ShuttingDownError()
        if ended is not None and not isinstance(ended, GatewayError | RoutingError):
            _log.error("request %s failed", self.account.request.request_id, exc_info=ended)
        return ended

    async def _let_go(self) -> None:
        """Give back what the answer holds."""

    async def _settle(self) -> None:
        try:
            await self._books.reservations.settle(self.account)
        except StoreError:
            request_id = self.account.request.request_id
            _log.exception("what request %s used could not be booked", request_id)

    def _record(self, ended: BaseException | None) -> None:
        entry = self.account
        entry.answering()  # an error, unless an answer has begun before
        if isinstance(ended, RateLimitedError | BudgetExceededError):
            entry.refused_by = ended.whose
        status, code = (200, None) if ended is None else _status_and_code(ended)
        self._books.record(closed(entry, status=status, error=code))


def _status_and_code(error: BaseException) -> tuple[int, str | None]:
    """Return how a request that ended in an error is recorded."""
    answer = answer_for(error)
    status = answer.status
    if isinstance(error, UpstreamError) and error.body is not None and error.status is not None:
        status = error.status
    return status, answer.code or "invalid_request"
