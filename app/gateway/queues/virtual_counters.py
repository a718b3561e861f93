"""Virtual token counters: who of many keys that wait is served next.

Nothing here knows of tasks, places or clocks; `app.gateway.queues.fair_line` makes a queue of it.

References
----------
Sheng et al. 2024, Fairness in Serving Large Language Models, arXiv:2401.00588: VTC, weighted, with
predicted lengths of answers.
"""

import heapq
import math
from collections import deque
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from app.gateway.queues.expected_wait import LATEST
from app.keys import Priority
from app.usage import Usage

INPUT_WEIGHT, OUTPUT_WEIGHT = 1.0, 2.0
"""What a token counts for: one that is written takes longer than one that is read."""

USUAL_TOKENS = 500.0
"""Virtual tokens of an answer whose length nobody knows: 250 that are written."""

_RECENT = 0.2
"""The weight of the latest answer in what a key's answers usually count: about the last five."""


class Rank(NamedTuple):
    """In whose name somebody waits, and how urgently.

    Attributes
    ----------
    weight
        The share of its key, relative to those of the others that wait.
    """

    who: str
    priority: Priority = Priority.INTERACTIVE
    weight: float = 1.0


def virtual_tokens(usage: Usage) -> float:
    """Return what a call used."""
    return INPUT_WEIGHT * usage.input_tokens + OUTPUT_WEIGHT * usage.output_tokens


NO_RANK = Rank("anonymous")


class Account:
    """The counter of one key within a class, and who waits in its name."""

    __slots__ = (
        "apart",
        "counter",
        "entry",
        "known",
        "n_unknown",
        "passed",
        "running",
        "served",
        "turn",
        "usual",
        "waiting",
        "weight",
        "who",
    )

    def __init__(self, who: str, usual: float) -> None:
        self.who = who
        self.counter = 0.0
        """Virtual tokens, divided by the weight."""
        self.served = 0.0
        """All that was charged, likewise; never lifted."""
        self.weight = 1.0
        self.usual = usual
        self.waiting: deque[Ticket] = deque()
        self.known = 0.0
        """Virtual tokens of those that wait, but for answers whose length nobody predicts."""
        self.n_unknown = 0
        """How many such answers there are among them."""
        self.running = 0
        self.turn = 0
        self.apart: float | None = None
        """How many turns, of all keys, there are to each of its own while it waits."""
        self.passed = 0
        """How many turns there had been when it began to wait, or had its last one since."""
        self.entry = 0
        """Which of the heap's entries tells of it; 0: none."""

    @property
    def cost(self) -> float:
        """What all that wait in its name will be charged, in virtual tokens."""
        return self.known + self.n_unknown * self.usual

    def note(self, ticket: "Ticket", n: int) -> None:
        """Take note of one that waits (1), or does so no longer (-1)."""
        if not self.waiting:
            self.known, self.n_unknown = 0.0, 0
            return
        self.known += n * ticket.read
        if ticket.written is None:
            self.n_unknown += n
        else:
            self.known += n * ticket.written

    def n_before(self, counter: float, turn: float) -> int:
        """Return how many of those that wait go before a key whose counter stands there.

        Parameters
        ----------
        turn
            When that key was served last, by which equal counters are told apart.
        """
        behind = (counter - self.counter) * self.weight
        if behind <= 0:
            return int(behind == 0 and self.turn <= turn)
        n, cost = len(self.waiting), self.cost
        return n if behind >= cost else math.ceil(n * behind / cost)


class Ticket:
    """One request that waits, or that was served after it had waited.

    Attributes
    ----------
    since
        When it began to wait, by the queue's clock.
    read, written
        Virtual tokens: those that are known from the start, and those that are expected of the
        answer; None for what the key's answers usually come to.
    wants
        Says whether what there is serves it, and takes it then.
    called, dropped
        Told when it is served, or has to make room for others.
    charged
        What it was charged when it was served.
    """

    __slots__ = (
        *("account", "called", "charged", "counters", "dropped"),
        *("is_served", "is_waiting", "rank", "read", "since", "waited_s", "wants", "written"),
    )

    def __init__(
        self,
        rank: Rank,
        counters: "VirtualCounters",
        *,
        since: float,
        read: float,
        written: float | None,
        called: Callable[["Ticket"], None],
        dropped: Callable[["Ticket"], None],
        wants: Callable[["Ticket"], bool],
    ) -> None:
        self.rank, self.counters, self.account = rank, counters, counters.account(rank)
        self.since, self.read, self.written = since, read, written
        self.called, self.dropped, self.wants = called, dropped, wants
        self.charged = self.waited_s = 0.0
        self.is_waiting = self.is_served = False

    @property
    def cost(self) -> float:
        """What it will be charged, in virtual tokens."""
        return self.read + (self.account.usual if self.written is None else self.written)


