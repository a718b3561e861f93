"""Whether a conversation stays on its model: what a switch gains against what it costs.

A provider keeps the prefix of a conversation in its cache for some minutes and bills it at a
fraction of the price. Another model has to read everything anew, so the router's choice for the
newest turn alone is worth following only if it gains more than that.
"""

import math
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import assert_never

from routers.decision.dominance import TIE
from routers.decisions import CandidateEstimate, Decision, Exclusion, Reason
from routers.models import Prices
from routers.objectives import (
    CostQuality,
    MaxQualityLoss,
    MinQuality,
    Objective,
    StrongThreshold,
    UsdPerQuality,
)


class SessionState(StrEnum):
    """What happened to the conversation's model; a header."""

    INITIALIZE = "initialize"
    RETAIN = "retain"
    SWITCH = "switch"


class SessionReason(StrEnum):
    """Why a conversation stayed on its model or left it; a header and a metric label."""

    INITIALIZE = "initialize"
    """No earlier turn is known, so there is nothing to stay on."""
    UNKNOWN_ORIGIN = "unknown_origin"
    """The history binds the conversation to the model that wrote it, but nothing tells which."""
    STORE_UNAVAILABLE = "store_unavailable"
    """The store of sessions did not answer; decided as if this were the first turn."""
    UNCHANGED = "unchanged"
    """The router alone would have chosen the same model again."""
    RETAIN = "retain"
    """The gain would not have been worth the switch."""
    LOCKED_TOOLS = "locked_tools"
    """Tool calls are open: their results go to the model that asked for them."""
    LOCKED_REASONING = "locked_reasoning"
    """The history holds signed or encrypted reasoning, which other models refuse."""
    LOCKED_RESPONSE_ID = "locked_response_id"
    """`previous_response_id` points into the provider's own memory."""
    SWITCH = "switch"
    """The gain was worth the switch."""
    STALLED = "stalled"
    """The task did not get on, and a better model goes on with it."""
    MOVED_INELIGIBLE = "moved_ineligible"
    """The old model may not serve this request (context, capability, price, not allowed)."""
    MOVED_UNHEALTHY = "moved_unhealthy"
    """The old model was failing or at its limit, before or during this request."""
    OFF = "off"
    """The request or its policy wants no stickiness."""

    @property
    def state(self) -> SessionState | None:
        """What happened to the conversation's model; None where that was not looked at."""
        return _STATES.get(self)


