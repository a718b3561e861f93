"""From a request to its decision: budgets that run low, a scorer, the router, the conversation."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import msgspec

from app.concurrency.eager import Eager, on_its_way
from app.gateway.affinity import Affinity
from app.gateway.app_descriptions import AppDescriptions
from app.gateway.bill import settled_usage
from app.gateway.ceilings import Paces
from app.gateway.decide import AtTheMoment, Decider
from app.gateway.decision_models import DecisionModels, by_level, with_judged
from app.gateway.deployments.loading import Loading
from app.gateway.deployments.machines import Wait
from app.gateway.documents import by_theta
from app.gateway.forecasts import Latencies, with_latencies
from app.gateway.in_time import came, passed_s
from app.gateway.ledger import LedgerEntry
from app.gateway.load.load_bias import LoadBias
from app.gateway.load.tier_choice import TierChoice, TierChoices, may_be_tiered
from app.gateway.money.shares import Shares
from app.gateway.plan import begun
from app.gateway.policy import Policy
from app.gateway.request import RouteRequest
from app.gateway.reservations import Reservations
from app.gateway.score import Scorer
from app.gateway.served import session_reason
from app.gateway.tasks import (
    check_begun,
    described,
    may_be_recognised,
    with_recognised,
    without_task,
)
from routers.decision.switching import Scarcity
from routers.decisions import Decision, Reason
from routers.errors import NoEligibleModelError
from routers.request.layout import Description

_NOT_CAPPED: Mapping[str, str] = {}
_NO_WAITS: Mapping[str, Wait] = {}
_NO_SURCHARGES: Mapping[str, float] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Chooser:
    """Choose models for requests, and remember for their conversations who served."""

    decider: Decider
    scorer: Scorer
    reservations: Reservations
    affinity: Affinity
    clock: Callable[[], float]
    shares: Shares = field(default_factory=Shares)
    loads: Mapping[str, LoadBias] = field(default_factory=dict)
    """What the load of models costs, by policy."""
    tiers: TierChoices = field(default_factory=TierChoices)
    """Of policies with tiers."""
    apps: AppDescriptions
    decision_models: DecisionModels
    request_timeout_s: float = 600.0
    usual: Paces = field(default_factory=Paces)
    """What answers of models usually take."""
    latencies: Latencies | None = None
    """Predicts what models take at the moment; None predicts nothing."""
    loading: Loading | None = None
    """What loading models costs; None where none is loaded on demand."""

    async def decide(self, entry: LedgerEntry, *, alone: bool = False) -> Decision:
        """Decide which model takes the request, and note it in its account.

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
        asked = entry.request
        entry.request = await self._with_task(asked)
        if entry.request.objective is not None:
            entry.pressure = await self.reservations.admission.standings.pressure(asked.caller)
        request = _lowered(entry)
        policy = request.policy
        if policy is None:
            assert request.pinned_model_id is not None  # noqa: S101  (resolve() guarantees it)
            if alone:
                await self.reservations.question(request, entry)
            decision = Decision(
                model_id=request.pinned_model_id,
                fallbacks=(),
                candidates=(),
                reason=Reason.PINNED,
                usd_per_quality=None,
            )
        else:
            # A store in the network is asked while this thread is busy deciding.
            recalled = Eager(self.affinity.recall(request))
            try:
                await on_its_way(recalled)
                try:
                    decision = await self._route(request, policy, entry, alone=alone)
                except NoEligibleModelError:
                    if request.task is None or not request.task.recognised:
                        raise
                    # Nobody asked for the task that keeps models out.
                    entry.request = without_task(asked)
                    request = _lowered(entry)
                    decision = await self._decide(request, policy, entry, alone=alone)
                rule = request.workflow
                if rule is not None:
                    decision, entry.course = begun(
                        request,
                        decision,
                        policy,
                        rule,
                        left_s=self._left_s(request, entry),
                        degraded=entry.pressure is not None,
                        usual_s=self.usual.seconds,
                    )
                    check_begun(request, entry.course)
                entry.turn = await self.affinity.follow(
                    request,
                    decision,
                    recalled,
                    scarcity_of=None
                    if entry.tier is None
                    else partial(self._scarcity, entry, request, decision, entry.tier),
                )
            finally:
                recalled.close()
            if entry.turn is not None:
                decision = entry.turn.verdict.decision
            if entry.tier is not None:
                now = self.clock()
                entry.tier = self.tiers.settled(
                    request,
                    entry.tier,
                    decision.model_id,
                    now=now,
                    passed_s=passed_s(entry, now),
                    counts=not alone,
                )
            if not alone and request.pinned_model_id is None:
                self.shares.went(request.caller, (decision.model_id,))
        ended = self.clock()
        entry.decide_s, entry.decided_s = ended - began, began - came(entry)
        entry.decision = decision
        return decision

    def ended(self, entry: LedgerEntry) -> None:
        """Count the models that were called beside the decided one."""
        request, decision = entry.request, entry.decision
        if entry.tier is not None and entry.served is not None:
            self.tiers.ended(request.policy_name, entry.tier, self.clock() - entry.started)
        if decision is None or request.policy is None or request.pinned_model_id is not None:
            return
        called = [call.model_id for call in entry.calls if call.model_id != decision.model_id]
        if called:
            self.shares.went_too(request.caller, called)

    async def describe(self, request: RouteRequest) -> Description | None:
        """Return what the router takes a request to ask for, if it says so."""
        return await self.decider.describe(request)

    async def remember(self, entry: LedgerEntry) -> None:
        """Note which model answered, for the conversation's next turn."""
        if entry.turn is not None and entry.served is not None:
            await self.affinity.remember(
                entry.turn,
                served_model_id=entry.served.spec.model_id,
                usage=settled_usage(entry),
                reason=session_reason(entry),
            )

    async def _with_task(self, request: RouteRequest) -> RouteRequest:
        """Return a request with the task that its prompt asks for, where that is looked for."""
        policy = request.policy
        if policy is None or policy.recogniser is None or not may_be_recognised(request):
            return request
        found = await self.decider.recognise(request, policy.recogniser)
        return with_recognised(request, found)

    def _described(self, request: RouteRequest) -> RouteRequest:
        said = self.apps.of(request)
        return request if said is None else described(request, said)

    async def _route(
        self, request: RouteRequest, policy: Policy, entry: LedgerEntry, *, alone: bool
    ) -> Decision:
        """Ask the models that are asked before, if there are some, then the router."""
        scorer, describer = self.scorer.concerns(request, policy), None
        if policy.describes_apps is not None:
            describer = self.apps.concerns(request, policy)
        judges, price = False, None
        if policy.decision_model is not None and self.decision_models.concerns(policy, entry):
            entry.decision_model = self.decision_models.known(request, policy)
            judges = entry.decision_model is None
            price = self.decision_models.price(request, policy) if judges else None
        if scorer is not None or describer is not None or judges or alone:
            payable = await self.reservations.question(
                request, entry, scorer, describer, further=price
            )
            if scorer is not None:
                entry.judgement = await self.scorer.ask(request, policy, entry, payable=payable)
            if describer is not None:
                await self.apps.ask(request, policy, entry, payable=payable)
            if judges:
                entry.decision_model = await self.decision_models.ask(
                    request, policy, entry, payable=payable
                )
        return await self._decide(request, policy, entry, alone=alone)

    def _scarcity(
        self,
        entry: LedgerEntry,
        request: RouteRequest,
        decision: Decision,
        choice: TierChoice,
        model_id: str,
    ) -> Scarcity:
        now = self.clock()
        return self.tiers.scarcity(
            request, decision, choice, model_id, now=now, passed_s=passed_s(entry, now)
        )

    def _left_s(self, request: RouteRequest, entry: LedgerEntry) -> float:
        """Return what is left of the time that a request may take, its own limits included."""
        limit_s = None if request.latency is None else request.latency.first_s
        if limit_s is None or limit_s > self.request_timeout_s:
            limit_s = self.request_timeout_s
        return limit_s - passed_s(entry, self.clock())

    async def _decide(
        self, request: RouteRequest, policy: Policy, entry: LedgerEntry, *, alone: bool
    ) -> Decision:
        if policy.describes_apps is not None:
            request = self._described(request)
        if policy.decision_model is not None:
            request = with_judged(request, entry.decision_model)
        now: AtTheMoment | None = None
        if self.latencies is not None and (alone or request.explain or request.latency):
            now = partial(
                with_latencies,
                predicted=self.latencies,
                terms=request.latency,
                streams=request.stream,
                elapsed_s=self.clock() - came(entry),
                rank=entry.rank,
                wait=None if entry.outlook is None else entry.outlook.wait,
            )
        loading, waits = self.loading, _NO_WAITS
        if loading is not None:
            waits = loading.to_load([each.model_id for each in policy.candidates])
            if waits:
                usd_per_s = 0.0 if request.latency is None else request.latency.usd_per_s
                now = loading.beside(now, waits, usd_per_wait_s=usd_per_s)
        bias = self.loads.get(policy.name)
        if bias is not None:
            entry.near_limits = bias.surcharges(request)
        decision = await self.decider.decide(
            request,
            policy,
            now=now,
            surcharges_usd={each.model_id: each.usd for each in entry.near_limits}
            if entry.near_limits
            else _NO_SURCHARGES,
            judgement=entry.judgement,
            unpayable=self.reservations.unpayable(entry, policy),
            over_share=_NOT_CAPPED
            if request.pinned_model_id is not None
            else self.shares.exceeded(request.caller),
        )
        if policy.best_effort is not None and may_be_tiered(request, decision):
            at = self.clock()
            decision, entry.tier = self.tiers.choose(
                request, decision, now=at, passed_s=passed_s(entry, at)
            )
        if loading is not None and waits and not alone:
            loading.given_up.learn(decision, waits)
        if policy.decision_model is None:
            return decision
        return by_level(policy, entry, decision)


def _lowered(entry: LedgerEntry) -> RouteRequest:
    """Return an account's request by the knob that a budget's pressure leaves, which is noted."""
    request, objective = entry.request, entry.request.objective
    if objective is not None:
        if entry.pressure is None:
            request = by_theta(request)
        else:
            lower = entry.pressure.lower(objective)
            request = msgspec.structs.replace(request, objective=lower)
    entry.objective = request.objective
    return request
