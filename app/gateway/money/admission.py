"""May this request be served now: rates, concurrency and money, claimed before and settled after.

What a request will use is not known when it comes; an estimate is claimed and, when the request
has ended, replaced by what it used. Scopes without any limit cost nothing: the store is not asked.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

from app.access.guard import Caller
from app.errors import ForbiddenError, RateLimitedError, StoreUnavailableError
from app.gateway.money.allowances import Allowance, Allowances
from app.gateway.money.bid import Bid, bid_for, expected
from app.gateway.money.claims import Claims, Terms
from app.gateway.money.standings import RETRY_AFTER_S, Standings
from app.gateway.money.surcharges import Extra, extras_of, unpayable
from app.gateway.money.tickets import Ticket, TooDearError
from app.gateway.refusals import budget_exceeded, rate_limited
from app.gateway.request import RouteRequest
from app.ids import new_id
from app.stores.base import Counters, StoreError
from app.stores.claims import Claim, Refusal, Resource, Scope, ScopeKind, Settlement
from routers.decisions import Decision
from routers.models import ModelSpec


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
    claims: Claims = field(init=False)
    standings: Standings = field(init=False)
    _unpriced: dict[str, str] | None = None

    def __post_init__(self) -> None:
        self.claims = Claims(allowances=self.allowances, now=self.now)
        self.standings = Standings(counters=self.counters, claims=self.claims)

    async def admit(
        self,
        request: RouteRequest,
        decision: Decision,
        caller: Caller,
        *,
        asked: Ticket | None = None,
        extras: tuple[Extra, ...] | None = None,
    ) -> Ticket | None:
        """Claim what the decided model may use; None where nothing is limited.

        Parameters
        ----------
        extras
            What of the request changes its price; None looks for it.
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
        scopes = self.claims.limited(caller)
        limited = _limited_model(self.specs.get(decision.model_id), decision)
        limits = self.allowances.models.get(limited)
        if limits is None and not scopes:
            return None
        has_budget = self.has_budget(caller)
        bid = self.bid(request, decision, decision.model_id, has_budget=has_budget, extras=extras)
        terms = Terms(tokens=bid.tokens, most_nusd=bid.most_nusd, least_nusd=bid.least_nusd)
        further = terms if asked is None else msgspec.structs.replace(terms, more=True)
        claims = [self.claims.claim(*scope, further) for scope in scopes]
        if limits is not None:
            model = Scope(ScopeKind.MODEL, limited)
            claims.append(self.claims.claim(model, Allowance(limits), terms))
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
        scopes = self.claims.limited(caller)
        terms = Terms(tokens=tokens, most_nusd=nusd or 0, least_nusd=nusd or 0)
        if nusd is None:
            scopes = tuple((scope, Allowance(each.limits)) for scope, each in scopes)
        if not scopes:
            return None
        claims = tuple([self.claims.claim(*scope, terms) for scope in scopes])
        granted = await self._take(request.decision_id, claims)
        if isinstance(granted, Refusal):
            raise budget_exceeded(granted, needed_nusd=nusd or 0)
        return granted

    async def add(
        self, request: RouteRequest, caller: Caller, *, nth: int, most_nusd: int, least_nusd: int
    ) -> Ticket | Refusal | None:
        """Reserve more for a request that runs, or return the refusal of a budget.

        None where limits or money cannot be counted at the moment.

        Parameters
        ----------
        nth
            Tells what is added to one request apart.
        """
        terms = Terms(most_nusd=most_nusd, least_nusd=least_nusd, more=True)
        # Of money alone: what more it takes of a rate is settled when it is known.
        budgeted = self.claims.known(caller).budgeted
        claims = tuple([self.claims.claim(*scope, terms) for scope in budgeted])
        try:
            return await self._take(f"{request.decision_id}.{nth}", claims)
        except (RateLimitedError, StoreUnavailableError):
            return None

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
            self.standings.booked(claim, cost_nusd if first else 0, standing.granted_nusd)

    def has_budget(self, caller: Caller) -> bool:
        """Return whether any budget has to pay for a caller's requests."""
        return self.claims.known(caller).has_budget

    def unpayable(
        self, extras: tuple[Extra, ...], candidates: Iterable[ModelSpec]
    ) -> dict[str, str]:
        """Return the models that no budget can pay for, and why; others than candidates too.

        Parameters
        ----------
        extras
            What of the request changes its price.
        """
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
        self,
        request: RouteRequest,
        decision: Decision,
        model_id: str,
        *,
        has_budget: bool = True,
        extras: tuple[Extra, ...] | None = None,
    ) -> Bid:
        """Return what a request may use with a model.

        Parameters
        ----------
        extras
            What of the request changes its price; None looks for it.

        Raises
        ------
        ForbiddenError
            If a budget would have to pay for a model without a price.
        """
        spec = self.specs[model_id]
        if not has_budget:
            return expected(request, decision, spec)
        if extras is None:
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
        for scope, allowance in self.claims.limited(caller):
            limit = allowance.limits.concurrent_requests
            if limit is None or scope.kind is ScopeKind.GATEWAY:
                continue
            if least is None or limit < least:
                least = limit
        return least

    async def charge(self, caller: Caller) -> None:
        """Count a request that nothing is decided for in the limits of requests per minute.

        Raises
        ------
        RateLimitedError
            If that was one too many.
        """
        claims = tuple(
            [
                Claim(scope=scope, requests_per_minute=allowance.limits.requests_per_minute)
                for scope, allowance in self.claims.limited(caller)
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
            return  # the request is refused anyway, or costs nothing
        if isinstance(granted, Refusal):
            self.on_refusal(granted)
            raise rate_limited(granted)

    async def _take(self, request_id: str, claims: tuple[Claim, ...]) -> Ticket | Refusal:
        """Claim all or nothing; only the refusal of a budget is returned."""
        try:
            granted = await self.counters.admit(request_id, claims, lifetime_s=self.lifetime_s)
        except StoreError as error:
            raise StoreUnavailableError(
                "limits and budgets cannot be checked at the moment; try again",
                retry_after_s=RETRY_AFTER_S,
            ) from error
        if isinstance(granted, Refusal):
            self.on_refusal(granted)
            if granted.resource is Resource.BUDGET:
                return granted
            raise rate_limited(granted)
        self.standings.claimed(claims, granted)
        return Ticket(request_id=request_id, claims=claims, standings=granted)


def _limited_model(spec: ModelSpec | None, decision: Decision) -> str:
    """Return whose limits hold for a decision: of a variant, those of its model."""
    return decision.model_id if spec is None else spec.variant_of or spec.model_id
