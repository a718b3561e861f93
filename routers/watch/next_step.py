"""What comes next for a model under watch, in words for operators."""

from collections.abc import Mapping

from routers.watch.profile import TESTED_FROM
from routers.watch.signals import WEIGHT, Signal
from routers.watch.watched import (
    DEMOTION,
    PROBATION,
    RETURN_EVIDENCE,
    Level,
    Rule,
    Watched,
    tried_after_s,
)


def demoted_at(rule: Rule) -> float | None:
    """Return the evidence of a demotion; None where models are not demoted."""
    return rule.alarm * DEMOTION if rule.demotes else None


def alone_at(rule: Rule) -> Mapping[Signal, float]:
    """Return the evidence at which each signal is a warning all by itself."""
    return {signal: rule.alarm / weight for signal, weight in WEIGHT.items()}


def tried_at(known: Watched, rule: Rule) -> float | None:
    """Return when a demoted model is tried again at the latest, in seconds since the epoch."""
    if known.pinned is not None or known.level is not Level.DEMOTED:
        return None
    return known.since + tried_after_s(known, rule)


def next_step(known: Watched, rule: Rule) -> str:
    """Return what has to come for a model to get to another level, and to which."""
    if known.pinned is not None:
        return f"stays {known.pinned.value} until an operator clears it"
    match known.level:
        case Level.OK if not known.detectors:
            least = min(TESTED_FROM, rule.learn_from)
            return f"is tested from its answer {least + 1} of a kind of request on"
        case Level.OK:
            return f"warning at evidence {rule.alarm:g}"
        case Level.WARNING:
            back = f"ok at return evidence {RETURN_EVIDENCE:g}"
            at = demoted_at(rule)
            return back if at is None else f"demoted at evidence {at:g} (times apart), {back}"
        case Level.DEMOTED:
            return f"returns at return evidence {RETURN_EVIDENCE:g}, or is tried after its time"
        case Level.RETURNING:
            left = max(0, PROBATION - known.n_probation)
            return f"ok after {left} answers (a canary counts as five), demoted by a warning"
