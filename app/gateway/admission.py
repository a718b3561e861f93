"""May this request be served now: rates, concurrency and money, claimed before and settled after.

What a request will use is not known when it comes; an estimate is claimed and, when the request
has ended, replaced by what it used. Scopes without any limit cost nothing: the store is not asked.
"""

import datetime as dt
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from app.access.guard import Caller
from app.errors import ForbiddenError, RateLimitedError, StoreUnavailableError
from app.gateway.allowances import GATEWAY, UNLIMITED, Allowance, Allowances
from app.gateway.bid import Bid, bid_for, expected
from app.gateway.pressure import DEGRADE_STEPS, Pressure
from app.gateway.refusals import budget_exceeded, rate_limited
from app.gateway.request import RouteRequest
from app.gateway.surcharges import extras_of, unpayable
from app.gateway.tickets import Ticket, TooDearError
from app.ids import new_id
from app.keys import Budget, OnLow, Period
from app.stores.base import (
    BudgetLimit,
    Claim,
    Counters,
    Refusal,
    Resource,
    Scope,
    ScopeKind,
    Settlement,
    Standing,
    StoreError,
    binds,
)
from routers.types import Decision, ModelSpec

_RETRY_AFTER_S = 1.0
_MAX_REMEMBERED = 100_000
_MAX_SHOWN_BUDGETS = 200
_MAX_CALLERS = 10_000


class _Limited(NamedTuple):
    """What limits a caller."""

    caller: Caller
    scopes: tuple[tuple[Scope, Allowance], ...]
    has_budget: bool


