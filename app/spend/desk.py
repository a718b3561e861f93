"""Where spending is asked about while the gateway serves: off the event loop, a few at a time."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

from app.errors import (
    InvalidRequestError,
    NoDecisionLogError,
    OverloadedError,
    RateLimitedError,
    StoreUnavailableError,
)
from app.spend.question import Dimension, Overdue, Question, SourceError, SpendSource
from app.spend.report import Report
from app.spend.source import NO_LOG

_MOST_AT_ONCE = 2
_MAX_WAIT_S = 5.0
_MAX_READ_S = 10.0
"""Reading takes a thread, and keeps what is deleted meanwhile on the disk."""

KeyNames = Callable[[], Awaitable[Mapping[str, str]]]
"""Return key id → name."""


class SpendDesk:
    """Answer questions about spending.

    Parameters
    ----------
    source
        Where rows are read; None where none are kept.
    key_names
        Asked for reports by key.
    """

    def __init__(self, source: SpendSource | None, key_names: KeyNames) -> None:
        self._source = source
        self._key_names = key_names
        self._places = asyncio.Semaphore(_MOST_AT_ONCE)
        self._asking: set[str] = set()

    @property
    def has_rows(self) -> bool:
        """Whether rows are kept."""
        return self._source is not None

    async def report(
        self, question: Question, *, who: str, render: Callable[[Report], bytes]
    ) -> bytes:
        """Return the answer, rendered in the thread that reads.

        Parameters
        ----------
        who
            Of whom one question is answered at a time.

        Raises
        ------
        NoDecisionLogError
        InvalidRequestError
            If the answer would be too long, or takes too long.
        RateLimitedError
            While another question of `who` is being answered.
        OverloadedError
            While too many others' are.
        StoreUnavailableError
        """
        source = self._source
        if source is None:
            raise NoDecisionLogError(NO_LOG)
        if who in self._asking:
            raise RateLimitedError(
                "one question about spending is answered at a time",
                scope="key",
                resource="usage",
                limit=1,
                retry_after_s=1.0,
            )
        self._asking.add(who)
        try:
            async with self._place():
                names = await self._key_names() if Dimension.KEY in question.by else {}
                return await asyncio.to_thread(_answer, source, question, names, render)
        except Overdue:
            raise InvalidRequestError(
                f"adding up took longer than {_MAX_READ_S:g} s; ask for a shorter time, or let "
                "`steelyard spend` take its time",
                param="from",
                code="too_many_rows",
            ) from None
        except SourceError as error:
            raise StoreUnavailableError(
                "the decision log cannot be read at the moment; try again"
            ) from error
        finally:
            self._asking.discard(who)

    @contextlib.asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(_MAX_WAIT_S):
                await self._places.acquire()
        except TimeoutError:
            raise OverloadedError("too many ask about spending at the moment; try again") from None
        try:
            yield
        finally:
            self._places.release()


def _answer(
    source: SpendSource,
    question: Question,
    key_names: Mapping[str, str],
    render: Callable[[Report], bytes],
) -> bytes:
    found = source.read(question, deadline=time.monotonic() + _MAX_READ_S)
    return render(
        Report.of(question, found, key_names=key_names, source=source.name, covers=source.covers)
    )
