"""What requests claim of limits and budgets, how these stand, and what is settled."""

from enum import StrEnum

import msgspec

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
