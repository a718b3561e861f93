"""The store seam: what is shared between requests, processes and restarts.

Six narrow seams make one store. `Counters` count what is limited, `Keys` keep virtual keys,
`Blobs` keep small values that may be lost (sessions), `Answers` larger ones within bounds (cached
answers), `Registers` values that several processes add to (what requests taught), `Jobs` (see
`jobs.py`) what is to be done without anybody waiting for it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, runtime_checkable

import msgspec

from app.stores.jobs import Jobs
from app.stores.keys import Keys

RATE_WINDOW_S = 60.0
"""Requests and tokens are limited per minute."""

LATE_S = 3600.0
"""How long after its lifetime a claim can still be settled; see `Counters.settle`."""

BUSY_RETRY_S = 1.0
"""When to try again if others stand in the way: nobody knows when a running request ends."""

KEEP_SPENT_S = 86_400.0
"""How long an account of money outlives its period, for what is settled late."""


class ScopeKind(StrEnum):
    """Whose limit it is."""

    KEY = "key"
    TEAM = "team"
    MODEL = "model"
    GATEWAY = "gateway"
    BATCH = "batch"


class Resource(StrEnum):
    """What is limited."""

    REQUESTS = "requests"
    TOKENS = "tokens"
    CONCURRENCY = "concurrency"
    BUDGET = "budget"


class Scope(msgspec.Struct, frozen=True, cache_hash=True, gc=False):
    """Who is counted: `Scope(ScopeKind.KEY, "key-1f…")`; the gateway's name is empty."""

    kind: ScopeKind
    name: str = ""

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}" if self.name else str(self.kind)


