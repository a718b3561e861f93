"""The `x-route-*` headers of an answer: which model served, and why."""

from collections.abc import Callable

from app.api.answers import Headers, limit_headers
from app.api.explained import document_numbers
from app.api.numbers import usd
from app.api.told_workflows import guard_headers, workflow_headers
from app.calls import cost_of_judges
from app.config.models import MARK
from app.gateway.ledger import LedgerEntry
from app.gateway.money.pressure import Pressure
from app.gateway.request import RouteRequest
from app.gateway.served import (
    fallback_index,
    latency_unmet,
    predicted_latency,
    served_model_id,
    served_reason,
    session_reason,
)
from app.outcome import DecisionModelSaid
from app.stores.claims import Standing
from routers.decisions import CandidateEstimate, Decision, Reason
from routers.objectives import CostQuality, StrongThreshold
from routers.types import Category, DocumentNumbers


def route_headers(
    entry: LedgerEntry, *, limits: Callable[[Standing], Headers] | None = None
) -> Headers:
    """Return what is known of the decision, for every answer that got as far as one.

    Parameters
    ----------
    limits
        How a client is told where its limits stand; None tells it in OpenAI's words.
    """
    request = entry.request
    headers: Headers = [
        (b"x-route-policy", request.policy_name.encode()),
        (b"x-route-policy-version", entry.policy_version.encode()),
        (b"x-route-decision-id", request.decision_id.encode()),
        (b"x-route-router-ms", b"%.3f" % (entry.decide_s * 1e3)),
        (b"x-route-overhead-ms", b"%.3f" % (entry.overhead_s * 1e3)),
    ]
    if entry.queued_s:
        headers.append((b"x-route-queued-ms", b"%.3f" % (entry.queued_s * 1e3)))
    headers += _heard_headers(request)
    judge_cost_usd = cost_of_judges(entry.calls)
    if judge_cost_usd is not None:
        headers.append((b"x-route-scorer-cost-usd", usd(judge_cost_usd)))
    if entry.decision_model is not None:
        headers.append((b"x-route-decision-model", _told_judged(entry.decision_model).encode()))
    if entry.standing is not None:
        headers.extend((limits or limit_headers)(entry.standing))
    if entry.pressure is not None:
        headers.append(_pressure_header(entry, entry.pressure))
    if entry.cache is not None:
        headers.append((b"x-route-cache", entry.cache.value.encode()))
    if entry.is_held_back:
        return headers  # which model will serve is open as yet
    if entry.decision is not None:
        headers += _decision_headers(entry, entry.decision)
    elif entry.cached is not None:
        headers.append((b"x-route-model", entry.cached.model_id.encode()))
    return headers


def _heard_headers(request: RouteRequest) -> Headers:
    """Return what of a request's own wishes was heard, and what not."""
    headers: Headers = []
    if request.wishes is not None:
        headers.append((b"x-route-flags", request.wishes.told.encode()))
    if request.task is not None:
        found = b"; recognised" if request.task.recognised and request.task.names else b""
        headers.append((b"x-route-task", request.task.told.encode() + found))
    if request.overruled:
        headers.append((b"x-route-overruled", ", ".join(request.overruled).encode()))
    numbers = document_numbers(request)
    if numbers is not None:
        headers.append((b"x-route-documents", _told_documents(numbers).encode()))
    return headers


def _decision_headers(entry: LedgerEntry, decision: Decision) -> Headers:
    model_id, objective = served_model_id(entry) or decision.model_id, entry.request.objective
    headers: Headers = [
        (b"x-route-model", model_id.encode()),
        (b"x-route-reason", (served_reason(entry) or decision.reason).value.encode()),
        *_deployment_headers(entry),
        *_watch_headers(entry),
        *_variant_headers(entry, model_id),
        *_tier_headers(entry),
        *_category_headers(decision.category),
        *_session_headers(entry),
        *_stall_headers(entry.request),
    ]
    if entry.course is not None:
        headers += workflow_headers(entry.course, n_calls=len(entry.calls))
        headers += guard_headers(entry.course)
    if decision.reason is Reason.THRESHOLD and isinstance(objective, StrongThreshold):
        headers.append((b"x-route-threshold", b"%.6g" % objective.threshold))
    index = fallback_index(entry)
    if index:
        headers.append((b"x-route-fallback-index", b"%d" % index))
    limit = entry.max_output_tokens.get(model_id)
    if limit is not None:
        headers.append((b"x-route-max-tokens", b"%d" % limit))
    changes = entry.changes.get(model_id)
    if changes:
        headers.append((b"x-route-params", "; ".join(changes).encode()))
    return headers + _predicted_headers(entry, decision.estimate(model_id))


