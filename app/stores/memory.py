"""The embedded store: counters and small values of one process, keys and spending in SQLite."""

import contextlib
import logging
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path

from app.keys import AuditEntry, KeyRecord
from app.stores._accounts import Account
from app.stores._rates import granted_nusd
from app.stores.base import Store
from app.stores.bounds import ANSWER_BOUNDS, AnswerBounds, bounded_claims, bounded_settlements
from app.stores.claims import KEEP_SPENT_S, Claim, Refusal, Scope, Settlement, Standing, binds
from app.stores.data_dir import holding
from app.stores.keys import MAX_AUDIT, KeyChange, Keys, check_unchanged
from app.stores.memory_blobs import MemoryBlobs
from app.stores.memory_registers import MemoryRegisters, SqliteRegisters
from app.stores.sqlite import SqliteDatabase
from app.stores.sqlite_answers import SqliteAnswers
from app.stores.sqlite_jobs import SqliteJobs
from app.stores.watch import NO_EVENTS, StoreEvents

_log = logging.getLogger(__name__)

Clock = Callable[[], float]
"""Seconds, since the epoch or since whenever."""

OnSpend = Callable[[Scope, str, int, float], None]
"""Notified of spending: scope, period, billionths of a dollar, when it may be forgotten."""


_SWEEP, _SWEEP_EVERY = 32, 16
"""How many accounts are looked at, to forget those that are idle, and after how many requests."""