_STATES = {
    SessionReason.INITIALIZE: SessionState.INITIALIZE,
    SessionReason.UNKNOWN_ORIGIN: SessionState.INITIALIZE,
    SessionReason.STORE_UNAVAILABLE: SessionState.INITIALIZE,
    SessionReason.UNCHANGED: SessionState.RETAIN,
    SessionReason.RETAIN: SessionState.RETAIN,
    SessionReason.LOCKED_TOOLS: SessionState.RETAIN,
    SessionReason.LOCKED_REASONING: SessionState.RETAIN,
    SessionReason.LOCKED_RESPONSE_ID: SessionState.RETAIN,
    SessionReason.SWITCH: SessionState.SWITCH,
    SessionReason.STALLED: SessionState.SWITCH,
    SessionReason.MOVED_INELIGIBLE: SessionState.SWITCH,
    SessionReason.MOVED_UNHEALTHY: SessionState.SWITCH,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchRule:
    """What a switch has to overcome.

    Attributes
    ----------
    cache_lifetime_s
        How long after its last use a provider's prefix cache may still be warm; 0 says that
        there is none.
    margin_usd
        What a switch has to gain on top of the cache it loses.
    """

    cache_lifetime_s: float = 300.0
    margin_usd: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LastTurn:
    """Where a conversation stands: who answered last, how much it read, how long ago."""

    model_id: str
    prefix_tokens: int
    idle_s: float


@dataclass(frozen=True, slots=True)
class Scarcity:
    """What the load says of a conversation's model, where load has a say.

    Attributes
    ----------
    stays
        Whether it is kept, whatever that gains or costs; None: as gain and cost say.
    usd
        How much dearer the load makes staying than leaving, in US dollars.
    """

    stays: bool | None
    usd: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A decision with the conversation taken into account.

    `gain_usd` (infinite where an objective would be missed by staying) and `switch_cost_usd` are
    None where they were not weighed.
    """

    decision: Decision
    reason: SessionReason
    previous_model_id: str | None = None
    gain_usd: float | None = None
    switch_cost_usd: float | None = None


def weigh(
    decision: Decision,
    last: LastTurn,
    *,
    objective: Objective,
    prices: Prices | None,
    rule: SwitchRule,
    lock: SessionReason | None = None,
    stalled: bool = False,
    scarcity: Scarcity | None = None,
) -> Verdict:
    """Keep a conversation on its model unless leaving it is worth more than it costs.

    Hard constraints come first: a model that the decision excluded is never stayed on. Health is
    no hard constraint: a lock holds even on a model that is failing, as no other can go on. Where
    no model is predicted to be in time, nothing but the time counts.

    Parameters
    ----------
    decision
        What the router chose for this turn alone.
    prices
        Those of the model the conversation is on; None if it is no longer known.
    lock
        What binds the conversation to its model, if anything.
    stalled
        Whether more went wrong in the task than when the conversation's model was decided: it goes
        to the one that was decided now if that is better, and so do results of tools.
    scarcity
        What the load says of staying; None: it has no say. A lock is stronger.

    Notes
    -----
    Switch if and only if gain > switch cost + margin. Where the objective has a finite rate, the
    gain is rate * (q_new - q_old) - (cost_new - cost_old). Where it has none, missing the
    objective counts as an infinite gain; as long as the old model meets it (the highest quality,
    the quality loss, the least quality, the threshold's strong model), the gain is the saving
    cost_old - cost_new, unknown costs counting as no saving. A decision without predictions, made
    because the router failed, is no reason to leave.

    The rule of comparing a gain with a switch cost, and the lock while tools run, are those of
    the vLLM Semantic Router's session-aware selection; here both sides are in US dollars, from
    prices and predictions, in place of hand-set weights.
    """
    old = last.model_id
    if decision.model_id == old:
        reason = lock or SessionReason.UNCHANGED
        kept = replace(decision, fallbacks=()) if lock else decision
        return Verdict(decision=kept, reason=reason, previous_model_id=old)
    estimate = decision.estimate(old)
    if estimate is None or estimate.exclusion not in _MAY_STAY:
        return _move(decision, old, SessionReason.MOVED_INELIGIBLE)
    if stalled and lock in _LOCKS_OF_TOOLS and _is_better(decision, estimate):
        return _move(decision, old, SessionReason.STALLED)
    if lock is not None:
        return Verdict(
            decision=replace(decision, model_id=old, fallbacks=(), reason=Reason.STICKY),
            reason=lock,
            previous_model_id=old,
        )
    if old not in decision.fallbacks or decision.reason is Reason.LATENCY_UNMET:
        unhealthy = old not in decision.fallbacks
        why = SessionReason.MOVED_UNHEALTHY if unhealthy else SessionReason.SWITCH
        return _move(decision, old, why)
    gain: float | None = None
    cost: float | None = None
    if scarcity is not None and scarcity.stays is not None:
        switch = not scarcity.stays
    else:
        gain = gain_usd(decision, old, objective=objective)
        if scarcity is not None:
            gain += scarcity.usd
        cost = switch_cost_usd(last, estimate, prices=prices, rule=rule)
        switch = gain > cost + rule.margin_usd
    others = (decision.model_id, *(each for each in decision.fallbacks if each != old))
    return Verdict(
        decision=decision
        if switch
        else replace(decision, model_id=old, fallbacks=others, reason=Reason.STICKY),
        reason=SessionReason.SWITCH if switch else SessionReason.RETAIN,
        previous_model_id=old,
        gain_usd=gain,
        switch_cost_usd=cost,
    )


def switch_cost_usd(
    last: LastTurn, estimate: CandidateEstimate, *, prices: Prices | None, rule: SwitchRule
) -> float:
    """Return what the cached prefix of the conversation would save on its model.

    The tokens of the prefix times (price of input - price of cached input); a client that
    shortened the conversation has no longer prefix than its prompt. The chance that the cache is
    still warm falls linearly from 1 at once to 0 after `cache_lifetime_s`. Where a price is
    unknown, no saving is counted.
    """
    if prices is None or prices.input_usd_per_mtok is None:
        return 0.0
    cached = prices.cached_input_usd_per_mtok
    if cached is None or not 0 <= last.idle_s < rule.cache_lifetime_s:
        return 0.0
    warm = 1 - last.idle_s / rule.cache_lifetime_s
    discount = max(prices.input_usd_per_mtok - cached, 0.0) / 1e6
    return min(last.prefix_tokens, estimate.input_tokens) * discount * warm


def gain_usd(decision: Decision, old_model_id: str, *, objective: Objective) -> float:
    """Return what the decision's choice is worth over the old model, in US dollars.

    Infinite where staying would miss the objective; see `weigh`.
    """
    new, old = decision.estimate(decision.model_id), decision.estimate(old_model_id)
    if new is None or old is None or new.quality is None or old.quality is None:
        return 0.0
    saving = 0.0 if old.cost_usd is None or new.cost_usd is None else old.cost_usd - new.cost_usd
    saving += old.surcharge_usd - new.surcharge_usd
    more = (new.quality - new.penalty) - (old.quality - old.penalty)
    if decision.usd_per_goal is not None:
        saving += decision.usd_per_goal * (old.penalty - new.penalty)
    match objective:
        case CostQuality() | UsdPerQuality():
            rate = decision.usd_per_quality
            if rate is not None and math.isfinite(rate):
                return rate * more + saving
            met = more <= TIE
        case MaxQualityLoss(loss):
            best = max(each.quality or 0.0 for each in decision.candidates if each.eligible)
            met = old.quality >= best - loss - TIE
        case MinQuality(quality):
            # Out of reach for both, the objective is the highest quality there is.
            met = old.quality >= quality - TIE or new.quality - old.quality <= TIE
        case StrongThreshold():
            met = old_model_id == objective.strong
        case _:
            assert_never(objective)
    return saving if met else math.inf


_MAY_STAY = (None, Exclusion.UNHEALTHY, Exclusion.DEMOTED)
_LOCKS_OF_TOOLS = (None, SessionReason.LOCKED_TOOLS)


def _is_better(decision: Decision, old: CandidateEstimate) -> bool:
    new = decision.estimate(decision.model_id)
    if new is None or new.quality is None or old.quality is None:
        return False
    return new.quality > old.quality


def _move(decision: Decision, old: str, reason: SessionReason) -> Verdict:
    return Verdict(decision=decision, reason=reason, previous_model_id=old)
