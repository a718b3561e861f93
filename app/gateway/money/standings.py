"""Where limits and budgets stand, and how hard a budget presses that is running low."""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import msgspec

from app.access.guard import Caller
from app.errors import StoreUnavailableError
from app.gateway.money.allowances import Allowance
from app.gateway.money.claims import Claims
from app.gateway.money.pressure import DEGRADE_STEPS, Pressure
from app.keys import BatchBudget, Budget, OnLow, Period
from app.stores.base import Counters, StoreError
from app.stores.claims import BudgetLimit, Claim, Scope, ScopeKind, Standing, binds

RETRY_AFTER_S = 1.0
"""What a client is told where the store does not answer."""

_MAX_REMEMBERED = 100_000
_MAX_SHOWN_BUDGETS = 200


@dataclass(slots=True, kw_only=True)
class Standings:
    """Follow where limits stand, with what this process knows and what the store says."""

    counters: Counters
    claims: Claims
    _seen: OrderedDict[Scope, Standing] = field(default_factory=OrderedDict)
    _budgets: dict[Scope, tuple[BudgetLimit, ...]] = field(default_factory=dict)

    async def pressure(self, caller: Caller) -> Pressure | None:
        """Return the hardest pressed budget that degrades, None while none is.

        What this process knows counts: the latest answers of the store, and what was settled
        since. The store is asked only about scopes that no request of this process claimed yet.
        """
        worst: Pressure | None = None
        for scope, allowance in self.claims.scopes(caller):
            for budget in allowance.budgets:
                if isinstance(budget, BatchBudget) or budget.on_low is not OnLow.DEGRADE:
                    continue
                share = await self._spent_share(scope, allowance, budget)
                over = (share - budget.degrade_from) / max(1 - budget.degrade_from, 1e-9)
                step = min(int(over * DEGRADE_STEPS) + 1, DEGRADE_STEPS) if over >= 0 else 0
                if step and (worst is None or step > worst.step):
                    worst = Pressure(scope=scope, share=share, step=step)
        return worst

    async def of(self, caller: Caller) -> tuple[Standing, ...]:
        """Return where every limit of a caller stands.

        Raises
        ------
        StoreUnavailableError
        """
        claims = [self.claims.claim(scope, each) for scope, each in self.claims.scopes(caller)]
        return await self._standing([claim for claim in claims if binds(claim)])

    async def _standing(self, claims: Sequence[Claim]) -> tuple[Standing, ...]:
        try:
            return await self.counters.standing(claims)
        except StoreError as error:
            raise StoreUnavailableError(
                "limits and budgets cannot be read at the moment; try again",
                retry_after_s=RETRY_AFTER_S,
            ) from error

    async def of_keys(self, callers: Iterable[Caller]) -> tuple[Standing, ...]:
        """Return where the limits of each caller's own key stand, in the order of the callers.

        Raises
        ------
        StoreUnavailableError
        """
        claims = [
            self.claims.claim(
                Scope(ScopeKind.KEY, each.key_id), self.claims.allowances.of_key(each)
            )
            for each in callers
        ]
        return await self._standing(claims)

    async def known_budgets(self) -> tuple[Standing, ...]:
        """Return where the budgets stand that requests of this process met; not of every key.

        Raises
        ------
        StoreError
        """
        claims = [
            Claim(
                scope=scope,
                budgets=tuple(
                    self.claims.limit_now(Period(each.period_id.partition(":")[0]), each.limit_nusd)
                    for each in budgets
                ),
            )
            for scope, budgets in self._budgets.items()
        ]
        return await self.counters.standing(claims) if claims else ()

    def claimed(self, claims: Iterable[Claim], granted: Sequence[Standing]) -> None:
        """Take note of what the store said of claims."""
        for claim in claims:
            if claim.scope.kind is ScopeKind.BATCH:
                continue  # nobody asks how one stands but by its id
            if claim.budgets and (
                claim.scope in self._budgets or len(self._budgets) < _MAX_SHOWN_BUDGETS
            ):
                self._budgets[claim.scope] = claim.budgets
        # Nobody else needs to be followed: only budgets that degrade are asked about in advance.
        if self._seen:
            self._remember([each for each in granted if each.scope in self._seen])

    async def _spent_share(self, scope: Scope, allowance: Allowance, budget: Budget) -> float:
        wanted = self.claims.budget_limit(budget)
        share = _share_of(wanted, self._seen.get(scope))
        if share is None:  # not met yet, or another budget by now
            try:
                self._remember(await self.counters.standing([self.claims.claim(scope, allowance)]))
            except StoreError:
                return 0.0  # admission will say what has to be said
            share = _share_of(wanted, self._seen[scope])
        return share or 0.0

    def _remember(self, standings: Sequence[Standing]) -> None:
        for standing in standings:
            self._seen[standing.scope] = standing
            self._seen.move_to_end(standing.scope)
        while len(self._seen) > _MAX_REMEMBERED:
            self._seen.popitem(last=False)

    def booked(self, claim: Claim, cost_nusd: int, granted_nusd: int) -> None:
        """Follow what the store does when a claim is settled."""
        standing = self._seen.get(claim.scope)
        if standing is None or not claim.budgets:
            return
        periods = {each.period_id for each in claim.budgets}
        self._seen[claim.scope] = msgspec.structs.replace(
            standing,
            budgets=tuple(
                msgspec.structs.replace(
                    each,
                    spent_nusd=each.spent_nusd + cost_nusd * (each.period_id in periods),
                    reserved_nusd=max(each.reserved_nusd - granted_nusd, 0),
                )
                for each in standing.budgets
            ),
        )


def _share_of(budget: BudgetLimit, standing: Standing | None) -> float | None:
    """Return how much of a budget is spent and reserved; None where that is not known."""
    for each in () if standing is None else standing.budgets:
        if each.period_id == budget.period_id and each.limit_nusd == budget.limit_nusd:
            return (each.spent_nusd + each.reserved_nusd) / each.limit_nusd
    return None
