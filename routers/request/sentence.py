"""Why a model was chosen, in one sentence that people read."""

from bisect import bisect
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from routers.decision.dominance import SEEN
from routers.decisions import CandidateEstimate, Decision, Reason
from routers.request.layout import DOMAINS, KINDS, LEVELS, Description

_LEAST_KIND, _LEAST_DOMAIN = 0.35, 0.4
"""Chances below which a kind or a domain is not worth naming."""

_KIND_WORDS = {"agent": "agent step", "document": "long document"}
_DOMAIN_WORDS = {"data": "data", "arts": "the arts", "humanities": "the humanities"}
_TELLS_LITTLE = frozenset({"everyday", "language"})
_ON = frozenset({"question", "reasoning", "document"})
_SAME = frozenset({("mathematics", "mathematics"), ("code", "software")})
"""A kind and a domain that say the same."""

_FREQUENCIES = (
    (0.005, "hardly ever"),
    (0.015, "one time in a hundred"),
    (0.035, "one time in fifty"),
    (0.075, "one time in twenty"),
    (0.15, "one time in ten"),
    (0.25, "one time in five"),
    (0.35, "three times in ten"),
    (0.45, "four times in ten"),
    (0.55, "one time in two"),
    (0.65, "six times in ten"),
    (0.75, "seven times in ten"),
    (0.85, "eight times in ten"),
    (0.95, "nine times in ten"),
    (1.01, "nearly always"),
)
_MOST_EXACT_RATIO = 10
"""Costs that differ by more are told in round numbers."""

_WITHOUT_PREDICTIONS = {
    Reason.PINNED: "{model} was asked for by name",
    Reason.ROUTER_TIMEOUT: "the router took too long, so that {model} takes it by default",
    Reason.ROUTER_ERROR: "the router failed, so that {model} takes it by default",
    Reason.DECISION_MODEL: "{model} takes requests as hard as the decision model says this is",
    Reason.BEST_EFFORT: "{model} is the best of its tiers that is expected to be in time",
    Reason.STICKY: "the conversation stays with {model}",
    Reason.WORKFLOW: "{model} is the first of several that may be asked for one answer",
}


def frequency(chance: float) -> str:
    """Say a chance in [0, 1] as people say it: one time in ten, three times in ten."""
    at = bisect([upper for upper, _ in _FREQUENCIES], chance)
    return _FREQUENCIES[min(at, len(_FREQUENCIES) - 1)][1]


def level_of(request: Description) -> str:
    """Return the middle one of the levels that the first row may be of, by its chances."""
    reached = np.cumsum(request.levels[0].astype(np.float64))
    return LEVELS[min(int(np.searchsorted(reached, 0.5 * reached[-1])), len(LEVELS) - 1)]


def kind_of(request: Description) -> str | None:
    """Return the kind of the first row; None where none is likely."""
    return _likeliest(request.kinds[0], KINDS, _LEAST_KIND)


def domain_of(request: Description) -> str | None:
    """Return the domain of the first row; None where none is likely."""
    return _likeliest(request.domains[0], DOMAINS, _LEAST_DOMAIN)


def describe(request: Description) -> str:
    """Say what a request asks for: `mathematics, demanding`, `question on law, easy`."""
    kind, domain, level = kind_of(request), domain_of(request), level_of(request)
    told = None if domain is None or domain in _TELLS_LITTLE else _DOMAIN_WORDS.get(domain, domain)
    if kind is None:
        what = told
    elif told is None or (kind, domain) in _SAME:
        what = _KIND_WORDS.get(kind, kind)
    elif kind in _ON:
        what = f"{_KIND_WORDS.get(kind, kind)} on {told}"
    else:
        what = f"{_KIND_WORDS.get(kind, kind)} ({told})"
    return level if what is None else f"{what}, {level}"


