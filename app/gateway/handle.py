"""What happens to one request, top to bottom: decide, dispatch, account."""

from collections.abc import Callable
from dataclasses import dataclass

from app.gateway.decide import Decider
from app.gateway.dispatch import Dispatcher, OpenAnswer
from app.gateway.ledger import LedgerEntry
from app.gateway.request import RouteRequest
from app.gateway.score import Scorer
from app.types import Outcome
from routers.types import Decision, Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """The orchestrator; everything it needs is handed in."""

    decider: Decider
    scorer: Scorer
    dispatcher: Dispatcher
    record: Callable[[Outcome], None]
    """Takes the outcome of every request that got as far as a decision."""
    clock: Callable[[], float]
    config_version: str
    """Told as the policy version of requests that no policy decides."""

    def open_entry(self, request: RouteRequest, *, started: float) -> LedgerEntry:
        """Open the account of a request."""
        return LedgerEntry(
            clock=self.clock,
            request=request,
            policy_version=self.config_version
            if request.policy is None
            else request.policy.version,
            started=started,
        )

    async def decide(self, request: RouteRequest, entry: LedgerEntry) -> Decision:
        """Decide which model takes the request, and note it in the entry.

        Raises
        ------
        NoEligibleModelError
            If no candidate passes the hard constraints.
        """
        began = self.clock()
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
            scorer_call = await self.scorer.ask(request, request.policy)
            if scorer_call is not None:
                entry.scored(scorer_call)
            decision = await self.decider.decide(request, request.policy, scorer_call=scorer_call)
        entry.decide_s = self.clock() - began
        entry.decision = decision
        return decision

    async def open_answer(self, request: RouteRequest, entry: LedgerEntry) -> OpenAnswer:
        """Decide and call models until one begins to answer.

        Raises
        ------
        NoEligibleModelError, UpstreamRejectedError, AllAttemptsFailedError
        """
        decision = await self.decide(request, entry)
        model_ids: tuple[str, ...] = (decision.model_id,)
        hedge_after_s = None
        policy = request.policy
        if request.fallback and policy is not None and not request.locked:
            model_ids += decision.fallbacks
            model_ids = model_ids[: policy.max_attempts]
            if policy.hedge_after_s is not None and _may_hedge(request, decision, model_ids):
                hedge_after_s = policy.hedge_after_s
        return await self.dispatcher.open(request, model_ids, entry, hedge_after_s=hedge_after_s)


def _may_hedge(request: RouteRequest, decision: Decision, model_ids: tuple[str, ...]) -> bool:
    """Return whether any two of the models together stay within what the request may cost."""
    if request.max_cost_usd is None:
        return True
    estimates = [decision.estimate(model_id) for model_id in model_ids]
    upper = [each.cost_usd_upper for each in estimates if each is not None]
    known = [cost for cost in upper if cost is not None]
    return len(known) == len(model_ids) and sum(sorted(known)[-2:]) <= request.max_cost_usd
