"""What is carried out for a request: a value, made of its decision."""

from dataclasses import dataclass, replace

from app.gateway.acceptors.base import Acceptor
from app.gateway.drafting import Drafting
from app.gateway.request import CascadeRule, Policy, RouteRequest
from routers.types import Capability, Decision, Reason


@dataclass(frozen=True, slots=True)
class FirstOf:
    """Try models one after the other; the first that begins to answer serves."""

    models: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Hedged:
    """As `FirstOf`, with the second model beside the first once that is silent for `after_s`."""

    models: tuple[str, ...]
    after_s: float


@dataclass(frozen=True, slots=True)
class Cascade:
    """Hold back the answers of `drafts`, one after the other, until one is accepted.

    Where none is, `last` answers, which nobody has to accept.
    """

    drafts: tuple[str, ...]
    last: FirstOf | Hedged
    acceptor: Acceptor

    @property
    def models(self) -> tuple[str, ...]:
        """All that may be called for an answer."""
        return (*self.drafts, *self.last.models)


Plan = FirstOf | Hedged | Cascade

_MEDIA = frozenset({Capability.VISION, Capability.AUDIO, Capability.VIDEO, Capability.FILE})
_NOT_TEXT = ("audio", "modalities")
"""Fields that ask for an answer that is more than text."""
_TEXT_ALONE = frozenset({b"null", b'["text"]'})


def plan_for(request: RouteRequest, decision: Decision, stages: tuple[str, ...] = ()) -> Plan:
    """Return how a request is answered.

    Fallbacks are candidates of the decision, so they passed its constraints (allowed models, cost
    limit) too. A request that is pinned, locked or wants none stays with the one model.

    Parameters
    ----------
    stages
        Of a cascade, cheapest first; empty where the request is answered without one. It begins
        with the decided model: what keeps a conversation on a dear model spares it the drafts.
    """
    policy = request.policy
    if policy is None or request.locked or not request.fallback:
        return FirstOf((decision.model_id,))
    models = (decision.model_id, *decision.fallbacks)
    left = _stages_from(decision.model_id, [each for each in stages if each in models])
    if len(left) < 2 or policy.cascade is None:
        return _first_of(request, decision, policy, models)
    others = tuple(each for each in decision.fallbacks if each not in stages)
    last = _first_of(request, decision, policy, (left[-1], *others))
    return Cascade(tuple(left[:-1]), last, policy.cascade.acceptor)


def _stages_from(model_id: str, stages: list[str]) -> list[str]:
    return stages[stages.index(model_id) :] if model_id in stages else []


def _first_of(
    request: RouteRequest, decision: Decision, policy: Policy, models: tuple[str, ...]
) -> FirstOf | Hedged:
    models = models[: policy.max_attempts]
    if (
        policy.hedge_after_s is None
        or request.repeated
        or len(models) == 1
        or not _may_cost(request, decision, models, n_together=2)
    ):
        return FirstOf(models)
    return Hedged(models, policy.hedge_after_s)


def _may_cost(
    request: RouteRequest, decision: Decision, models: tuple[str, ...], *, n_together: int
) -> bool:
    """Return whether any so many of the models stay within what the request may cost."""
    if request.max_cost_usd is None:
        return True
    estimates = [decision.estimate(model_id) for model_id in models]
    upper = [each.cost_usd_upper for each in estimates if each is not None]
    known = [cost for cost in upper if cost is not None]
    return len(known) == len(models) and sum(sorted(known)[-n_together:]) <= request.max_cost_usd


def begun(
    request: RouteRequest, decision: Decision, rule: CascadeRule
) -> tuple[Decision, Drafting]:
    """Return the decision that a cascade begins with, or the router's own where there is none."""
    models = (decision.model_id, *decision.fallbacks)
    stages = tuple(each for each in rule.stages if each in models)
    skipped = _why_no_cascade(request, decision, rule, stages)
    if skipped is not None:
        return decision, Drafting(skipped=skipped)
    others = tuple(each for each in models if each not in stages)
    first = replace(
        decision,
        model_id=stages[0],
        fallbacks=(*stages[1:], *others),
        reason=Reason.CASCADE,
        propensity=1.0,
    )
    return first, Drafting(stages=stages)


def _why_no_cascade(
    request: RouteRequest, decision: Decision, rule: CascadeRule, stages: tuple[str, ...]
) -> str | None:
    """Return in a word why one choice answers a request; None where the cascade takes it."""
    demand, fields = request.demand, request.fields
    reasons = {
        # The client says by itself how it wants to be answered.
        "knob": request.objective_param is not None,
        "no_fallback": request.pinned_model_id is not None
        or request.locked
        or not request.fallback,
        "one_stage": len(stages) < 2,
        "n": demand.n_answers > 1,
        # What they bring is for the model that called them.
        "tools": Capability.TOOLS in demand.capabilities,
        "modalities": any(
            fields.get(name, b"null").strip() not in _TEXT_ALONE for name in _NOT_TEXT
        ),
        "media": rule.acceptor.reads_text_only and bool(demand.capabilities & _MEDIA),
        "max_cost": not _may_cost(request, decision, stages, n_together=len(stages)),
    }
    return next((reason for reason, holds in reasons.items() if holds), None)
