"""Money and limits of one request, reserved before each paid call and settled after the last one.

The steps are the request's own: first the question to a scorer, then the decided model, then every
call beside or after it. What is reserved stands in the account, so that whatever happens to the
request, `settle` finds it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from app.calls import sum_known_usd
from app.concurrency.eager import Eager, all_of
from app.errors import ForbiddenError, RateLimitedError
from app.gateway.app_descriptions import price_of_description
from app.gateway.bill import due_nusd, settled_nusd, settled_tokens
from app.gateway.ledger import LedgerEntry
from app.gateway.money.admission import Admission
from app.gateway.money.tickets import Ticket, TooDearError
from app.gateway.policy import Policy
from app.gateway.refusals import budget_exceeded
from app.gateway.request import RouteRequest
from app.gateway.score import price_of_question
from app.keys import to_nusd
from app.stores.claims import Refusal, ScopeKind
from routers.decisions import Decision, Reason
from routers.models import ModelSpec

_NO_MODELS: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservations:
    """Reserve for requests, and settle what they used."""

    admission: Admission

    async def question(
        self,
        request: RouteRequest,
        entry: LedgerEntry,
        scorer: ModelSpec | None = None,
        describer: ModelSpec | None = None,
        *,
        further: tuple[int, float | None] | None = None,
    ) -> bool:
        """Reserve for questions to a scorer and a describer, or, without, for a decision alone.

        Parameters
        ----------
        further
            The tokens that one more question takes at most, and what they cost in US dollars.

        Returns whether they may be asked: no budget pays what has no price.

        Raises
        ------
        RateLimitedError, BudgetExceededError, StoreUnavailableError
        """
        tokens, nusd, payable = 0, None, True
        asked = [] if scorer is None else [price_of_question(request, scorer)]
        asked += [] if describer is None else [price_of_description(request, describer)]
        asked += [] if further is None else [further]
        if asked:
            tokens = sum(n for n, _ in asked)
            cost_usd = sum_known_usd([each_usd for _, each_usd in asked])
            nusd = None if cost_usd is None else to_nusd(cost_usd)
            if nusd is None and self.admission.has_budget(request.caller):
                payable, tokens = False, 0
        entry.ticket = await self.admission.admit_question(
            request, request.caller, tokens=tokens, nusd=nusd
        )
        if entry.ticket is not None:
            entry.standing = entry.ticket.shown
            entry.reserved_nusd = entry.ticket.granted_nusd
        return payable

    def unpayable(self, entry: LedgerEntry, policy: Policy) -> Mapping[str, str]:
        """Return the models that the caller's budget cannot pay for, and why."""
        if not self.admission.has_budget(entry.request.caller):
            return _NO_MODELS
        return self.admission.unpayable(entry.extras, policy.candidates)

    async def answer(
        self, request: RouteRequest, decision: Decision, entry: LedgerEntry
    ) -> Decision:
        """Reserve what the decided model may use; where it cannot be had, what the next one may.

        That is where the model is at its own limit, and where a budget has too little left for it:
        then the first of the others that needs no more takes its place. A fallback later on counts
        for the model that was decided.

        Raises
        ------
        RateLimitedError, BudgetExceededError, ForbiddenError, StoreUnavailableError
        """
        asked = entry.ticket
        while True:
            others = decision.fallbacks if request.fallback and not request.locked else ()
            try:
                ticket = await self.admission.admit(
                    request, decision, request.caller, asked=asked, extras=entry.extras
                )
            except RateLimitedError as error:
                if error.scope != ScopeKind.MODEL or not others:
                    raise
                decision = _instead(decision, others[0], Reason.FALLBACK)
            except TooDearError as error:
                bids = [
                    self.admission.bid(request, decision, model_id, extras=entry.extras)
                    for model_id in others
                ]
                left_nusd = error.refusal.left_nusd
                fitting = [bid.model_id for bid in bids if bid.least_nusd <= left_nusd]
                if not fitting:
                    needed_nusd = min(bid.least_nusd for bid in (error.bid, *bids))
                    raise budget_exceeded(error.refusal, needed_nusd=needed_nusd) from None
                decision = _instead(decision, fitting[0], Reason.BUDGET)
            else:
                _note(ticket, entry)
                return decision
            entry.decision = decision

    async def call(self, request: RouteRequest, model_id: str, entry: LedgerEntry) -> bool:
        """Return whether the budgets pay for asking a model, and bind its answer to what they do.

        What the decided model may cost is reserved. Others are asked after or beside it, and what
        has been sent until then is paid too: what is missing is reserved before.
        """
        decision, reserved_nusd = entry.decision, entry.reserved_nusd
        if decision is None or reserved_nusd is None:
            return True
        bid, decided = entry.bid, not entry.attempts and not entry.running
        if bid is None or bid.model_id != model_id:
            decided = False
            try:
                bid = self.admission.bid(request, decision, model_id)
            except ForbiddenError:
                return False
        left_nusd = reserved_nusd - due_nusd(entry)
        if left_nusd < bid.most_nusd and not decided:
            entry.n_added += 1
            more = await self.admission.add(
                request,
                request.caller,
                nth=entry.n_added,
                most_nusd=bid.most_nusd - left_nusd,
                least_nusd=max(0, bid.least_nusd - left_nusd),
            )
            if isinstance(more, Refusal):
                needed_nusd = max(0, bid.least_nusd - left_nusd)
                entry.unpaid = budget_exceeded(more, needed_nusd=needed_nusd)
            elif more is not None:
                entry.added.append(more)
                entry.add_reserved(more.granted_nusd)
                left_nusd += more.granted_nusd or 0
            if left_nusd < bid.least_nusd:
                return False
        limit = bid.limit_for(left_nusd)
        if limit is not None:
            cut = entry.max_output_tokens.get(model_id, limit)
            entry.max_output_tokens[model_id] = min(cut, limit)
            entry.cut_by_budget = True
        entry.running.begin(model_id, min(left_nusd, bid.most_nusd))
        return True

    async def settle(self, entry: LedgerEntry) -> None:
        """Replace what the request reserved by what it used; a second call changes nothing.

        All that was sent is paid, whoever was served by it; see `app.gateway.money.paid`.

        Raises
        ------
        StoreError
        """
        ticket, entry.ticket = entry.ticket, None
        if ticket is None:
            return
        tokens = settled_tokens(entry)
        cost_nusd = settled_nusd(entry)
        added, entry.added = entry.added, []
        settling = [Eager(self.admission.settle(ticket, tokens=tokens, cost_nusd=cost_nusd))]
        # All of them are on their way before one is waited for.
        settling += [
            Eager(self.admission.settle(each, tokens=tokens, cost_nusd=0, first=False))
            for each in added
        ]
        await all_of(settling)


def _note(ticket: Ticket | None, entry: LedgerEntry) -> None:
    if ticket is None:
        return
    entry.bid = ticket.bid
    entry.add_reserved(ticket.granted_nusd)
    if entry.ticket is None:
        entry.ticket, entry.standing = ticket, ticket.shown
    else:
        entry.added.append(ticket)


def _instead(decision: Decision, model_id: str, reason: Reason) -> Decision:
    """Return a decision for one of its fallbacks."""
    others = tuple(each for each in decision.fallbacks if each != model_id)
    return replace(decision, model_id=model_id, fallbacks=others, reason=reason)