class VirtualCounters:
    """The keys of one class: least counter first, and the requests of each in their order.

    A counter is charged what a request is expected to use when it is served, and corrected when it
    has ended. A key that has nobody waiting gathers no credit: when it comes back, its counter is
    lifted to the least of those that wait, or where nobody does to where the last one was served.

    Parameters
    ----------
    max_accounts
        Keys that are remembered although nothing of theirs waits or runs, because they stand above
        where they would begin anew. All others are forgotten at once, which changes nothing.
    """

    def __init__(self, max_accounts: int) -> None:
        self.n_waiting = 0
        self._max_accounts = max_accounts
        self._usual = USUAL_TOKENS
        self._floor = 0.0
        self._turn = 0
        self._n_entries = 0
        self._accounts: dict[str, Account] = {}
        self._active: dict[str, Account] = {}
        self._heap: list[tuple[float, int, int, Account]] = []

    def __len__(self) -> int:
        """How many keys are remembered."""
        return len(self._accounts)

    @property
    def active(self) -> Collection[Account]:
        """Those with somebody waiting."""
        return self._active.values()

    def account(self, rank: Rank) -> Account:
        """Return the account of a key, which is there as long as something is left of it."""
        found = self._accounts.get(rank.who)
        if found is None:
            found = self._accounts[rank.who] = Account(rank.who, self._usual)
        return found

    def known(self, who: str) -> Account | None:
        """Return the account of a key, if something is left of it."""
        return self._accounts.get(who)

    def n_of(self, who: str) -> int:
        """Return how many wait in a key's name."""
        account = self._accounts.get(who)
        return 0 if account is None else len(account.waiting)

    def n_before(self, rank: Rank) -> int:
        """Return how many of those that wait go before a request of a key that comes now.

        Of other keys as many as are reached before its counter is; their requests are taken to cost
        the same each.
        """
        own, least = self._accounts.get(rank.who), self._least()
        if least is None:
            return 0
        counter, turn = least.counter, 0.0
        if own is not None:
            counter, turn = max(own.counter, counter), own.turn
            if own.waiting:
                counter, turn = own.counter + own.cost / rank.weight, math.inf
        n = 0 if own is None else len(own.waiting)
        for each in self._active.values():
            if each is not own:
                n += each.n_before(counter, turn)
        return n

    def join(self, ticket: Ticket, *, first: bool, n_turns: int) -> None:
        """Let a ticket wait: behind all of its key, or before them.

        Parameters
        ----------
        n_turns
            How many turns there were so far, of all that wait for the same.
        """
        account = ticket.account
        account.weight = ticket.rank.weight
        if not account.waiting:
            least = self._least()
            floor = self._floor if least is None else least.counter
            account.counter = max(account.counter, floor)
            self._push(account)
            self._active[account.who] = account
            account.passed = n_turns
        if first:
            account.waiting.appendleft(ticket)
        else:
            account.waiting.append(ticket)
        account.note(ticket, 1)
        ticket.is_waiting = True
        self.n_waiting += 1

    def remove(self, ticket: Ticket) -> None:
        """Take out a ticket that waits no longer."""
        account = ticket.account
        account.waiting.remove(ticket)
        account.note(ticket, -1)
        ticket.is_waiting = False
        self.n_waiting -= 1
        if not account.waiting:
            account.entry = 0
            del self._active[account.who]
            self._forget(account)

    def head(self) -> Ticket | None:
        """Return who is served next."""
        account = self._least()
        return None if account is None else account.waiting[0]

    def serve(self, ticket: Ticket, *, n_turns: int) -> None:
        """Charge a ticket that is the first of its key, and take it out.

        Parameters
        ----------
        n_turns
            How many turns there were, this one included.
        """
        account = ticket.account
        apart, account.passed = n_turns - account.passed, n_turns
        account.apart = (
            apart if account.apart is None else account.apart + LATEST * (apart - account.apart)
        )
        self._floor = max(self._floor, account.counter)
        self._turn += 1
        account.turn = self._turn
        ticket.charged = ticket.cost
        self._charge(ticket, ticket.charged)
        account.waiting.popleft()
        account.note(ticket, -1)
        account.running += 1
        ticket.is_waiting, ticket.is_served = False, True
        self.n_waiting -= 1
        account.entry = 0
        if account.waiting:
            self._push(account)
        else:
            del self._active[account.who]

    def settle(self, ticket: Ticket, used: float | None) -> None:
        """Note that a served ticket has ended, and what it used in virtual tokens.

        What it was charged stays where that is None, for not known.
        """
        account = ticket.account
        account.running -= 1
        if used is not None:
            self._charge(ticket, used - ticket.charged)
            answer = max(used - ticket.read, 0.0)
            account.usual += _RECENT * (answer - account.usual)
            self._usual += _RECENT * (answer - self._usual)
            if account.waiting:
                self._push(account)
        self._forget(account)

    def pass_over(self) -> Account:
        """Leave out the key that is first until it is put back, so that the next one is seen."""
        account = heapq.heappop(self._heap)[-1]
        account.entry = 0
        return account

    def put_back(self, accounts: Sequence[Account]) -> None:
        """Let keys take part again."""
        for account in accounts:
            self._push(account)

    def _charge(self, ticket: Ticket, virtual_tokens: float) -> None:
        share = virtual_tokens / ticket.rank.weight
        ticket.account.counter += share
        ticket.account.served += share

    def _push(self, account: Account) -> None:
        """Enter an account anew: an entry that it had before tells of it no more."""
        self._n_entries += 1
        account.entry = self._n_entries
        heapq.heappush(self._heap, (account.counter, account.turn, account.entry, account))
        if len(self._heap) > 64 + 4 * len(self._accounts):
            self._heap = [entry for entry in self._heap if entry[-1].entry == entry[2]]
            heapq.heapify(self._heap)

    def _least(self) -> Account | None:
        heap = self._heap
        while heap:
            _, _, entry, account = heap[0]
            if account.entry == entry:
                return account
            heapq.heappop(heap)
        return None

    def _forget(self, account: Account) -> None:
        """Forget a key that nothing is left of, where it would begin anew at the same point."""
        if account.waiting or account.running:
            return
        if account.counter <= self._floor:
            self._accounts.pop(account.who, None)
        elif len(self._accounts) > self._max_accounts:
            idle = (each for each in self._accounts.values() if not (each.waiting or each.running))
            self._accounts.pop(next(idle).who)