class BudgetLimit(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One budget in the period that runs now.

    Attributes
    ----------
    period_id
        Names the period, such as `day:2026-11-22`; spending of another id is another account.
    ends_in_s
        Seconds until the period is over.
    """

    period_id: str
    limit_nusd: int
    ends_in_s: float


class Claim(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What one request asks of one scope; a limit of None does not bind.

    `tokens` and `reserve_nusd` are estimates that `settle` replaces by what was used.

    Attributes
    ----------
    reserve_nusd, least_nusd
        How much money is to be reserved, and with how much the request can do where that is more
        than is left; None for all of it.
    more
        Whether it adds to what a running request claimed under another id: it is then not counted
        as one more in flight.
    """

    scope: Scope
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent_requests: int | None = None
    budgets: tuple[BudgetLimit, ...] = ()
    tokens: int = 0
    reserve_nusd: int = 0
    least_nusd: int | None = None
    more: bool = False

    @property
    def needed_nusd(self) -> int:
        """The least that has to be left of every budget."""
        return self.reserve_nusd if self.least_nusd is None else self.least_nusd


def binds(claim: Claim) -> bool:
    """Return whether any limit of a claim binds; others are not counted at all."""
    return (
        claim.requests_per_minute is not None
        or claim.tokens_per_minute is not None
        or claim.concurrent_requests is not None
        or bool(claim.budgets)
    )


class RateStanding(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Where a rate limit stands after this request.

    `reset_s` is the time until all of it is available again if nothing else is asked.
    """

    limit: int
    remaining: int
    reset_s: float


class BudgetStanding(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Where a budget stands: spent for good, and reserved by requests that still run."""

    period_id: str
    limit_nusd: int
    spent_nusd: int
    reserved_nusd: int


class Standing(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Where every limit of one scope stands; `granted_nusd` is what a claim got reserved of it."""

    scope: Scope
    requests: RateStanding | None = None
    tokens: RateStanding | None = None
    in_flight: int = 0
    budgets: tuple[BudgetStanding, ...] = ()
    granted_nusd: int = 0


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Whose limit stood in the way.

    `retry_after_s` is None when waiting does not help: the request alone exceeds the limit. Of a
    budget it is also told what is spent, what running requests hold, and what was needed.
    """

    scope: Scope
    resource: Resource
    limit: int
    retry_after_s: float | None
    period_id: str | None = None
    spent_nusd: int = 0
    reserved_nusd: int = 0
    needed_nusd: int = 0

    @property
    def left_nusd(self) -> int:
        """What is left of a budget beside what is spent and held."""
        return max(0, self.limit - self.spent_nusd - self.reserved_nusd)


class Settlement(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What one request really used of one scope."""

    scope: Scope
    tokens: int
    cost_nusd: int
    budgets: tuple[BudgetLimit, ...] = ()
    """Those that were claimed; spending is booked on the period in which it was claimed."""
    tokens_per_minute: int | None = None


class StoreError(Exception):
    """The store cannot be asked at the moment: unreachable, too slow, full or read-only."""


class StoreAnsweredError(StoreError):
    """The store answered, and said that it cannot do this; other things it may do."""


class StoreNotAskedError(StoreError):
    """The store was not even asked, so that nothing happened there."""


class UnusableValueError(StoreNotAskedError):
    """What was to be said cannot be said to this store, now or later."""


class Counters(Protocol):
    """Rates (GCRA), concurrency and money; every call is atomic per scope."""

    async def admit(
        self, request_id: str, claims: Sequence[Claim], *, lifetime_s: float
    ) -> tuple[Standing, ...] | Refusal:
        """Take what a request claims from all scopes, or nothing.

        Rates follow GCRA with a burst of one whole window. What is claimed counts as in flight
        and reserved until it is settled, or for `lifetime_s`: a claim whose process died comes
        back by itself. A budget refuses when spent + reserved + `least_nusd` exceeds it, or
        when it is already spent; where it has less left than `reserve_nusd`, that is what is
        reserved, in every scope. The first claim that is refused is told, its limits in the
        order requests, tokens, concurrency, budgets.

        Parameters
        ----------
        request_id
            Made by the gateway, never by a client: one that is still held is a ValueError, since
            whoever could choose it could hide requests behind each other.
        claims
            Of scopes that differ. A claim without any limit is not counted.

        Raises
        ------
        StoreError
            The claims may have been taken; settling the request gives them back.
        StoreNotAskedError
            Nothing was taken.
        """
        ...

    async def settle(self, request_id: str, settlements: Sequence[Settlement]) -> None:
        """Replace what a request claimed by what it used; a second call changes nothing.

        A claim that outlived its `lifetime_s` has been given back, but is remembered for `LATE_S`:
        settled in that time, what it used is booked, once. After that, and for a request that
        claimed nothing, settling changes nothing.

        Raises
        ------
        StoreError
            It is then not known whether it happened; calling again is safe.
        """
        ...

    async def release_owner(self, owner: str) -> None:
        """Give back at once what the requests of a dead process claim; a second call does nothing.

        Nothing is booked for them. One that is settled after all, because its process lives, is
        booked once.

        Parameters
        ----------
        owner
            A process, or a run: all processes whose names begin with its name and a dot.

        Raises
        ------
        StoreError
            Some claims may have been given back; calling again is safe.
        """
        ...

    async def standing(self, claims: Sequence[Claim]) -> tuple[Standing, ...]:
        """Return where the limits stand, claiming nothing.

        Raises
        ------
        StoreError
        """
        ...


class Blobs(Protocol):
    """Small values that may be lost at any time; names are made of hashes by the caller."""

    async def get(self, name: str) -> bytes | None:
        """Return what was put under a name, or None.

        Raises
        ------
        StoreError
        """
        ...

    async def put(self, name: str, value: bytes, *, lifetime_s: float) -> None:
        """Keep a value for at most `lifetime_s`.

        Raises
        ------
        StoreError
        """
        ...


class Answers(Protocol):
    """Values of any size that may be lost at any time, bounded in all and for each owner."""

    async def get(self, name: str) -> bytes | None:
        """Return what was put under a name, or None.

        Raises
        ------
        StoreError
        """
        ...

    async def put(self, name: str, value: bytes, *, lifetime_s: float, owner: str) -> None:
        """Keep a value for at most `lifetime_s`; older ones, its owner's first, make room for it.

        Parameters
        ----------
        owner
            Whose bound it counts for; empty where it counts only for that of all.

        Raises
        ------
        StoreError
        """
        ...

    async def delete(self, name: str) -> None:
        """Forget a value, if there is one.

        Raises
        ------
        StoreError
        """
        ...


class Registers(Protocol):
    """Values that several processes change in turn, none of them over a change of another's.

    Every value has a version, a text that whoever puts it makes up and no other ever has.
    """

    async def version(self, name: str) -> str | None:
        """Return the version of the value that is there, or None.

        Raises
        ------
        StoreError
        """
        ...

    async def read(self, name: str) -> tuple[str, bytes] | None:
        """Return the version and the value that are there, or None.

        Raises
        ------
        StoreError
        """
        ...

    async def replace(
        self, name: str, value: bytes, *, version: str, after: str | None, lifetime_s: float
    ) -> bool:
        """Put a value where the one that is there is still of the version `after` (None: none is).

        Returns whether it was put; it is kept for at most `lifetime_s`.

        Raises
        ------
        StoreError
            It is then not known whether it was put, or will yet be.
        """
        ...


class Board(Protocol):
    """Notes that processes put up for each other, each its own."""

    async def exchange(
        self, owner: str, note: bytes, *, gone: Sequence[str] = ()
    ) -> Mapping[str, bytes]:
        """Put up a note in place of the one before, and return everybody's, by its owner.

        Parameters
        ----------
        gone
            Owners whose notes are taken down.

        Raises
        ------
        StoreError
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """One store of one kind."""

    kind: str
    shared: bool
    """Whether several processes see the same counters."""
    counters: Counters
    keys: Keys
    blobs: Blobs
    answers: Answers
    registers: Registers
    jobs: Jobs | None = None
    """Files and batches; None where there are none."""
    responses: Answers | None = None
    """Responses that clients come back to by their id; None where none are kept."""
    board: Board | None = None
    """None where no other process can be told anything."""


@runtime_checkable
class Owes(Protocol):
    """A store that may have something to be told later."""

    @property
    def owed(self) -> int:
        """How many requests have still to be settled in it."""
        ...


@runtime_checkable
class Troubled(Protocol):
    """A store that knows what of it does not work."""

    @property
    def problems(self) -> Mapping[str, str]:
        """What does not work at the moment → why; without names of hosts or files."""
        ...


class Lifecycle(Protocol):
    """What the application starts and stops around its store."""

    @property
    def store(self) -> Store:
        """The store."""
        ...

    async def open(self) -> None:
        """Connect, create what is missing.

        Raises
        ------
        ConfigError
            If the configured place can never work (a folder that cannot be written).
        """
        ...

    async def healthy(self) -> bool:
        """Return whether the store answers."""
        ...

    async def aclose(self) -> None:
        """Write what is pending and let go."""
        ...
