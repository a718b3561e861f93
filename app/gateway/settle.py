"""Settling what ended: at once where the store answers, else again and again for a while."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from app.gateway.admission import Admission, Ticket
from app.stores._base import StoreError

_log = logging.getLogger(__name__)

_MAX_WAITING = 10_000
_RETRY_EVERY_S = 0.5
_AT_A_TIME = 100


@dataclass(frozen=True, slots=True)
class _Bill:
    admission: Admission
    ticket: Ticket
    tokens: int
    cost_nusd: int


@dataclass(slots=True, kw_only=True)
class Settler:
    """Settle tickets, and keep those that the store could not take.

    Parameters
    ----------
    on_lost
        Told of every ticket that had to be given up: its claim then expires in the store, and
        what the request cost is missing there.
    """

    on_lost: Callable[[], None] = lambda: None
    _waiting: deque[_Bill] = field(default_factory=deque, init=False)

    @property
    def waiting(self) -> int:
        """How many tickets wait for the store."""
        return len(self._waiting)

    async def settle(
        self, admission: Admission, ticket: Ticket, *, tokens: int, cost_nusd: int
    ) -> None:
        """Settle one ticket, now or later."""
        bill = _Bill(admission, ticket, tokens, cost_nusd)
        if not await self._paid(bill):
            self._waiting.append(bill)
            while len(self._waiting) > _MAX_WAITING:
                self._give_up(self._waiting.popleft())

    async def run(self) -> None:
        """Try those that wait, until cancelled."""
        while True:
            await asyncio.sleep(_RETRY_EVERY_S)
            await self.retry()

    async def retry(self) -> None:
        """Try those that wait once, as far as the store takes them."""
        for _ in range(min(_AT_A_TIME, len(self._waiting))):
            bill = self._waiting.popleft()
            if not await self._paid(bill):
                self._waiting.appendleft(bill)
                return

    async def aclose(self) -> None:
        """Try a last time, and say what is lost."""
        while self._waiting and await self._paid(self._waiting[0]):
            self._waiting.popleft()
        while self._waiting:
            self._give_up(self._waiting.popleft())

    async def _paid(self, bill: _Bill) -> bool:
        try:
            await bill.admission.settle(bill.ticket, tokens=bill.tokens, cost_nusd=bill.cost_nusd)
        except StoreError:
            return False
        return True

    def _give_up(self, bill: _Bill) -> None:
        _log.error(
            "request %s is not settled: %d tokens, %d billionths of a dollar",
            bill.ticket.request_id,
            bill.tokens,
            bill.cost_nusd,
        )
        self.on_lost()