def _predicted_headers(entry: LedgerEntry, estimate: CandidateEstimate | None) -> Headers:
    """Return what was predicted of the model that serves, and which limits that misses."""
    headers: Headers = []
    unmet = latency_unmet(entry)
    if unmet is not None:
        headers.append((b"x-route-latency-unmet", unmet.encode()))
    if estimate is not None:
        if estimate.quality is not None:
            headers.append((b"x-route-predicted-quality", b"%.4f" % estimate.quality))
            policy = entry.request.policy
            if policy is not None and estimate.model_id in policy.evidence:
                evidence = policy.evidence[estimate.model_id]
                headers.append((b"x-route-evidence", evidence.encode()))
        if estimate.cost_usd is not None:
            headers.append((b"x-route-predicted-cost-usd", usd(estimate.cost_usd)))
        latency = predicted_latency(entry) or estimate.latency
        if latency is not None:
            headers.append((b"x-route-predicted-ttft-ms", b"%.0f" % (latency.ttft_s * 1e3)))
            headers.append((b"x-route-predicted-latency-ms", b"%.0f" % (latency.total_s * 1e3)))
    return headers


def _deployment_headers(entry: LedgerEntry) -> Headers:
    served = entry.served
    if served is None:
        return []
    headers: Headers = []
    if served.label:
        headers.append((b"x-route-deployment", served.label))
    if served.region is not None:
        headers.append((b"x-route-region", served.region.encode()))
    return headers


def _tier_headers(entry: LedgerEntry) -> Headers:
    return [] if entry.tier is None else [(b"x-route-tier", entry.tier.told.encode())]


def _watch_headers(entry: LedgerEntry) -> Headers:
    return [] if entry.watch is None else [(b"x-route-watch", entry.watch.encode())]


def _variant_headers(entry: LedgerEntry, model_id: str) -> Headers:
    """Return what a variant adds to a request, where a model is asked by one."""
    if MARK not in model_id:
        return []
    spec, policy = None if entry.served is None else entry.served.spec, entry.request.policy
    if (spec is None or spec.model_id != model_id) and policy is not None:
        spec = next((each for each in policy.candidates if each.model_id == model_id), None)
    if spec is None:
        return []
    told = ((b"x-route-prompt", spec.prompt), (b"x-route-detail", spec.detail))
    return [(name, value.encode()) for name, value in told if value is not None]


def _category_headers(category: Category | None) -> Headers:
    if category is None:
        return []
    # Names are data of an artifact, which may be anybody's: a header holds no line breaks.
    told = "".join(char if " " <= char <= "~" else "?" for char in category.told)
    return [(b"x-route-" + category.scheme.encode(), told.encode())]


def _pressure_header(entry: LedgerEntry, pressure: Pressure) -> tuple[bytes, bytes]:
    parts = [f"degraded; scope={pressure.scope.kind}; used={pressure.share:.2f}"]
    if isinstance(entry.objective, CostQuality):
        parts.append(f"cost-quality={entry.objective.t:.2f}")
    return b"x-route-budget", "; ".join(parts).encode()


def _session_headers(entry: LedgerEntry) -> Headers:
    reason = session_reason(entry)
    if reason is None:
        return []
    headers = [(b"x-route-session-reason", reason.value.encode())]
    if reason.state is not None:
        headers.append((b"x-route-session", reason.state.value.encode()))
    return headers


def _stall_headers(request: RouteRequest) -> Headers:
    headers: Headers = []
    if request.stall is not None:
        parts = (str(request.stall.level), *(each.value for each in request.stall.reasons))
        headers.append((b"x-route-stall", "; ".join(parts).encode()))
    if request.housekeeping is not None:
        headers.append((b"x-route-housekeeping", request.housekeeping.value.encode()))
    return headers


def _told_documents(numbers: DocumentNumbers) -> str:
    coverage = f"{numbers.coverage:.2f}".rstrip("0").rstrip(".").removeprefix("0") or "0"
    return f"n={numbers.n};coverage={coverage}"


def _told_judged(said: DecisionModelSaid) -> str:
    told, judged = said.result.value, said.judged
    if judged is None:
        return told
    level = judged.likeliest_level
    told += f"; level={level}; p={judged.level[level]:.2f}"
    return told if judged.likeliest_kind is None else f"{told}; kind={judged.likeliest_kind}"
