"""What happens to one request, top to bottom: decide, dispatch, account."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import msgspec

from app.errors import ForbiddenError, RateLimitedError
from app.gateway.admission import Admission
from app.gateway.affinity import Affinity
from app.gateway.begun import Begun, on_its_way
from app.gateway.bid import cut_limit
from app.gateway.cache import ResponseCache
from app.gateway.decide import Decider
from app.gateway.dispatch import Dispatcher, OpenAnswer
from app.gateway.ledger import NOTHING, Keeps, LedgerEntry
from app.gateway.paid import HiddenReasoning
from app.gateway.refusals import budget_exceeded
from app.gateway.request import Policy, RouteRequest
from app.gateway.score import Scorer, price_of_question
from app.gateway.surcharges import extras_of
from app.gateway.tickets import Ticket, TooDearError
from app.keys import to_nusd
from app.stores.base import ScopeKind
from app.telemetry.tracing import AskedFor, Headers, Tracer, UpstreamFacts
from app.types import Outcome, ScorerCall
from routers.types import Decision, ModelSpec, Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """The orchestrator; everything it needs is handed in."""

    decider: Decider
    scorer: Scorer
    admission: Admission
    dispatcher: Dispatcher
    affinity: Affinity
    cache: ResponseCache
    record: Callable[[Outcome], None]
    """Takes the outcome of every request that got as far as a decision."""
    clock: Callable[[], float]
    config_version: str
    """Told as the policy version of requests that no policy decides."""
    keeps: Keeps = NOTHING
    reasoning: HiddenReasoning = field(default_factory=HiddenReasoning)
    tracer: Tracer | None = None
    upstreams: Mapping[str, UpstreamFacts] = field(default_factory=dict)
    """Told in traces."""

    def open_entry(
        self, request: RouteRequest, *, started: float, headers: Headers | None = None
    ) -> LedgerEntry:
        """Open the account of a request, and its trace.

        Parameters
        ----------
        headers
            Of the client, which may have begun the trace; without them there is none.
        """
        trace = None
        if self.tracer is not None and headers is not None:
            trace = self.tracer.start(
                AskedFor(
                    requested_model=request.requested_model,
                    policy=request.policy_name,
                    stream=request.stream,
                    max_output_tokens=request.demand.max_output_tokens,
                ),
                headers=headers,
                began_s=self.clock() - started,
                upstreams=self.upstreams,
            )
        return LedgerEntry(
            clock=self.clock,
            request=request,
            policy_version=self.config_version
            if request.policy is None
            else request.policy.version,
            started=started,
            keeps=self.keeps,
            extras=extras_of(request.fields),
            reasoning=self.reasoning,
            trace=trace,
        )

    async def decide(
        self, request: RouteRequest, entry: LedgerEntry, *, alone: bool = False
    ) -> Decision:
        """Decide which model takes the request, and note it in the entry.

        Nothing is paid before the request was admitted: where a scorer is asked, its question is.

        Parameters
        ----------
        alone
            Whether no answer follows, so that the decision itself counts for the caller's limits.

        Raises
        ------
        NoEligibleModelError
            If no candidate passes the hard constraints.
        RateLimitedError, BudgetExceededError, StoreUnavailableError
            If the question to a scorer, or the decision `alone`, is not admitted.
        """
        began = self.clock()
        if request.objective is not None:
            entry.pressure = await self.admission.pressure(request.caller)
            if entry.pressure is not None:
                request = msgspec.structs.replace(
                    request, objective=entry.pressure.lower(request.objective)
                )
        entry.objective = request.objective
        if request.policy is None:
            assert request.pinned_model_id is not None  # noqa: S101  (resolve() guarantees it)
            if alone:
                await self._admit_question(request, entry)
            decision = Decision(
                model_id=request.pinned_model_id,
                fallbacks=(),
                candidates=(),
                reason=Reason.PINNED,
                usd_per_quality=None,
            )
        else:
            # A store in the network is asked while this thread is busy deciding.
            recalled = Begun(self.affinity.recall(request))
            try:
                await on_its_way(recalled)
                decision = await self._decide(request, request.policy, entry, alone=alone)
                entry.turn = await self.affinity.follow(request, decision, recalled)
            finally:
                recalled.close()
            if entry.turn is not None:
                decision = entry.turn.verdict.decision
        entry.decide_s = self.clock() - began
        entry.decision = decision
        return decision

    async def remember(self, entry: LedgerEntry) -> None:
        """Note who answers the conversation; before the client can take its next turn."""
        if entry.turn is not None and entry.served is not None:
            await self.affinity.remember(
                entry.turn,
                served_model_id=entry.served.spec.model_id,
                usage=entry.settled_usage(),
            )

    async def open_answer(self, request: RouteRequest, entry: LedgerEntry) -> OpenAnswer:
        """Decide and call models until one begins to answer.

        Raises
        ------
        NoEligibleModelError, RateLimitedError, BudgetExceededError, StoreUnavailableError,
        UpstreamRejectedError, AllAttemptsFailedError
        """
        decision = await self._admit(request, await self.decide(request, entry), entry)
        model_ids, hedge_after_s = models_to_try(request, decision)
        if request.demand.max_output_tokens is not None:
            for model_id in model_ids:
                limit = cut_limit(request, self.admission.specs[model_id])
                if limit is not None:
                    entry.max_output_tokens[model_id] = limit
        return await self.dispatcher.open(
            request, model_ids, entry, hedge_after_s=hedge_after_s, afford=self._afford
        )

    async def settle(self, entry: LedgerEntry) -> None:
        """Replace what the request claimed by what it used; a second call changes nothing.

        All that was sent is paid, whoever was served by it; see `app.gateway.paid`.
        """
        ticket, entry.ticket = entry.ticket, None
        if ticket is None:
            return
        tokens = entry.settled_tokens()
        # Each part is rounded as the decision log rounds it, so that both add up to the same.
        cost_nusd = to_nusd(entry.cost_usd() or 0.0)
        scorer = entry.scorer_call
        if scorer is not None:
            cost_nusd += to_nusd(scorer.cost_usd or 0.0)
            if scorer.usage is not None:
                tokens += scorer.usage.input_tokens + scorer.usage.output_tokens
        settling = self.admission.settle(ticket, tokens=tokens, cost_nusd=cost_nusd)
        added, entry.added = entry.added, []
        if not added:
            await settling
            return
        await asyncio.gather(
            settling,
            *[
                self.admission.settle(each, tokens=tokens, cost_nusd=0, first=False)
                for each in added
            ],
        )

    async def _decide(
        self, request: RouteRequest, policy: Policy, entry: LedgerEntry, *, alone: bool
    ) -> Decision:
        """Ask the scorer if there is one, then the router."""
        scorer_call = None
        scorer = self.scorer.concerns(request, policy)
        if scorer is not None or alone:
            scorer_call = await self._admit_question(request, entry, scorer)
        if scorer is not None and scorer_call is None:
            scorer_call = await self.scorer.ask(request, policy, noted=entry.scored)
        unpayable = _NO_MODELS
        if self.admission.has_budget(request.caller):
            unpayable = self.admission.unpayable(request, policy.candidates)
        return await self.decider.decide(
            request, policy, scorer_call=scorer_call, unpayable=unpayable
        )

    async def _admit_question(
        self, request: RouteRequest, entry: LedgerEntry, scorer: ModelSpec | None = None
    ) -> ScorerCall | None:
        """Claim for the question to a scorer, or, without one, for a decision alone.

        Returns how the call failed before it was made: no budget pays what has no price.
        """
        tokens, nusd, failed = 0, None, None
        if scorer is not None:
            tokens, cost_usd = price_of_question(request, scorer)
            nusd = None if cost_usd is None else to_nusd(cost_usd)
            if nusd is None and self.admission.has_budget(request.caller):
                failed = ScorerCall(
                    model_id=scorer.model_id,
                    duration_s=0.0,
                    failure=Reason.ROUTER_ERROR,
                    error="model_without_price",
                )
                tokens = 0
        entry.ticket = await self.admission.admit_question(
            request, request.caller, tokens=tokens, nusd=nusd
        )
        if entry.ticket is not None:
            entry.standing = entry.ticket.shown
            entry.reserved_nusd = entry.ticket.granted_nusd
        return failed

    async def _admit(
        self, request: RouteRequest, decision: Decision, entry: LedgerEntry
    ) -> Decision:
        """Claim what the decided model may use; where it cannot be had, what the next one may.

        That is where the model is at its own limit, and where a budget has too little left for it:
        then the first of the others that needs no more takes its place. A fallback later on counts
        for the model that was decided.
        """
        asked = entry.ticket
        while True:
            others = decision.fallbacks if request.fallback and not request.locked else ()
            try:
                ticket = await self.admission.admit(request, decision, request.caller, asked=asked)
            except RateLimitedError as error:
                if error.scope != ScopeKind.MODEL or not others:
                    raise
                decision = _instead(decision, others[0], Reason.FALLBACK)
            except TooDearError as error:
                bids = [self.admission.bid(request, decision, model_id) for model_id in others]
                left_nusd = error.refusal.left_nusd
                fitting = [bid.model_id for bid in bids if bid.least_nusd <= left_nusd]
                if not fitting:
                    needed_nusd = min(bid.least_nusd for bid in (error.bid, *bids))
                    raise budget_exceeded(error.refusal, needed_nusd=needed_nusd) from None
                decision = _instead(decision, fitting[0], Reason.BUDGET)
            else:
                self._note_ticket(ticket, entry)
                return decision
            entry.decision = decision

    def _note_ticket(self, ticket: Ticket | None, entry: LedgerEntry) -> None:
        if ticket is None:
            return
        entry.bid = ticket.bid
        entry.add_reserved(ticket.granted_nusd)
        if entry.ticket is None:
            entry.ticket, entry.standing = ticket, ticket.shown
        else:
            entry.added.append(ticket)

    async def _afford(self, request: RouteRequest, model_id: str, entry: LedgerEntry) -> bool:
        """Return whether the budgets pay for asking a model, and bind its answer to what they do.

        What the decided model may cost is reserved. Others are asked after or beside it, and what
        has been sent until then is paid too: what is missing is reserved before.
        """
        decision, reserved_nusd = entry.decision, entry.reserved_nusd
        if decision is None or reserved_nusd is None:
            return True
        bid, decided = entry.bid, not entry.attempts and not entry.running_nusd
        if bid is None or bid.model_id != model_id:
            decided = False
            try:
                bid = self.admission.bid(request, decision, model_id)
            except ForbiddenError:
                return False
        left_nusd = reserved_nusd - entry.due_nusd
        if left_nusd < bid.most_nusd and not decided:
            entry.n_added += 1
            more = await self.admission.add(
                request,
                request.caller,
                nth=entry.n_added,
                most_nusd=bid.most_nusd - left_nusd,
                least_nusd=max(0, bid.least_nusd - left_nusd),
            )
            if more is not None:
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
        entry.running_nusd[model_id] = min(left_nusd, bid.most_nusd)
        return True


_NO_MODELS: Mapping[str, str] = {}


def _instead(decision: Decision, model_id: str, reason: Reason) -> Decision:
    """Return a decision for one of its fallbacks."""
    others = tuple(each for each in decision.fallbacks if each != model_id)
    return replace(decision, model_id=model_id, fallbacks=others, reason=reason)


def models_to_try(
    request: RouteRequest, decision: Decision
) -> tuple[tuple[str, ...], float | None]:
    """Return the models in order, and after how long the second is started beside the first.

    Fallbacks are candidates of the decision, so they passed its constraints (allowed models, cost
    limit) too. A request that is pinned, locked or wants none stays with the one model.
    """
    policy = request.policy
    if policy is None or request.locked or not request.fallback:
        return (decision.model_id,), None
    model_ids = (decision.model_id, *decision.fallbacks)[: policy.max_attempts]
    hedge_after_s = policy.hedge_after_s
    if hedge_after_s is not None and not _may_hedge(request, decision, model_ids):
        hedge_after_s = None
    return model_ids, hedge_after_s


def _may_hedge(request: RouteRequest, decision: Decision, model_ids: tuple[str, ...]) -> bool:
    """Return whether any two of the models together stay within what the request may cost."""
    if request.max_cost_usd is None:
        return True
    estimates = [decision.estimate(model_id) for model_id in model_ids]
    upper = [each.cost_usd_upper for each in estimates if each is not None]
    known = [cost for cost in upper if cost is not None]
    return len(known) == len(model_ids) and sum(sorted(known)[-2:]) <= request.max_cost_usd
