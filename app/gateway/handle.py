"""What happens to one request, top to bottom: decide, dispatch, account."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import msgspec

from app.errors import RateLimitedError
from app.gateway.admission import Admission
from app.gateway.affinity import Affinity
from app.gateway.begun import Begun, on_its_way
from app.gateway.cache import ResponseCache
from app.gateway.decide import Decider
from app.gateway.dispatch import Dispatcher, OpenAnswer
from app.gateway.ledger import NOTHING, Keeps, LedgerEntry
from app.gateway.paid import HiddenReasoning
from app.gateway.request import RouteRequest
from app.gateway.score import Scorer
from app.keys import to_nusd
from app.stores._base import ScopeKind
from app.telemetry.tracing import AskedFor, Headers, Tracer, UpstreamFacts
from app.types import Outcome
from routers.types import Decision, Reason


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
            reasoning=self.reasoning,
            trace=trace,
        )

    async def decide(self, request: RouteRequest, entry: LedgerEntry) -> Decision:
        """Decide which model takes the request, and note it in the entry.

        Raises
        ------
        NoEligibleModelError
            If no candidate passes the hard constraints.
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
                scorer_call = await self.scorer.ask(request, request.policy)
                if scorer_call is not None:
                    entry.scored(scorer_call)
                decision = await self.decider.decide(
                    request, request.policy, scorer_call=scorer_call
                )
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
        return await self.dispatcher.open(request, model_ids, entry, hedge_after_s=hedge_after_s)

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
        if entry.scorer_call is not None:
            cost_nusd += to_nusd(entry.scorer_call.cost_usd or 0.0)
        await self.admission.settle(ticket, tokens=tokens, cost_nusd=cost_nusd)

    async def _admit(
        self, request: RouteRequest, decision: Decision, entry: LedgerEntry
    ) -> Decision:
        """Claim what the decided model will use; where its own limit is reached, the next one's.

        A fallback later on counts for the model that was decided.
        """
        while True:
            try:
                entry.ticket = await self.admission.admit(request, decision, request.caller)
            except RateLimitedError as error:
                elsewhere = request.fallback and not request.locked and decision.fallbacks
                if error.scope != ScopeKind.MODEL or not elsewhere:
                    raise
                decision = replace(
                    decision,
                    model_id=decision.fallbacks[0],
                    fallbacks=decision.fallbacks[1:],
                    reason=Reason.FALLBACK,
                )
                entry.decision = decision
            else:
                entry.standing = None if entry.ticket is None else entry.ticket.shown
                return decision


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
