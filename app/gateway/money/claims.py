"""From a caller to what its requests claim: the scopes that count, their limits and budgets."""

import datetime as dt
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from app.access.guard import Caller
from app.gateway.money.allowances import GATEWAY, UNLIMITED, Allowance, Allowances
from app.keys import BatchBudget, Budget, Period
from app.stores.claims import BudgetLimit, Claim, Scope, ScopeKind

_MAX_CALLERS = 10_000
_WHOLE_BATCH = "batch"
"""The period of a batch, which is all of it."""


class Limited(NamedTuple):
    """What limits a caller.

    `budgeted` are the scopes in which a budget pays, with their budgets alone.
    """

    caller: Caller
    scopes: tuple[tuple[Scope, Allowance], ...]
    budgeted: tuple[tuple[Scope, Allowance], ...]

    @property
    def has_budget(self) -> bool:
        """Whether any budget has to pay."""
        return bool(self.budgeted)


class Terms(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What is claimed alike in every scope."""

    tokens: int = 0
    most_nusd: int = 0
    least_nusd: int = 0
    more: bool = False


NOTHING = Terms()


@dataclass(slots=True, kw_only=True)
class Claims:
    """Make claims.

    Parameters
    ----------
    now
        Seconds since the epoch.
    """

    allowances: Allowances
    now: Callable[[], float]
    _periods: dict[Period, tuple[str, float, float]] = field(default_factory=dict)
    _callers: dict[str, Limited] = field(default_factory=dict)

    def scopes(self, caller: Caller) -> Iterator[tuple[Scope, Allowance]]:
        """Yield the scopes that a caller's requests count for, the narrowest first."""
        if caller.batch is not None:
            yield Scope(ScopeKind.BATCH, caller.batch.batch_id), Allowance(budgets=(caller.batch,))
        yield Scope(ScopeKind.KEY, caller.key_id), self.allowances.of_key(caller)
        if caller.team is not None:
            yield (
                Scope(ScopeKind.TEAM, caller.team),
                self.allowances.teams.get(caller.team, UNLIMITED),
            )
        yield GATEWAY, self.allowances.gateway

    def limited(self, caller: Caller) -> tuple[tuple[Scope, Allowance], ...]:
        """Return the scopes of a caller that anything limits; the guard hands out callers again."""
        return self.known(caller).scopes

    def known(self, caller: Caller) -> Limited:
        """Return what limits a caller."""
        name = caller.key_id if caller.batch is None else caller.batch.batch_id
        known = self._callers.get(name)
        if known is not None and known.caller is caller:
            return known
        scopes = tuple(each for each in self.scopes(caller) if each[1] != UNLIMITED)
        budgeted = tuple(
            (scope, Allowance(budgets=each.budgets)) for scope, each in scopes if each.budgets
        )
        if len(self._callers) >= _MAX_CALLERS:
            self._callers.clear()
        self._callers[name] = known = Limited(caller, scopes, budgeted)
        return known

    def claim(self, scope: Scope, allowance: Allowance, terms: Terms = NOTHING) -> Claim:
        """Return what a request claims in a scope."""
        limits = allowance.limits
        return Claim(
            scope=scope,
            requests_per_minute=None if terms.more else limits.requests_per_minute,
            tokens_per_minute=limits.tokens_per_minute,
            concurrent_requests=None if terms.more else limits.concurrent_requests,
            budgets=tuple([self.budget_limit(budget) for budget in allowance.budgets]),
            tokens=terms.tokens,
            reserve_nusd=terms.most_nusd,
            least_nusd=terms.least_nusd,
            more=terms.more,
        )

    def budget_limit(self, budget: Budget | BatchBudget) -> BudgetLimit:
        """Return a budget with the period that it is in now."""
        if isinstance(budget, BatchBudget):
            return BudgetLimit(
                period_id=_WHOLE_BATCH,
                limit_nusd=budget.limit_nusd,
                ends_in_s=budget.forget_at - self.now(),
            )
        return self.limit_now(budget.period, budget.limit_nusd)

    def limit_now(self, period: Period, limit_nusd: int) -> BudgetLimit:
        """Return what limits spending in the period that it is now."""
        now = self.now()
        period_id, since, ends_at = self._periods.get(period, ("", 0.0, 0.0))
        # A clock that was ahead for a moment must not keep all spending in the period after.
        if not since <= now < ends_at:
            period_id, ends_at = _period(period, now)
            self._periods[period] = period_id, now, ends_at
        return BudgetLimit(period_id=period_id, limit_nusd=limit_nusd, ends_in_s=ends_at - now)


def _period(period: Period, now: float) -> tuple[str, float]:
    """Return the id of the period that `now` falls in, and when it ends."""
    day = dt.datetime.fromtimestamp(now, dt.UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    match period:
        case Period.DAY:
            name, end = f"{day:%Y-%m-%d}", day + dt.timedelta(days=1)
        case Period.WEEK:
            name, end = f"{day:%G-W%V}", day + dt.timedelta(days=7 - day.weekday())
        case Period.MONTH:
            name, end = f"{day:%Y-%m}", (day.replace(day=1) + dt.timedelta(days=32)).replace(day=1)
    return f"{period}:{name}", end.timestamp()
