"""What one process knows of one scope: levels, claims that are held, money."""

import heapq
from dataclasses import dataclass, field

import msgspec

from app.stores._rates import budget_wait_s, level_after, rate_standing, wait_s
from app.stores.claims import (
    BUSY_RETRY_S,
    KEEP_SPENT_S,
    LATE_S,
    BudgetLimit,
    BudgetStanding,
    Claim,
    Refusal,
    Resource,
    Settlement,
    Standing,
)

_LATE_US = int(LATE_S * 1e6)
_SLACK = 64
"""How many entries of settled claims the heap of deadlines may hold beyond twice the live ones."""


@dataclass(slots=True)
class _Level:
    value: float = 0.0
    at_us: int = 0
    limit: int = 1

    def now(self, now_us: int, limit: int) -> float:
        if now_us == self.at_us:
            return self.value
        # A clock that was set back would otherwise block a full scope until it has caught up.
        self.at_us = min(self.at_us, now_us)
        return level_after(self.value, now_us - self.at_us, limit)

    def sink(self, now_us: int, limit: int) -> float:
        """Move to `now_us`, and return where the level stands then."""
        self.value = value = self.now(now_us, limit)
        self.at_us, self.limit = now_us, limit
        return value

    def rise(self, amount: float) -> None:
        """Add to a level that has just been moved to now."""
        value = self.value + amount
        self.value = max(0.0, value)


class _Held(msgspec.Struct, eq=False, gc=False):
    tokens: int
    reserve_nusd: int
    period_ids: tuple[str, ...]
    deadline_us: int
    in_flight: int
    expired: bool = False


@dataclass(slots=True)
class _Spent:
    nusd: int
    forget_us: int


