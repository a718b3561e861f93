"""Best effort for requests: which tier of its policy takes one, and what became of it."""

import logging
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from app.gateway.deployments.tier_load import TierLoad
from app.gateway.load.best_effort import BestEffort, Effort
from app.gateway.load.load_price import FITTED
from app.gateway.policy import Policy
from app.gateway.request import RouteRequest
from app.outcome import TierTold
from routers.decision.switching import Scarcity
from routers.decisions import Decision, Reason

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TierChoice:
    """The tier that a request was given.

    Attributes
    ----------
    deadline_s
        Within which its answer is to be whole, in seconds from the request on.
    in_force
        The tier in force then, from 0, the highest.
    """

    model_id: str
    effort: Effort
    deadline_s: float
    in_force: int = 0

    @property
    def told(self) -> str:
        """What clients are told: the tier from 1 on, and the wait that is expected."""
        late = "; late" if self.effort.late else ""
        return f"{self.effort.tier + 1}; wait-ms={self.effort.expected.wait_s * 1e3:.0f}{late}"

    @property
    def recorded(self) -> TierTold:
        """What is kept of it."""
        return TierTold(self.effort.tier + 1, self.in_force + 1, self.deadline_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class TierChoices:
    """Choose tiers, for the policies that have some.

    Attributes
    ----------
    policies
        By name, how each chooses; it follows the load of its tiers.
    loads
        By model, the load of every tier: policies that share a model share it.
    on_ended
        Told of every answer: policy, model, and whether it was in time.
    """

    policies: Mapping[str, BestEffort] = field(default_factory=dict)
    loads: Mapping[str, TierLoad] = field(default_factory=dict)
    on_ended: Callable[[str, str, bool], None] = lambda _policy, _model_id, _in_time: None

    @classmethod
    def of(
        cls, policies: Iterable[Policy], on_ended: Callable[[str, str, bool], None]
    ) -> "TierChoices":
        """Return how the policies of a configuration choose."""
        loads: dict[str, TierLoad] = {}
        efforts = {}
        for policy in policies:
            rule = policy.best_effort
            if rule is None:
                continue
            usual = {spec.model_id: spec.usual_latency_s or 0.0 for spec in policy.candidates}
            for model_id in rule.tiers:
                loads.setdefault(model_id, TierLoad(usual_s=usual[model_id]))
            efforts[policy.name] = BestEffort(
                tiers=rule.tiers,
                loads=tuple(loads[model_id] for model_id in rule.tiers),
                deadline_s=rule.deadline_s,
                prices=FITTED(len(rule.tiers)) if rule.learned else None,
                on_change=_Told(policy.name, rule.tiers),
            )
        return cls(policies=efforts, loads=loads, on_ended=on_ended)

    def choose(
        self,
        request: RouteRequest,
        decision: Decision,
        *,
        now: float,
        passed_s: float,
    ) -> tuple[Decision, TierChoice | None]:
        """Return a decision for the tier that takes the request; as it is where none may.

        Nothing counts before `settled`.

        Parameters
        ----------
        passed_s
            How long ago the request came.
        """
        policy = request.policy
        assert policy is not None  # noqa: S101  (it has the tiers)
        best_effort = self.policies[policy.name]
        number = {model_id: tier for tier, model_id in enumerate(best_effort.tiers)}
        ranked = [
            number[model_id]
            for model_id in (decision.model_id, *decision.fallbacks)
            if model_id in number
        ]
        if not ranked:
            return decision, None
        values = None if best_effort.prices is None else _values(decision, best_effort.tiers)
        # A client that sets the knob, or demands a quality, has an order of its own.
        order = ranked if request.objective_param is not None else sorted(ranked)
        effort = best_effort.choose(
            now,
            deadline_s=request.deadline_s,
            passed_s=passed_s,
            order=order,
            values=values,
        )
        model_id = best_effort.tiers[effort.tier]
        deadline_s = request.deadline_s or best_effort.deadline_s
        choice = TierChoice(model_id, effort, deadline_s, best_effort.tier)
        # Where it fails there is less time left: the lower tiers come next.
        others = [each for each in sorted(ranked) if each > effort.tier]
        others += [each for each in sorted(ranked, reverse=True) if each < effort.tier]
        rest = [each for each in (decision.model_id, *decision.fallbacks) if each not in number]
        return replace(
            decision,
            model_id=model_id,
            fallbacks=(*(best_effort.tiers[each] for each in others), *rest),
            reason=Reason.BEST_EFFORT,
        ), choice

    def scarcity(
        self,
        request: RouteRequest,
        decision: Decision,
        choice: TierChoice,
        model_id: str,
        *,
        now: float,
        passed_s: float,
    ) -> Scarcity:
        """Return what the load says of a conversation that is on a model.

        It leaves a model that is no tier, or is not expected to be in time. Else the order of the
        tiers decides, or where predictions are weighed, they with the load's price.

        Parameters
        ----------
        decision, choice
            What the request was given.
        passed_s
            How long ago it came.
        """
        best_effort = self.policies[request.policy_name]
        if model_id not in best_effort.tiers:
            return Scarcity(stays=False)
        tier, left_s = best_effort.tiers.index(model_id), choice.deadline_s - passed_s
        effort = best_effort.at(tier, now, left_s=left_s)
        if not best_effort.is_in_time(effort, left_s=left_s):
            return Scarcity(stays=False)
        if best_effort.prices is None and request.objective_param is None:
            return Scarcity(stays=best_effort.keeps(tier, choice.effort))
        rate = decision.usd_per_quality
        if rate is None or not math.isfinite(rate):
            return Scarcity(stays=None)
        here, there = (best_effort.price(each, left_s=left_s) for each in (effort, choice.effort))
        return Scarcity(stays=None, usd=rate * (here - there))

    def settled(
        self,
        request: RouteRequest,
        choice: TierChoice,
        model_id: str,
        *,
        now: float,
        passed_s: float,
        counts: bool,
    ) -> TierChoice | None:
        """Return the tier that a request goes to; None where its conversation is on none of them.

        Parameters
        ----------
        model_id
            Which model takes it, its conversation heeded.
        counts
            Whether it is to be answered, and not decided alone.
        """
        best_effort = self.policies[request.policy_name]
        effort = choice.effort
        if model_id != choice.model_id:
            if model_id not in best_effort.tiers:
                return None
            tier = best_effort.tiers.index(model_id)
            effort = best_effort.at(tier, now, left_s=choice.deadline_s - passed_s)
        if counts:
            best_effort.went(effort, now)
        return TierChoice(model_id, effort, choice.deadline_s, best_effort.tier)

    def ended(self, policy_name: str, choice: TierChoice, took_s: float) -> None:
        """Note how long an answer took in all."""
        self.on_ended(policy_name, choice.model_id, took_s <= choice.deadline_s)


def may_be_tiered(request: RouteRequest, decision: Decision) -> bool:
    """Return whether a tier is chosen for a request of a policy that has some.

    Not for a model that is named, for several calls, or where a request limits the time itself and
    nobody keeps to that: then whoever is predicted to be late by least answers.
    """
    return (
        request.pinned_model_id is None
        and request.chain is None
        and decision.reason is not Reason.LATENCY_UNMET
    )


class _Told:
    """Says in the log that the tier in force of a policy has changed."""

    def __init__(self, policy_name: str, tiers: tuple[str, ...]) -> None:
        self._policy_name, self._tiers = policy_name, tiers

    def __call__(self, before: int, after: int) -> None:
        """Say so."""
        _log.log(
            logging.WARNING if after > before else logging.INFO,
            "best effort steps down" if after > before else "best effort rises again",
            extra={
                "fields": {
                    "policy": self._policy_name,
                    "tier": after + 1,
                    "model": self._tiers[after],
                    "before": self._tiers[before],
                }
            },
        )


def _values(decision: Decision, tiers: tuple[str, ...]) -> list[float] | None:
    """Return what each tier is worth for a request, in quality; None where cost alone counts.

    As the knob has it: quality less cost at its rate. By an objective without a rate, or without
    predictions, the order of the tiers decides.
    """
    rate = decision.usd_per_quality
    if rate is None or rate <= 0:
        return None
    values = []
    for model_id in tiers:
        each = decision.estimate(model_id)
        if each is None or each.quality is None:
            return None
        cost = 0.0 if math.isinf(rate) else each.weighed_usd
        values.append(-math.inf if cost is None else each.quality - each.penalty - cost / rate)
    return values
