"""How many requests are handled at once, and who gets the next place."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from app.calls import Call
from app.errors import OverloadedError
from app.gateway.queues.expected_wait import Outlook, expected_wait
from app.gateway.queues.fair_line import FairLine, anything
from app.gateway.queues.virtual_counters import INPUT_WEIGHT, Rank, Ticket, virtual_tokens
from app.keys import Priority
from app.waits import WaitEnded

BYTES_PER_TOKEN = 4
"""Of a body that nobody has read yet."""


OnWaited = Callable[[Priority, float, WaitEnded], None]
"""Told of every wait that has ended: class, seconds, how."""


@dataclass(slots=True, kw_only=True)
class WaitLimits:
    """How long requests of each class may wait, in seconds."""

    max_wait_s: float
    batch_max_wait_s: float

    def of(self, priority: Priority) -> float:
        """Return the limit of a class."""
        return self.batch_max_wait_s if priority is Priority.BATCH else self.max_wait_s


def _nothing() -> None:
    """Do nothing."""


async def wait_in(
    line: FairLine,
    rank: Rank,
    *,
    clock: Callable[[], float],
    limits: WaitLimits,
    read: float,
    written: float | None = None,
    first: bool = False,
    wants: Callable[[Ticket], bool] = anything,
    joined: Callable[[], None] = _nothing,
    on_waited: OnWaited,
    give_back: Callable[[Ticket], None],
    full: Callable[[], Exception],
    late: Callable[[], Exception],
) -> Ticket:
    """Wait until served; whatever comes in between, nothing that was given is lost.

    Parameters
    ----------
    read, written, first, wants
        As `FairLine.join` takes them.
    joined
        Told once it waits: maybe there is something for it already.
    give_back
        Takes what was given to somebody who left in that very moment.
    full, late
        What is raised without room to wait, and where it took too long.
    """
    future: asyncio.Future[Ticket] = asyncio.get_running_loop().create_future()
    since = clock()

    def called(ticket: Ticket) -> None:
        if not future.done():  # else it is being given up in this very moment
            future.set_result(ticket)

    def dropped(_ticket: Ticket) -> None:
        if not future.done():
            future.set_exception(full())

    ticket = line.join(
        rank,
        now=since,
        read=read,
        written=written,
        called=called,
        dropped=dropped,
        wants=wants,
        first=first,
    )
    if ticket is None:
        raise full()
    joined()
    ended = WaitEnded.LEFT
    try:
        async with asyncio.timeout(limits.of(rank.priority)):
            await future
        ended = WaitEnded.SERVED
    except BaseException as error:
        if ticket.is_served:
            give_back(ticket)
        elif ticket.is_waiting:
            line.leave(ticket)
        else:
            ended = WaitEnded.DISPLACED
        if isinstance(error, TimeoutError):
            ended = WaitEnded.TIMEOUT
            raise late() from error
        raise
    finally:
        on_waited(rank.priority, clock() - since, ended)
    return ticket


def used_by(calls: Iterable[Call]) -> float | None:
    """Return what calls used in virtual tokens; None where nothing is known of any."""
    used = [virtual_tokens(call.usage) for call in calls if call.usage is not None]
    return sum(used) if used else None


def _untold(_priority: Priority, _seconds: float, _ended: WaitEnded) -> None:
    """Tell nobody."""


@dataclass(slots=True, kw_only=True)
class Places:
    """A bounded number of requests at once, and a bounded, fair queue before them.

    Nothing is counted of anybody as long as nobody waits.

    Parameters
    ----------
    max_running
        Requests that are handled at once, their streams included.
    line
        Who waits for a place.
    limits
        How long one may wait.
    clock
        Monotonic seconds.
    overloaded
        Says why nothing more should come in, or None.
    on_waited
        Told of every wait.
    """

    max_running: int
    line: FairLine
    limits: WaitLimits
    clock: Callable[[], float]
    overloaded: Callable[[], str | None] = lambda: None
    on_waited: OnWaited = _untold
    running: int = field(default=0, init=False)

    @property
    def waiting(self) -> int:
        """How many wait at the moment."""
        return self.line.n_waiting

    def check(self) -> None:
        """Turn away what cannot be handled anyway, before anything is done for it.

        Raises
        ------
        OverloadedError
        """
        why = self.overloaded()
        if why is not None:
            raise OverloadedError(f"the gateway is overloaded ({why}); try again")

    def check_room(self, rank: Rank) -> None:
        """Turn away whom there is neither a place for nor room to wait.

        Raises
        ------
        OverloadedError
        """
        if self.running >= self.max_running and not self.line.has_room_for(rank):
            raise self._full(rank)

    def outlook(self, rank: Rank) -> Outlook:
        """Return what a request would meet that came as soon as somebody leaves its place.

        Parameters
        ----------
        rank
            In whose name it would wait.
        """
        line, at = self.line, self.clock()
        if not line.n_waiting:
            return Outlook(at, 0, 0, None)
        turns = line.turns(rank).sooner()  # the place that is left is the first turn
        gap_s = line.gap_s
        wait = None if gap_s is None or not turns.mean else expected_wait(turns, gap_s)
        return Outlook(at, line.n_waiting, turns.n_before, wait)

    def enter(self) -> bool:
        """Take a place, where one is free; it has to be given back by `leave`.

        Raises
        ------
        OverloadedError
            If nothing more should come in.
        """
        why = self.overloaded()
        if why is not None:
            raise OverloadedError(f"the gateway is overloaded ({why}); try again")
        if self.running >= self.max_running:
            return False
        self.running += 1
        return True

    async def wait(self, rank: Rank, *, n_bytes: int) -> Ticket:
        """Wait for a place; it has to be given back by `leave`, with the ticket.

        Parameters
        ----------
        n_bytes
            How long the request is: it is not read before it has a place.

        Raises
        ------
        OverloadedError
            If there is no room to wait, or no place in time.
        """
        return await wait_in(
            self.line,
            rank,
            clock=self.clock,
            limits=self.limits,
            read=INPUT_WEIGHT * n_bytes / BYTES_PER_TOKEN,
            on_waited=self.on_waited,
            give_back=self.leave,
            full=lambda: self._full(rank),
            late=lambda: OverloadedError(
                f"no place became free within {self.limits.of(rank.priority):g} s; try again",
                retry_after_s=self.line.estimated_wait_s(rank),
            ),
        )

    def leave(self, ticket: Ticket | None = None, used: float | None = None) -> None:
        """Give a place back: to whoever comes next, if anybody waits.

        Parameters
        ----------
        ticket
            Of who had waited for it.
        used
            The virtual tokens that it used, where that is known.
        """
        self.running -= 1
        if ticket is not None:
            self.line.settle(ticket, used)
        if self.line.n_waiting:
            self._hand_out()

    def resize(self, *, max_running: int, max_waiting: int, limits: WaitLimits) -> None:
        """Change how many there are; who has a place or waits already keeps it."""
        self.max_running, self.line.max_waiting, self.limits = max_running, max_waiting, limits
        self._hand_out()

    def _hand_out(self) -> None:
        while self.running < self.max_running and self.line.serve_next(self.clock()) is not None:
            self.running += 1

    def _full(self, rank: Rank) -> OverloadedError:
        return OverloadedError(
            f"the gateway handles {self.running} requests and {self.waiting} wait; try again",
            retry_after_s=self.line.estimated_wait_s(rank),
        )