@dataclass(slots=True)
class Account:
    """The counters of one scope; every `now_us` is microseconds of a clock that nobody sets."""

    in_flight: int = 0
    _requests: _Level = field(default_factory=_Level)
    _tokens: _Level = field(default_factory=_Level)
    _held: dict[str, _Held] = field(default_factory=dict)
    _deadlines: list[tuple[int, str]] = field(default_factory=list)
    _reserved: dict[str, int] = field(default_factory=dict)
    _spent: dict[str, _Spent] = field(default_factory=dict)

    def holds(self, request_id: str) -> bool:
        """Return whether a request's claim is held, or remembered for late settling."""
        return request_id in self._held

    def refusal(self, claim: Claim, now_us: int) -> Refusal | None:
        """Return what stands in the way of a claim; its levels are then those of `now_us`."""
        limit = claim.requests_per_minute
        if limit is not None and (level := self._requests.sink(now_us, limit)) + 1 > limit:
            return _too_fast(claim, Resource.REQUESTS, level, 1, limit)
        limit = claim.tokens_per_minute
        if limit is not None:
            level = self._tokens.sink(now_us, limit)
            if level + claim.tokens > limit:
                return _too_fast(claim, Resource.TOKENS, level, claim.tokens, limit)
        limit = None if claim.more else claim.concurrent_requests
        if limit is not None and self.in_flight >= limit:
            return Refusal(
                scope=claim.scope,
                resource=Resource.CONCURRENCY,
                limit=limit,
                retry_after_s=BUSY_RETRY_S,
            )
        needed = claim.needed_nusd
        for budget in claim.budgets:
            spent, reserved = self._spent_nusd(budget), self._reserved.get(budget.period_id, 0)
            if spent >= budget.limit_nusd or spent + reserved + needed > budget.limit_nusd:
                return Refusal(
                    scope=claim.scope,
                    resource=Resource.BUDGET,
                    limit=budget.limit_nusd,
                    retry_after_s=budget_wait_s(budget, spent, needed),
                    period_id=budget.period_id,
                    spent_nusd=spent,
                    reserved_nusd=reserved,
                    needed_nusd=needed,
                )
        return None

    def room_nusd(self, claim: Claim) -> int:
        """Return what the poorest budget of a claim has left."""
        return min(
            [
                budget.limit_nusd
                - self._spent_nusd(budget)
                - self._reserved.get(budget.period_id, 0)
                for budget in claim.budgets
            ],
            default=claim.reserve_nusd,
        )

    def take(self, request_id: str, claim: Claim, deadline_us: int, *, nusd: int) -> None:
        """Take what `refusal` let pass a moment ago, and of money so much."""
        if claim.requests_per_minute is not None:
            self._requests.rise(1)
        if claim.tokens_per_minute is not None:
            self._tokens.rise(claim.tokens)
        period_ids = tuple([budget.period_id for budget in claim.budgets])
        for period_id in period_ids:
            self._reserved[period_id] = self._reserved.get(period_id, 0) + nusd
        in_flight = 0 if claim.more else 1
        self._held[request_id] = _Held(claim.tokens, nusd, period_ids, deadline_us, in_flight)
        self.in_flight += in_flight
        self._push(deadline_us, request_id)

    def settle(self, request_id: str, settlement: Settlement, now_us: int) -> bool:
        """Replace a claim by what was used; return whether there was one."""
        held = self._held.pop(request_id, None)
        if held is None:
            return False
        if not held.expired:
            self._release(held)
        if (limit := settlement.tokens_per_minute) is not None:
            self._tokens.sink(now_us, limit)
            self._tokens.rise(settlement.tokens - held.tokens)
        if settlement.cost_nusd:
            for budget in settlement.budgets:
                forget_us = now_us + int((budget.ends_in_s + KEEP_SPENT_S) * 1e6)
                self.spend(budget.period_id, settlement.cost_nusd, forget_us)
        return True

    def spend(self, period_id: str, nusd: int, forget_us: int) -> None:
        """Book money on a period."""
        spent = self._spent.get(period_id)
        if spent is None:
            self._spent[period_id] = _Spent(nusd, forget_us)
        else:
            spent.nusd += nusd

    def expire(self, now_us: int) -> None:
        """Give back claims that outlived their lifetime, forget those nobody settled."""
        deadlines = self._deadlines
        while deadlines and deadlines[0][0] <= now_us:
            deadline_us, request_id = heapq.heappop(deadlines)
            held = self._held.get(request_id)
            if held is None or held.deadline_us != deadline_us:
                continue
            if held.expired:
                del self._held[request_id]
                continue
            self._release(held)
            held.expired = True
            held.deadline_us = deadline_us + _LATE_US
            self._push(held.deadline_us, request_id)

    def idle(self, now_us: int) -> bool:
        """Return whether nothing would be lost by forgetting all of it."""
        self.expire(now_us)
        for period_id in [k for k, spent in self._spent.items() if spent.forget_us <= now_us]:
            del self._spent[period_id]
        levels = (self._requests, self._tokens)
        return not (
            self._held or self._spent or any(level.now(now_us, level.limit) for level in levels)
        )

    def standing(self, claim: Claim, now_us: int, *, granted_nusd: int = 0) -> Standing:
        """Return where the limits of a claim stand, and what of money it was granted."""
        rpm, tpm = claim.requests_per_minute, claim.tokens_per_minute
        return Standing(
            scope=claim.scope,
            requests=None if rpm is None else rate_standing(self._requests.now(now_us, rpm), rpm),
            tokens=None if tpm is None else rate_standing(self._tokens.now(now_us, tpm), tpm),
            in_flight=self.in_flight,
            budgets=tuple(
                [
                    BudgetStanding(
                        period_id=budget.period_id,
                        limit_nusd=budget.limit_nusd,
                        spent_nusd=self._spent_nusd(budget),
                        reserved_nusd=self._reserved.get(budget.period_id, 0),
                    )
                    for budget in claim.budgets
                ]
            ),
            granted_nusd=granted_nusd,
        )

    def _spent_nusd(self, budget: BudgetLimit) -> int:
        spent = self._spent.get(budget.period_id)
        return 0 if spent is None else spent.nusd

    def _release(self, held: _Held) -> None:
        self.in_flight -= held.in_flight
        for period_id in held.period_ids:
            left = self._reserved.get(period_id, 0) - held.reserve_nusd
            if left > 0:
                self._reserved[period_id] = left
            else:
                self._reserved.pop(period_id, None)

    def _push(self, deadline_us: int, request_id: str) -> None:
        heapq.heappush(self._deadlines, (deadline_us, request_id))
        # Settled claims leave their deadline behind; without this the heap would grow with the
        # number of requests in a lifetime instead of with those that run.
        if len(self._deadlines) > 2 * len(self._held) + _SLACK:
            self._deadlines = [(held.deadline_us, key) for key, held in self._held.items()]
            heapq.heapify(self._deadlines)


def _too_fast(claim: Claim, resource: Resource, level: float, cost: int, limit: int) -> Refusal:
    return Refusal(
        scope=claim.scope, resource=resource, limit=limit, retry_after_s=wait_s(level, cost, limit)
    )
