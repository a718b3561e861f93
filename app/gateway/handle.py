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
        if request.fallback and request.policy is not None:
            model_ids += decision.fallbacks
            model_ids = model_ids[: request.policy.max_attempts]
        return await self.dispatcher.open(request, model_ids, entry)