class MemoryCounters:
    """Counters in plain Python, exact because nothing awaits in between.

    Parameters
    ----------
    clock
        Seconds since the epoch; says only when what was spent may be forgotten on a disk.
    steady
        Seconds that nobody sets: rates and lifetimes. Default: a clock that was given, else the
        monotonic one.
    on_spend
        Notified of every settled cost.
    events
        Notified of what goes wrong.
    """

    def __init__(
        self,
        *,
        clock: Clock | None = None,
        steady: Clock | None = None,
        on_spend: OnSpend | None = None,
        events: StoreEvents = NO_EVENTS,
    ) -> None:
        self._clock, self._steady = _clocks(clock, steady)
        self._on_spend = on_spend
        self._events = events
        self._accounts: OrderedDict[Scope, Account] = OrderedDict()
        self._admitted = 0

    def __len__(self) -> int:
        """How many scopes are remembered."""
        return len(self._accounts)

    async def admit(
        self, request_id: str, claims: Sequence[Claim], *, lifetime_s: float
    ) -> tuple[Standing, ...] | Refusal:
        """Take what a request claims from all scopes, or nothing."""
        now_us = self._now_us()
        claims = bounded_claims(claims, self._events.bounded)
        self._admitted += 1
        if self._admitted % _SWEEP_EVERY == 0:
            self._sweep(now_us)
        binding = [(claim, self._account(claim.scope, now_us)) for claim in claims if binds(claim)]
        for claim, account in binding:
            if account.holds(request_id):
                raise ValueError(f"request {request_id!r} is already held")
            refusal = account.refusal(claim, now_us)
            if refusal is not None:
                return refusal
        deadline_us = now_us + int(lifetime_s * 1e6)
        room_nusd = min(
            [account.room_nusd(claim) for claim, account in binding if claim.budgets], default=0
        )
        granted = {}
        for claim, account in binding:
            nusd = granted_nusd(claim, room_nusd) if claim.budgets else 0
            account.take(request_id, claim, deadline_us, nusd=nusd)
            granted[claim.scope] = nusd
        return self._standing(claims, now_us, granted)

    async def settle(self, request_id: str, settlements: Sequence[Settlement]) -> None:
        """Replace what a request claimed by what it used; a second call changes nothing."""
        now_us = self._now_us()
        for settlement in bounded_settlements(settlements, self._events.bounded):
            account = self._accounts.get(settlement.scope)
            if account is None:
                continue
            account.expire(now_us)
            try:
                self._settle(account, request_id, settlement, now_us)
            except Exception:  # noqa: BLE001  (the answer is given, and the place is free)
                _log.exception("what request %s used of %s is lost", request_id, settlement.scope)
                self._events.lost("settlements", 1)

    def _settle(
        self, account: Account, request_id: str, settlement: Settlement, now_us: int
    ) -> None:
        settled = account.settle(request_id, settlement, now_us)
        if settled and settlement.cost_nusd and self._on_spend is not None:
            for budget in settlement.budgets:
                forget_at = self._clock() + budget.ends_in_s + KEEP_SPENT_S
                self._on_spend(settlement.scope, budget.period_id, settlement.cost_nusd, forget_at)

    async def release_owner(self, owner: str) -> None:
        """Do nothing: what a process claims here is gone with it."""

    async def standing(self, claims: Sequence[Claim]) -> tuple[Standing, ...]:
        """Return where the limits stand, claiming nothing."""
        now_us = self._now_us()
        for claim in claims:
            if claim.scope in self._accounts:
                self._accounts[claim.scope].expire(now_us)
        return self._standing(claims, now_us, {})

    def holds(self, request_id: str, settlements: Sequence[Settlement]) -> bool:
        """Return whether a request was admitted here and is not settled yet."""
        accounts = (self._accounts.get(settlement.scope) for settlement in settlements)
        return any(account is not None and account.holds(request_id) for account in accounts)

    def restore(self, scope: Scope, period_id: str, nusd: int, forget_at: float) -> None:
        """Book what was spent before a restart."""
        account = self._accounts.setdefault(scope, Account())
        forget_in_s = forget_at - self._clock()
        account.spend(period_id, nusd, self._now_us() + int(forget_in_s * 1e6))

    def _now_us(self) -> int:
        return int(self._steady() * 1e6)

    def _account(self, scope: Scope, now_us: int) -> Account:
        account = self._accounts.get(scope)
        if account is None:
            account = self._accounts[scope] = Account()
        account.expire(now_us)
        return account

    def _standing(
        self, claims: Sequence[Claim], now_us: int, granted: Mapping[Scope, int]
    ) -> tuple[Standing, ...]:
        standings = []
        for claim in claims:
            scope = claim.scope
            known = scope in granted or binds(claim)
            account = self._accounts.get(scope) if known else None
            nusd = granted.get(scope, 0)
            standings.append((account or Account()).standing(claim, now_us, granted_nusd=nusd))
        return tuple(standings)

    def _sweep(self, now_us: int) -> None:
        """Look at the next few accounts in turn, so that forgetting costs the same always."""
        for _ in range(min(_SWEEP, len(self._accounts))):
            scope, account = next(iter(self._accounts.items()))
            if account.idle(now_us):
                del self._accounts[scope]
            else:
                self._accounts.move_to_end(scope)


class MemoryKeys:
    """Virtual keys of one process, gone when it ends."""

    def __init__(self) -> None:
        self._records: dict[str, KeyRecord] = {}
        self._audit: deque[AuditEntry] = deque(maxlen=MAX_AUDIT)

    async def find(self, digest: str) -> KeyRecord | None:
        """Return the record of a digest."""
        return self._records.get(digest)

    async def save(self, record: KeyRecord) -> None:
        """Add a record, or replace the one of the same digest."""
        self._records[record.digest] = record

    async def change(
        self, changes: Sequence[KeyChange], *, entry: AuditEntry | None = None
    ) -> None:
        """Make several changes, all of them or none, if nobody else made one meanwhile."""
        for change in changes:
            check_unchanged(change, self._records.get(change.after.digest))
        for change in changes:
            self._records[change.after.digest] = change.after
        if entry is not None:
            self._audit.appendleft(entry)

    async def history(self, *, key_id: str | None, limit: int) -> tuple[AuditEntry, ...]:
        """Return what was done to keys, or to one, the latest first."""
        wanted = (each for each in self._audit if key_id is None or each.key_id == key_id)
        return tuple(islice(wanted, limit))

    async def all(self) -> tuple[KeyRecord, ...]:
        """Return every record, revoked ones too, oldest first."""
        return tuple(sorted(self._records.values(), key=lambda key: (key.created_at, key.digest)))


