"""Which model served a request, why, and how that was predicted: read from its account."""

from app.gateway.ledger import LedgerEntry
from routers.decision.switching import SessionReason
from routers.decisions import Latency, Reason


def served_model_id(entry: LedgerEntry) -> str | None:
    """Return the model whose answer it is, given now or kept from before."""
    if entry.cached is not None:
        return entry.cached.model_id
    return None if entry.served is None else entry.served.spec.model_id


def served_reason(entry: LedgerEntry) -> Reason | None:
    """Return why it served: the decision's reason, or that a fallback stepped in."""
    if fallback_index(entry) or (entry.course is not None and entry.course.is_makeshift):
        return Reason.FALLBACK
    return None if entry.decision is None else entry.decision.reason


def fallback_index(entry: LedgerEntry) -> int:
    """Return 0 for the decision's first choice, i for its i-th fallback, one more for any other.

    A model that a workflow chose to serve is no fallback.
    """
    if entry.served is None or entry.decision is None:
        return 0
    model_id = entry.served.spec.model_id
    if model_id == entry.decision.model_id or _is_chosen(entry):
        return 0
    fallbacks = entry.decision.fallbacks
    return 1 + (fallbacks.index(model_id) if model_id in fallbacks else len(fallbacks))


def session_reason(entry: LedgerEntry) -> SessionReason | None:
    """Return why the conversation stayed on its model or left it."""
    if entry.turn is None:
        return None
    return entry.turn.reason(served_model_id(entry), escalated=_is_chosen(entry))


def predicted_latency(entry: LedgerEntry) -> Latency | None:
    """Return how long the answer was predicted to take from the request on, as its call began.

    None where nothing was predicted of its length.
    """
    call, served, decision = entry.latency, entry.served, entry.decision
    if call is None or served is None or decision is None:
        return None
    if decision.estimate(served.spec.model_id) is None:
        return None
    began_s = entry.calls[entry.served_at].began_s
    return Latency(
        ttft_s=began_s + call.ttft_s,
        ttft_s_upper=began_s + call.ttft_s_upper,
        total_s=began_s + call.total_s,
        total_s_upper=began_s + call.total_s_upper,
    )


def latency_unmet(entry: LedgerEntry) -> str | None:
    """Return which limits on its time the request is predicted to miss, in words of headers."""
    terms = entry.request.latency
    if terms is None or not terms.has_deadline:
        return None
    if entry.latency is not None:
        return terms.unmet(entry.latency, entry.calls[entry.served_at].began_s)
    known = None if entry.decision is None else entry.decision.estimate(entry.decision.model_id)
    if known is None or known.latency is None:
        return None
    return terms.unmet(known.latency, entry.decided_s)


def _is_chosen(entry: LedgerEntry) -> bool:
    """Return whether it was a workflow that had the model serve."""
    course = entry.course
    return (
        course is not None
        and entry.served is not None
        and entry.served.spec.model_id == course.served_model_id
        and not course.is_makeshift
    )