class _Terms(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What is claimed alike in every scope."""

    tokens: int = 0
    most_nusd: int = 0
    least_nusd: int = 0
    more: bool = False


_NOTHING = _Terms()


@dataclass(slots=True, kw_only=True)
class Admission:
    """Claim for requests, and settle.

    Parameters
    ----------
    lifetime_s
        How long a claim is held at most: longer than any request may take.
    now
        Seconds since the epoch.
    on_refusal
        Told of every refusal, for the metrics.
    """

    counters: Counters
    allowances: Allowances
    specs: Mapping[str, ModelSpec]
    lifetime_s: float
    now: Callable[[], float] = time.time
    on_refusal: Callable[[Refusal], None] = lambda _: None
    _periods: dict[Period, tuple[str, float, float]] = field(default_factory=dict)
    _seen: OrderedDict[Scope, Standing] = field(default_factory=OrderedDict)
    _budgets: dict[Scope, tuple[BudgetLimit, ...]] = field(default_factory=dict)
    _callers: dict[str, "_Limited"] = field(default_factory=dict)
    _unpriced: dict[str, str] | None = None

    async def admit(
        self,
        request: RouteRequest,
        decision: Decision,
        caller: Caller,
        *,
        asked: Ticket | None = None,
    ) -> Ticket | None:
        """Claim what the decided model may use; None where nothing is limited.

        Parameters
        ----------
        asked
            What was claimed for the question to a scorer; the request and its place count there.

        Raises
        ------
        RateLimitedError
            Whose limit it is stands in the code; nothing was taken.
        TooDearError
            If a budget has too little left for the model.
        ForbiddenError
            If a budget would have to pay for a model without a price.
        StoreUnavailableError
            If money cannot be counted at the moment.
        """
        scopes = self._limited(caller)
        limits = self.allowances.models.get(decision.model_id)
        if limits is None and not scopes:
            return None
        bid = self.bid(request, decision, decision.model_id, has_budget=self.has_budget(caller))
        terms = _Terms(tokens=bid.tokens, most_nusd=bid.most_nusd, least_nusd=bid.least_nusd)
        further = terms if asked is None else msgspec.structs.replace(terms, more=True)
        claims = [self._claim(*scope, further) for scope in scopes]
        if limits is not None:
            model = Scope(ScopeKind.MODEL, decision.model_id)
            claims.append(self._claim(model, Allowance(limits), terms))
        request_id = request.decision_id if asked is None else f"{request.decision_id}.answer"
        granted = await self._take(request_id, tuple(claims))
        if isinstance(granted, Refusal):
            raise TooDearError(granted, bid)
        return msgspec.structs.replace(granted, bid=bid)

    async def admit_question(
        self, request: RouteRequest, caller: Caller, *, tokens: int = 0, nusd: int | None = None
    ) -> Ticket | None:
        """Claim for a request that is to be decided, and the question to a scorer where one is.

        Parameters
        ----------
        tokens, nusd
            What the question takes and costs at most; None where nobody is asked, so that no
            budget has to pay.

        Raises
        ------
        RateLimitedError, BudgetExceededError, StoreUnavailableError
        """
        scopes = self._limited(caller)
        terms = _Terms(tokens=tokens, most_nusd=nusd or 0, least_nusd=nusd or 0)
        if nusd is None:
            scopes = tuple((scope, Allowance(each.limits)) for scope, each in scopes)
        if not scopes:
            return None
        claims = tuple([self._claim(*scope, terms) for scope in scopes])
        granted = await self._take(request.decision_id, claims)
        if isinstance(granted, Refusal):
            raise budget_exceeded(granted, needed_nusd=nusd or 0)
        return granted

    async def add(
        self, request: RouteRequest, caller: Caller, *, nth: int, most_nusd: int, least_nusd: int
    ) -> Ticket | None:
        """Reserve more for a request that runs; None where a budget has too little left.

        Parameters
        ----------
        nth
            Tells what is added to one request apart.
        """
        scopes = self._limited(caller)
        terms = _Terms(most_nusd=most_nusd, least_nusd=least_nusd, more=True)
        # Of money alone: what more it takes of a rate is settled when it is known.
        claims = tuple(
            [
                self._claim(scope, Allowance(budgets=each.budgets), terms)
                for scope, each in scopes
                if each.budgets
            ]
        )
        try:
            granted = await self._take(f"{request.decision_id}.{nth}", claims)
        except (RateLimitedError, StoreUnavailableError):
            return None
        return None if isinstance(granted, Refusal) else granted

    async def settle(
        self, ticket: Ticket, *, tokens: int, cost_nusd: int, first: bool = True
    ) -> None:
        """Replace the claims of a ticket by what the request used.

        Parameters
        ----------
        first
            Where one request has several tickets, only the first one is charged; what a model's
            own limit counts is in whichever claims it.

        Raises
        ------
        StoreError
            Calling again is safe.
        """
        await self.counters.settle(
            ticket.request_id,
            [
                Settlement(
                    scope=claim.scope,
                    tokens=tokens if first or claim.scope.kind is ScopeKind.MODEL else 0,
                    cost_nusd=cost_nusd if first else 0,
                    budgets=claim.budgets,
                    tokens_per_minute=claim.tokens_per_minute,
                )
                for claim in ticket.claims
            ],
        )
        for claim, standing in zip(ticket.claims, ticket.standings, strict=True):
            self._book(claim, cost_nusd if first else 0, standing.granted_nusd)

    def has_budget(self, caller: Caller) -> bool:
        """Return whether any budget has to pay for a caller's requests."""
        return self._known(caller).has_budget

    def unpayable(self, request: RouteRequest, candidates: Iterable[ModelSpec]) -> dict[str, str]:
        """Return the models that no budget can pay for, and why; others than candidates too."""
        extras = extras_of(request.fields)
        if not extras:
            return self._without_price()
        found = {spec.model_id: unpayable(spec, extras) for spec in candidates}
        return {model_id: why for model_id, why in found.items() if why is not None}

    def _without_price(self) -> dict[str, str]:
        if self._unpriced is None:
            found = {model_id: unpayable(spec, ()) for model_id, spec in self.specs.items()}
            self._unpriced = {key: why for key, why in found.items() if why is not None}
        return self._unpriced

    def bid(
        self, request: RouteRequest, decision: Decision, model_id: str, *, has_budget: bool = True
    ) -> Bid:
        """Return what a request may use with a model.

        Raises
        ------
        ForbiddenError
            If a budget would have to pay for a model without a price.
        """
        spec = self.specs[model_id]
        if not has_budget:
            return expected(request, decision, spec)
        extras = extras_of(request.fields)
        why = unpayable(spec, extras)
        if why is not None:
            raise ForbiddenError(
                f"the model {model_id!r} cannot be used: {why}",
                code="model_without_price",
                param="model",
            )
        return bid_for(request, decision, spec, extras)

    def at_once(self, caller: Caller) -> int | None:
        """Return how many requests of a caller may run at once; None where nothing limits it."""
        least: int | None = None
        for scope, allowance in self._limited(caller):
            limit = allowance.limits.concurrent_requests
            if limit is None or scope.kind is ScopeKind.GATEWAY:
                continue
            if least is None or limit < least:
                least = limit
        return least

    async def charge(self, caller: Caller) -> None:
        """Count a request that was no good for the limits of requests per minute.

        Raises
        ------
        RateLimitedError
            If that was one too many.
        """
        claims = tuple(
            [
                Claim(scope=scope, requests_per_minute=allowance.limits.requests_per_minute)
                for scope, allowance in self._limited(caller)
                if allowance.limits.requests_per_minute is not None
            ]
        )
        if not claims:
            return
        charge_id = new_id("bad-")
        try:
            granted = await self.counters.admit(charge_id, claims, lifetime_s=self.lifetime_s)
            if not isinstance(granted, Refusal):
                await self.counters.settle(
                    charge_id,
                    [Settlement(scope=claim.scope, tokens=0, cost_nusd=0) for claim in claims],
                )
        except StoreError:
            return  # the request is refused anyway
        if isinstance(granted, Refusal):
            self.on_refusal(granted)
            raise rate_limited(granted)

    async def pressure(self, caller: Caller) -> Pressure | None:
        """Return the hardest pressed budget that degrades, None while none is.

        What this process knows counts: the latest answers of the store, and what was settled
        since. The store is asked only about scopes that no request of this process claimed yet.
        """
        worst: Pressure | None = None
        for scope, allowance in self._scopes(caller):
            for budget in allowance.budgets:
                if budget.on_low is not OnLow.DEGRADE:
                    continue
                share = await self._spent_share(scope, allowance, budget)
                over = (share - budget.degrade_from) / max(1 - budget.degrade_from, 1e-9)
                step = min(int(over * DEGRADE_STEPS) + 1, DEGRADE_STEPS) if over >= 0 else 0
                if step and (worst is None or step > worst.step):
                    worst = Pressure(scope=scope, share=share, step=step)
        return worst

    async def standings(self, caller: Caller) -> tuple[Standing, ...]:
        """Return where every limit of a caller stands.

        Raises
        ------
        StoreUnavailableError
        """
        claims = [self._claim(scope, each, _NOTHING) for scope, each in self._scopes(caller)]
        return await self._standing([claim for claim in claims if binds(claim)])

    async def _standing(self, claims: Sequence[Claim]) -> tuple[Standing, ...]:
        try:
            return await self.counters.standing(claims)
        except StoreError as error:
            raise StoreUnavailableError(
                "limits and budgets cannot be read at the moment; try again",
                retry_after_s=_RETRY_AFTER_S,
            ) from error

    async def own_standings(self, callers: Iterable[Caller]) -> tuple[Standing, ...]:
        """Return where the limits of each caller's own key stand, in the order of the callers.

        Raises
        ------
        StoreUnavailableError
        """
        claims = [
            self._claim(Scope(ScopeKind.KEY, each.key_id), self.allowances.of_key(each), _NOTHING)
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
                    self._limit_now(Period(each.period_id.partition(":")[0]), each.limit_nusd)
                    for each in budgets
                ),
            )
            for scope, budgets in self._budgets.items()
        ]
        return await self.counters.standing(claims) if claims else ()

    def _note_budgets(self, claims: Iterable[Claim]) -> None:
        for claim in claims:
            if claim.budgets and (
                claim.scope in self._budgets or len(self._budgets) < _MAX_SHOWN_BUDGETS
            ):
                self._budgets[claim.scope] = claim.budgets

    async def _spent_share(self, scope: Scope, allowance: Allowance, budget: Budget) -> float:
        wanted = self._budget_limit(budget)
        share = _share_of(wanted, self._seen.get(scope))
        if share is None:  # not met yet, or another budget by now
            try:
                self._remember(
                    await self.counters.standing([self._claim(scope, allowance, _NOTHING)])
                )
            except StoreError:
                return 0.0  # admission will say what has to be said
            share = _share_of(wanted, self._seen[scope])
        return share or 0.0

    def _remember(self, standings: tuple[Standing, ...]) -> None:
        for standing in standings:
            self._seen[standing.scope] = standing
            self._seen.move_to_end(standing.scope)
        while len(self._seen) > _MAX_REMEMBERED:
            self._seen.popitem(last=False)

    def _book(self, claim: Claim, cost_nusd: int, granted_nusd: int) -> None:
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

    def _scopes(self, caller: Caller) -> Iterator[tuple[Scope, Allowance]]:
        """Yield the scopes that a caller's requests count for, the narrowest first."""
        yield Scope(ScopeKind.KEY, caller.key_id), self.allowances.of_key(caller)
        if caller.team is not None:
            yield (
                Scope(ScopeKind.TEAM, caller.team),
                self.allowances.teams.get(caller.team, UNLIMITED),
            )
        yield GATEWAY, self.allowances.gateway

    async def _take(self, request_id: str, claims: tuple[Claim, ...]) -> Ticket | Refusal:
        """Claim all or nothing; only the refusal of a budget is returned."""
        try:
            granted = await self.counters.admit(request_id, claims, lifetime_s=self.lifetime_s)
        except StoreError as error:
            raise StoreUnavailableError(
                "limits and budgets cannot be checked at the moment; try again",
                retry_after_s=_RETRY_AFTER_S,
            ) from error
        if isinstance(granted, Refusal):
            self.on_refusal(granted)
            if granted.resource is Resource.BUDGET:
                return granted
            raise rate_limited(granted)
        # Nobody else needs to be followed: only budgets that degrade are asked about in advance.
        self._note_budgets(claims)
        if self._seen:
            self._remember(tuple(each for each in granted if each.scope in self._seen))
        return Ticket(request_id=request_id, claims=claims, standings=granted)

    def _limited(self, caller: Caller) -> tuple[tuple[Scope, Allowance], ...]:
        """Return the scopes of a caller that anything limits; the guard hands out callers again."""
        return self._known(caller).scopes

    def _known(self, caller: Caller) -> "_Limited":
        known = self._callers.get(caller.key_id)
        if known is not None and known.caller is caller:
            return known
        scopes = tuple(each for each in self._scopes(caller) if each[1] != UNLIMITED)
        has_budget = any(allowance.budgets for _, allowance in scopes)
        if len(self._callers) >= _MAX_CALLERS:
            self._callers.clear()
        self._callers[caller.key_id] = known = _Limited(caller, scopes, has_budget)
        return known

    def _claim(self, scope: Scope, allowance: Allowance, terms: _Terms) -> Claim:
        limits = allowance.limits
        return Claim(
            scope=scope,
            requests_per_minute=None if terms.more else limits.requests_per_minute,
            tokens_per_minute=limits.tokens_per_minute,
            concurrent_requests=None if terms.more else limits.concurrent_requests,
            budgets=tuple([self._budget_limit(budget) for budget in allowance.budgets]),
            tokens=terms.tokens,
            reserve_nusd=terms.most_nusd,
            least_nusd=terms.least_nusd,
            more=terms.more,
        )

    def _budget_limit(self, budget: Budget) -> BudgetLimit:
        return self._limit_now(budget.period, budget.limit_nusd)

    def _limit_now(self, period: Period, limit_nusd: int) -> BudgetLimit:
        now = self.now()
        period_id, since, ends_at = self._periods.get(period, ("", 0.0, 0.0))
        # A clock that was ahead for a moment must not keep all spending in the period after.
        if not since <= now < ends_at:
            period_id, ends_at = _period(period, now)
            self._periods[period] = period_id, now, ends_at
        return BudgetLimit(period_id=period_id, limit_nusd=limit_nusd, ends_in_s=ends_at - now)


def _share_of(budget: BudgetLimit, standing: Standing | None) -> float | None:
    """Return how much of a budget is spent and reserved; None where that is not known."""
    for each in () if standing is None else standing.budgets:
        if each.period_id == budget.period_id and each.limit_nusd == budget.limit_nusd:
            return (each.spent_nusd + each.reserved_nusd) / each.limit_nusd
    return None


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