class MemoryStore:
    """The store of one process.

    Parameters
    ----------
    data_dir
        Where keys and spending survive a restart, in `steelyard.sqlite3`, and what policies
        learned, in `lessons.sqlite3`; None keeps nothing.
    exclusive
        Whether to keep other processes' gateways out of `data_dir` while it is open.
    clock, steady
        As of `MemoryCounters`.
    answer_bounds
        How much of cached answers is kept.
    response_bounds
        How much of responses is kept that clients come back to, in `responses.sqlite3` where there
        is a `data_dir`; None keeps none.
    jobs
        Whether there are batches, in `batches.sqlite3` where there is a `data_dir`.
    events
        Notified of what goes wrong.
    """

    def __init__(
        self,
        data_dir: Path | None,
        *,
        exclusive: bool = False,
        clock: Clock | None = None,
        steady: Clock | None = None,
        answer_bounds: AnswerBounds = ANSWER_BOUNDS,
        response_bounds: AnswerBounds | None = None,
        jobs: bool = False,
        events: StoreEvents = NO_EVENTS,
    ) -> None:
        self._held_dir = data_dir if exclusive else None
        self._held = contextlib.ExitStack()
        database = None
        clock, steady = _clocks(clock, steady)
        if data_dir is not None:
            database = SqliteDatabase(data_dir, clock=clock, events=events)
        self._database = database
        self._responses = None
        if data_dir is not None and response_bounds is not None:
            self._responses = SqliteAnswers(data_dir, bounds=response_bounds, clock=clock)
        self._registers = None if data_dir is None else SqliteRegisters(data_dir, clock=clock)
        self._jobs = SqliteJobs(data_dir, exclusive=exclusive, clock=clock) if jobs else None
        self._counters = MemoryCounters(
            clock=clock,
            steady=steady,
            on_spend=None if database is None else database.spending.add,
            events=events,
        )
        keys: Keys = MemoryKeys() if database is None else database.keys
        self._store = Store(
            kind="memory",
            shared=False,
            counters=self._counters,
            keys=keys,
            blobs=MemoryBlobs(clock=steady),
            answers=_bounded(answer_bounds, steady),
            registers=self._registers or MemoryRegisters(clock=steady),
            jobs=self._jobs,
            responses=self._responses
            or (None if response_bounds is None else _bounded(response_bounds, steady)),
        )

    @property
    def store(self) -> Store:
        """The store."""
        return self._store

    async def open(self) -> None:
        """Open the database, if there is one, and read what has been spent.

        Raises
        ------
        ConfigError
            If the data directory cannot be used, or another gateway uses it.
        """
        if self._held_dir is not None:
            self._held.enter_context(holding(self._held_dir))
        if self._database is not None:
            for spent in await self._database.open():
                self._counters.restore(*spent)
        for room in (self._responses, self._registers, self._jobs):
            if room is not None:
                await room.open()

    @property
    def problems(self) -> Mapping[str, str]:
        """What does not work at the moment, and why: whether spending reaches the disk."""
        problem = None if self._database is None else self._database.problem
        return {} if problem is None else {"spending": problem}

    async def healthy(self) -> bool:
        """Return whether spending reaches the disk."""
        return not self.problems

    async def aclose(self) -> None:
        """Write what is pending."""
        if self._database is not None:
            await self._database.aclose()
        for room in (self._responses, self._registers, self._jobs):
            if room is not None:
                await room.aclose()
        self._held.close()


def _bounded(bounds: AnswerBounds, steady: Clock) -> MemoryBlobs:
    return MemoryBlobs(
        clock=steady, max_bytes=bounds.bytes, max_bytes_per_owner=bounds.bytes_per_key
    )


def _clocks(clock: Clock | None, steady: Clock | None) -> tuple[Clock, Clock]:
    return clock or time.time, steady or clock or time.monotonic