def why(
    decision: Decision, request: Description | None = None, *, at_knob: str | None = None
) -> str:
    """Say in a sentence, without its full stop, why the model of a decision was chosen.

    Parameters
    ----------
    request
        What is believed of the request, one row; None where the router has no description of it.
    at_knob
        The model that another position of the knob chooses, to say why that one is.
    """
    if at_knob is not None and at_knob != decision.model_id:
        decision = replace(decision, model_id=at_knob, reason=Reason.KNOB)
    reason = _compared(decision)
    return reason if request is None else f"{describe(request)}: {reason}"


def _likeliest(chances: np.ndarray, names: tuple[str, ...], least: float) -> str | None:
    at = int(chances.argmax())
    return names[at] if chances[at] >= least else None


def _compared(decision: Decision) -> str:
    model = decision.model_id
    chosen = decision.estimate(model)
    told = _WITHOUT_PREDICTIONS.get(decision.reason)
    if told is not None or chosen is None or chosen.quality is None:
        return (told or "{model} takes it").format(model=model)
    if decision.reason is Reason.ONLY_ELIGIBLE:
        return f"only {model} may take it, and is predicted to fail {_failure(chosen)}"
    if decision.reason is Reason.MIN_QUALITY_UNMET:
        return f"no model is predicted to reach the minimum; {model} comes nearest"
    if decision.reason is Reason.LATENCY_UNMET:
        return f"no model is predicted to be in time; {model} is the fastest"
    weighed = [*(chosen.goal_costs or {})]
    if any(each.surcharge_usd for each in decision.candidates):
        weighed.append("what its time and load cost")
    if weighed:
        return (
            f"{model} is best by quality, cost and {' and '.join(weighed)} together, and is "
            f"predicted to fail {_failure(chosen)}"
        )
    known = [each for each in decision.candidates if each.eligible and each.quality is not None]
    return _weighed(chosen, known)


def _weighed(chosen: CandidateEstimate, known: Sequence[CandidateEstimate]) -> str:
    """Compare the chosen model with the cheapest and the best of those that may take it."""
    model = chosen.model_id
    priced = [each for each in known if each.cost_usd is not None]
    if not priced:
        return f"{model} is predicted to fail least often, {_failure(chosen)}"
    cheapest = min(priced, key=lambda each: (_cost(each), -_quality(each), each.model_id))
    dearer = _dearer(max(known, key=_quality), chosen)
    if model == cheapest.model_id:
        if dearer is None:
            return "the cheapest model is predicted to do as well"
        told = f"the cheapest model is predicted to fail {_failure(chosen)}"
    elif _quality(chosen) <= _quality(cheapest):
        told = f"{model} is predicted to fail {_failure(chosen)}"
    else:
        told = (
            f"the cheapest model is predicted to fail {_failure(cheapest)}, "
            f"{model} {_against(chosen, cheapest)}"
        )
    return told if dearer is None else f"{told}; {dearer}"


def _dearer(best: CandidateEstimate, chosen: CandidateEstimate) -> str | None:
    """Say what is not paid for; None where nobody would see the difference."""
    if _quality(best) - _quality(chosen) <= SEEN:
        return None
    told = f"{best.model_id}, {_against(best, chosen)}"
    if not best.cost_usd or not chosen.cost_usd or best.cost_usd <= chosen.cost_usd:
        return told  # what was decided by is no question of cost
    return f"{told}, would cost {_times(best.cost_usd / chosen.cost_usd)} as much"


def _times(ratio: float) -> str:
    if ratio < 1.95:
        return f"{ratio:.1f} times"
    if ratio < _MOST_EXACT_RATIO:
        return "twice" if round(ratio) == 2 else f"{ratio:.0f} times"
    return f"{float(f'{ratio:.2g}'):,.0f} times"


def _against(each: CandidateEstimate, other: CandidateEstimate) -> str:
    """Say how often one fails, after it was said how often another one does."""
    own = _failure(each)
    return own if own != _failure(other) else "a little less often"


def _failure(each: CandidateEstimate) -> str:
    return frequency(1 - _quality(each))


def _quality(each: CandidateEstimate) -> float:
    return 0.0 if each.quality is None else each.quality


def _cost(each: CandidateEstimate) -> float:
    return 0.0 if each.cost_usd is None else each.cost_usd
