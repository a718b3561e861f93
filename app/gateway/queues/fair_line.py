"""A queue that is fair to keys, and lets interactive requests go before those of batches.

Nothing here knows of tasks or clocks: times come in as arguments, and who waits is told by the
functions that came with it. The simulator runs this very class.
"""

from collections.abc import Callable

from app.gateway.queues.expected_wait import LATEST, Turns, expected_turns
from app.gateway.queues.virtual_counters import Account, Rank, Ticket, VirtualCounters
from app.keys import Priority

MAX_ACCOUNTS = 10_000
"""Keys that are remembered although nothing of theirs waits or runs."""

MAX_ESTIMATE_S = 600.0
_UNKNOWN_GAP_S = 1.0
_SERVINGS_EACH = 5
"""Fairness is told of stretches in which keys were served so often each, on average."""


def anything(_ticket: Ticket) -> bool:
    """Take whatever there is."""
    return True


class FairLine:
    """Who waits for something that there is too little of, and who gets it next.

    Within a class the key with the least virtual token counter comes next, and its oldest request.
    Interactive requests come before those of batches, but for a share of the tokens that batches
    have as long as both wait: it is saved up while interactive ones are served, and a batch request
    goes when it suffices for it.

    Parameters
    ----------
    max_waiting
        How many may wait. When there are more, an interactive request takes the room of a batch
        one, and a key that of whoever has most waiting for its weight, if that is more.
    batch_share
        In [0, 1): 0 lets no batch request go while an interactive one waits.
    """

    def __init__(
        self, *, max_waiting: int, batch_share: float = 0.05, max_accounts: int = MAX_ACCOUNTS
    ) -> None:
        self.max_waiting = max_waiting
        self.batch_share = batch_share
        self._interactive = VirtualCounters(max_accounts)
        self._batch = VirtualCounters(max_accounts)
        self._n_turns = 0
        self._saved = 0.0
        """Virtual tokens that batch requests have coming to them."""
        self._last_served: float | None = None
        self._gap_s: float | None = None
        self._watched: dict[Account, float] = {}
        self._n_watched = 0
        self._fairness = 1.0

    @property
    def n_waiting(self) -> int:
        """How many wait."""
        return self._interactive.n_waiting + self._batch.n_waiting

    @property
    def n_keys(self) -> int:
        """How many keys are remembered."""
        return len(self._interactive) + len(self._batch)

    @property
    def gap_s(self) -> float | None:
        """How far apart turns came of late, in seconds; None where nobody was served as yet."""
        return self._gap_s

    def waiting_of(self, priority: Priority) -> int:
        """Return how many of a class wait."""
        return self._class(priority).n_waiting

    def has_room_for(self, rank: Rank) -> bool:
        """Return whether somebody could join, be it that another one had to go."""
        return self.n_waiting < self.max_waiting or self._least_deserving(rank) is not None

    def join(
        self,
        rank: Rank,
        *,
        now: float,
        read: float,
        written: float | None = None,
        called: Callable[[Ticket], None],
        dropped: Callable[[Ticket], None],
        wants: Callable[[Ticket], bool] = anything,
        first: bool = False,
    ) -> Ticket | None:
        """Begin to wait; return None where there is no room.

        Parameters
        ----------
        now
            In seconds, of any clock that goes evenly.
        read, written
            Virtual tokens of the prompt and of the answer; None where its length is not predicted.
        called, dropped
            Told when it is served, or has to make room for another one.
        wants
            Says whether what there is serves it, and takes it then. Who cannot be served keeps its
            place, and the next key is looked at.
        first
            Go before the others of the key: for who had its turn and has to ask again.
        """
        last = None
        if self.n_waiting >= self.max_waiting:
            last = self._least_deserving(rank)
            if last is None:
                return None
            self.leave(last)
        if not self.n_waiting:
            self._last_served = None
        ticket = Ticket(
            rank,
            self._class(rank.priority),
            since=now,
            read=read,
            written=written,
            called=called,
            dropped=dropped,
            wants=wants,
        )
        ticket.counters.join(ticket, first=first, n_turns=self._n_turns)
        if last is not None:
            last.dropped(last)
        return ticket

    def leave(self, ticket: Ticket) -> None:
        """Wait no longer: given up, or too late. Whoever was served has to `settle` instead."""
        ticket.counters.remove(ticket)
        if not ticket.account.waiting:
            self._watched.pop(ticket.account, None)

    def serve_next(self, now: float) -> Ticket | None:
        """Serve who comes next; return None where nobody waits, or wants what there is."""
        passed: list[tuple[VirtualCounters, Account]] = []
        try:
            while (ticket := self._head()) is not None:
                if ticket.wants(ticket):
                    self._serve(ticket, now)
                    ticket.called(ticket)
                    return ticket
                passed.append((ticket.counters, ticket.counters.pass_over()))
        finally:
            for counters, account in passed:
                counters.put_back((account,))
        return None

    def settle(self, ticket: Ticket, used: float | None) -> None:
        """Note that somebody who was served has ended, and the virtual tokens that it used.

        None where that is not known: what was expected stands.
        """
        ticket.counters.settle(ticket, used)

    def turns(self, rank: Rank) -> Turns:
        """Return how many turns it takes until it is that of somebody who comes now.

        Who goes before it is told by the counters' rule; who comes later, and goes before it, too,
        as it was of late.
        """
        counters = self._class(rank.priority)
        known = counters.known(rank.who)
        if known is None:
            return expected_turns(self._n_before(rank), 0, None)
        return expected_turns(self._n_before(rank), len(known.waiting), known.apart)

    def estimated_wait_s(self, rank: Rank) -> float:
        """Return about how long somebody would wait who came now, as turns came of late."""
        gap_s = _UNKNOWN_GAP_S if self._gap_s is None else self._gap_s
        return min(self.turns(rank).mean * gap_s, MAX_ESTIMATE_S)

    def _n_before(self, rank: Rank) -> int:
        """Return how many of those that wait go before somebody who comes now."""
        interactive, batch = self._interactive, self._batch
        if rank.priority is Priority.BATCH:
            return interactive.n_waiting + batch.n_before(rank)
        n, first = interactive.n_before(rank), batch.head()
        if first is None or not n:
            return n
        # What batches save up until then.
        mean = sum([each.cost for each in interactive.active]) / interactive.n_waiting
        saved = self._saved + n * mean * self.batch_share / (1 - self.batch_share)
        return n + min(max(int(saved / first.cost), 0), batch.n_waiting)

    def fairness(self) -> float:
        """Return Jain's index of what keys got, relative to their weights; 1 where all got alike.

        Of those that waited all the time since this was told anew, which happens once they were
        served five times each, on average; of a class by itself.
        """
        watched = [each for each in self._watched if each.waiting]
        if len(watched) < 2:
            self._fairness = 1.0
            self._watch()
        elif self._n_watched >= _SERVINGS_EACH * len(watched):
            self._fairness = jain_index([each.served - self._watched[each] for each in watched])
            self._watch()
        return self._fairness

    def _watch(self) -> None:
        counters = self._interactive if self._interactive.n_waiting else self._batch
        self._watched = {each: each.served for each in counters.active}
        self._n_watched = 0

    def _class(self, priority: Priority) -> VirtualCounters:
        return self._batch if priority is Priority.BATCH else self._interactive

    def _head(self) -> Ticket | None:
        interactive, batch = self._interactive.head(), self._batch.head()
        if interactive is None or batch is None:
            return interactive or batch
        return batch if 0 < self._saved >= batch.cost else interactive

    def _serve(self, ticket: Ticket, now: float) -> None:
        counters = ticket.counters
        self._n_turns += 1
        counters.serve(ticket, n_turns=self._n_turns)
        ticket.waited_s = max(now - ticket.since, 0.0)
        other = self._interactive if counters is self._batch else self._batch
        if not other.n_waiting:
            self._saved = 0.0  # nothing is saved up for times when the other class waits again
        elif counters is self._batch:
            self._saved -= ticket.charged
        else:
            self._saved += ticket.charged * self.batch_share / (1 - self.batch_share)
        if self._last_served is not None:
            gap_s = max(now - self._last_served, 0.0)
            last_s = gap_s if self._gap_s is None else self._gap_s
            self._gap_s = last_s + LATEST * (gap_s - last_s)
        self._last_served = now
        if ticket.account in self._watched:
            if ticket.account.waiting:
                self._n_watched += 1
            else:
                del self._watched[ticket.account]

    def _least_deserving(self, rank: Rank) -> Ticket | None:
        """Return who has to make room for somebody; None where nobody has to."""
        if rank.priority is Priority.INTERACTIVE and self._batch.n_waiting:
            return max(self._batch.active, key=_crowding).waiting[-1]
        counters = self._class(rank.priority)
        longest = max(counters.active, key=_crowding, default=None)
        if longest is None or _crowding(longest) <= (counters.n_of(rank.who) + 1) / rank.weight:
            return None
        return longest.waiting[-1]


def jain_index(shares: list[float]) -> float:
    """Return Jain's fairness index of what several got: 1 where it is the same, 1/n for one alone.

    References
    ----------
    Jain et al. 1984, A Quantitative Measure of Fairness and Discrimination, DEC-TR-301.
    """
    squares = sum(each * each for each in shares)
    return sum(shares) ** 2 / (len(shares) * squares) if squares else 1.0


def _crowding(account: Account) -> float:
    return len(account.waiting) / account.weight
