"""Answers: errors in OpenAI's shape, the routing headers, the decision as JSON."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from app.api.numbers import rounded, usd
from app.api.told_workflows import guard_headers, workflow_headers, workflow_object
from app.config.models import MARK
from app.errors import (
    AllAttemptsFailedError,
    GatewayError,
    RateLimitedError,
    UnauthenticatedError,
    UpstreamError,
    answer_for,
)
from app.gateway.ledger import LedgerEntry
from app.gateway.load.load_bias import told_near
from app.gateway.money.pressure import Pressure
from app.gateway.policy import Policy
from app.gateway.request import AskedTask, RouteRequest
from app.stores.base import Standing
from app.types import Call, DecisionModelSaid, Judgement
from routers.answers.references import exact_match, f1
from routers.decisions import CandidateEstimate, Decision, KnobStep, Reason
from routers.errors import NoEligibleModelError, RoutingError
from routers.objectives import CostQuality, Objective, StrongThreshold
from routers.request.layout import Description
from routers.request.sentence import domain_of, kind_of, level_of, why
from routers.text.document_signals import DOCUMENT_SIGNALS
from routers.types import Category, DocumentNumbers

Headers = list[tuple[bytes, bytes]]

JSON_HEADER = (b"content-type", b"application/json")
STREAM_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]
_INTERNAL = "the gateway failed on this request; quote the x-request-id to its operator"


def error_head(error: BaseException) -> tuple[int, Headers]:
    """Return status and headers that tell a client of an error, whatever dialect it reads."""
    answer = answer_for(error)
    status = answer.status
    headers: Headers = [JSON_HEADER]
    if isinstance(error, UpstreamError):
        if error.body is not None and error.status is not None:
            return error.status, headers
        status = error.status if error.status == 400 else status
    if isinstance(error, UnauthenticatedError):
        headers.append((b"www-authenticate", b'Bearer realm="steelyard"'))
    retry_after_s = getattr(error, "retry_after_s", None)
    if retry_after_s is not None:
        headers.append((b"retry-after", str(math.ceil(retry_after_s)).encode()))
        headers.append((b"retry-after-ms", str(math.ceil(retry_after_s * 1e3)).encode()))
    if isinstance(error, RateLimitedError):
        headers.extend(_refusal_headers(error))
    if getattr(error, "should_retry", True) is False:
        headers.append((b"x-should-retry", b"false"))
    return status, headers


def error_object(error: BaseException) -> dict[str, Any]:
    """Return the value of `error` in OpenAI's error body; all four keys are always there."""
    answer = answer_for(error)
    body: dict[str, Any] = {
        "message": _INTERNAL,
        "type": answer.type,
        "param": None,
        "code": answer.code,
    }
    if isinstance(error, GatewayError):
        body["message"] = error.message
        body["param"] = error.param
        body["code"] = error.code or answer.code
    elif isinstance(error, RoutingError):
        body["message"] = str(error)
    if isinstance(error, NoEligibleModelError):
        body["models"] = error.exclusions
    if isinstance(error, AllAttemptsFailedError):
        body["attempts"] = [dataclasses.asdict(attempt) for attempt in error.attempts]
    return body


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
    judge_cost_usd = entry.judge_cost_usd
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
    model_id, objective = entry.served_model_id or decision.model_id, entry.request.objective
    headers: Headers = [
        (b"x-route-model", model_id.encode()),
        (b"x-route-reason", (entry.reason or decision.reason).value.encode()),
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
    if entry.fallback_index:
        headers.append((b"x-route-fallback-index", str(entry.fallback_index).encode()))
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
    unmet = entry.latency_unmet
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
        latency = entry.predicted_latency or estimate.latency
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


def limit_headers(standing: Standing) -> Headers:
    """Return OpenAI's `x-ratelimit-*` headers for a standing."""
    headers: Headers = []
    for name, rate in (("requests", standing.requests), ("tokens", standing.tokens)):
        if rate is None:
            continue
        headers += (
            (f"x-ratelimit-limit-{name}".encode(), b"%d" % rate.limit),
            (f"x-ratelimit-remaining-{name}".encode(), b"%d" % rate.remaining),
            (f"x-ratelimit-reset-{name}".encode(), _duration(rate.reset_s)),
        )
    return headers


def _refusal_headers(error: RateLimitedError) -> Headers:
    if error.resource not in {"requests", "tokens"}:
        return []
    headers: Headers = [
        (f"x-ratelimit-limit-{error.resource}".encode(), b"%d" % error.limit),
        (f"x-ratelimit-remaining-{error.resource}".encode(), b"0"),
    ]
    if error.retry_after_s is not None:
        reset = _duration(error.retry_after_s)
        headers.append((f"x-ratelimit-reset-{error.resource}".encode(), reset))
    return headers


def _duration(seconds: float) -> bytes:
    """Format a time as OpenAI does: 12ms, 1s, 6m0s."""
    if seconds < 1:
        return b"%dms" % math.ceil(seconds * 1e3)
    whole = math.ceil(seconds)
    return b"%ds" % whole if whole < 60 else b"%dm%ds" % divmod(whole, 60)


def _pressure_header(entry: LedgerEntry, pressure: Pressure) -> tuple[bytes, bytes]:
    parts = [f"degraded; scope={pressure.scope.kind}; used={pressure.share:.2f}"]
    if isinstance(entry.objective, CostQuality):
        parts.append(f"cost-quality={entry.objective.t:.2f}")
    return b"x-route-budget", "; ".join(parts).encode()


def _session_headers(entry: LedgerEntry) -> Headers:
    reason = entry.session
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


def document_numbers(request: RouteRequest) -> DocumentNumbers | None:
    """Return what the documents of a request come to; None where it has none, or nobody looked."""
    numbers = None if request.read is None else request.read.numbers
    return None if numbers is None or numbers.n == 0 else numbers


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


def decision_model_object(said: DecisionModelSaid | None) -> dict[str, Any] | None:
    """Return what a decision model said as JSON-ready values, if the policy has one."""
    return None if said is None else said.values()


def documents_object(request: RouteRequest) -> dict[str, Any] | None:
    """Return what the documents of a request come to as JSON-ready values, if it has some."""
    numbers = document_numbers(request)
    if numbers is None:
        return None
    signals = zip(DOCUMENT_SIGNALS, numbers.signals, strict=True)
    return {
        "n": numbers.n,
        "coverage": round(numbers.coverage, 4),
        "signals": {name: round(value, 4) for name, value in signals},
    }


def decision_object(decision: Decision) -> dict[str, Any]:
    """Return a decision as JSON-ready values."""
    return {
        "model": decision.model_id,
        "reason": decision.reason.value,
        "category": _category_object(decision.category),
        "fallbacks": list(decision.fallbacks),
        "usd_per_quality": _finite(decision.usd_per_quality),
        "propensity": decision.propensity,
    }


def _category_object(category: Category | None) -> dict[str, Any] | None:
    return None if category is None else {"scheme": category.scheme, "name": category.told}


def threshold_object(objective: Objective | None) -> dict[str, Any] | None:
    """Return the threshold that a request is decided by as JSON-ready values, if it is by one."""
    if not isinstance(objective, StrongThreshold):
        return None
    return {
        "strong": objective.strong,
        "weak": objective.weak,
        "threshold": objective.threshold,
        "statement": objective.statement,
    }


def best_effort_object(entry: LedgerEntry) -> dict[str, Any] | None:
    """Return the tier that a request was given as JSON-ready values, where its policy has some."""
    choice, policy = entry.tier, entry.request.policy
    if choice is None or policy is None or policy.best_effort is None:
        return None
    expected = choice.effort.expected
    return {
        "tier": choice.effort.tier + 1,
        "model": choice.model_id,
        "tiers": list(policy.best_effort.tiers),
        "by": "learned" if policy.best_effort.learned else "rule",
        "deadline_ms": round(choice.deadline_s * 1e3, 3),
        "expected_wait_ms": round(expected.wait_s * 1e3, 1),
        "upper_wait_ms": round(expected.wait_upper_s * 1e3, 1),
        "expected_service_ms": round(expected.service_s * 1e3, 1),
        "late": choice.effort.late,
    }


def flags_text(request: RouteRequest) -> str | None:
    """Return the flags that count as they are written, if there are any."""
    return None if request.wishes is None else request.wishes.told


def task_object(task: AskedTask | None) -> dict[str, Any] | None:
    """Return the task of a request as JSON-ready values; None where nobody asked for one."""
    if task is None:
        return None
    return {"names": list(task.names), "told": task.told, "recognised": task.recognised}


def scorer_object(judgement: Judgement | None) -> dict[str, Any] | None:
    """Return what a scorer said as JSON-ready values, if one was asked."""
    if judgement is None:
        return None
    call = judgement.call
    return {
        "model": call.model_id,
        "score": judgement.score,
        "strong_chance": rounded(judgement.strong_chance, 6),
        "cost_usd": None if call.usage is None else rounded(call.cost_usd, 9),
        "ms": round(call.duration_s * 1e3, 3),
        "error": call.error,
    }


def candidate_objects(
    candidates: Sequence[CandidateEstimate], policy: Policy | None
) -> list[dict[str, Any]]:
    """Return the candidate table as JSON-ready values."""
    evidence = {} if policy is None else policy.evidence
    return [
        {
            "model": each.model_id,
            "predicted_quality": rounded(each.quality, 4),
            "quality_uncertainty": rounded(each.quality_std, 4),
            "evidence": None if each.quality is None else evidence.get(each.model_id),
            "input_tokens": each.input_tokens,
            "predicted_output_tokens": rounded(each.output_tokens, 1),
            "upper_output_tokens": rounded(each.output_tokens_upper, 1),
            "predicted_cost_usd": rounded(each.cost_usd, 9),
            "upper_cost_usd": rounded(each.cost_usd_upper, 9),
            "eligible": each.eligible,
            "exclusion": None if each.exclusion is None else each.exclusion.value,
            "exclusion_detail": each.exclusion_detail,
            "goal_penalty": None if each.goal_costs is None else rounded(each.penalty, 6),
            "goal_costs": None
            if each.goal_costs is None
            else {name: round(cost, 6) for name, cost in each.goal_costs.items()},
            "surcharge_usd": round(each.surcharge_usd, 9),
            **_latency_fields(each),
        }
        for each in candidates
    ]


def _latency_fields(each: CandidateEstimate) -> dict[str, float | None]:
    found = each.latency
    return {
        "predicted_ttft_ms": None if found is None else round(found.ttft_s * 1e3, 1),
        "upper_ttft_ms": None if found is None else round(found.ttft_s_upper * 1e3, 1),
        "predicted_latency_ms": None if found is None else round(found.total_s * 1e3, 1),
        "upper_latency_ms": None if found is None else round(found.total_s_upper * 1e3, 1),
    }


def description_object(request: Description | None) -> dict[str, Any] | None:
    """Return what a prompt is taken to ask for as JSON-ready values, where a router says so."""
    if request is None:
        return None
    return {
        "level": level_of(request),
        "kind": kind_of(request),
        "domain": domain_of(request),
    }


def step_objects(
    steps: Sequence[KnobStep], decision: Decision, described: Description | None
) -> list[dict[str, Any]]:
    """Return the counterfactual: which model at which knob values, and why."""
    return [
        {
            "from_cost_quality": round(step.from_cost_quality, 4),
            "to_cost_quality": round(step.to_cost_quality, 4),
            "model": step.model_id,
            "why": why(decision, described, at_knob=step.model_id),
        }
        for step in steps
    ]


def outcome_object(text: str | None, references: Sequence[str]) -> dict[str, float] | None:
    """Return what an answer is worth by references; None without any, or without its text."""
    if text is None or not references:
        return None
    return {
        "exact_match": exact_match(text, references),
        "f1": round(f1(text, references), 4),
    }


def explain_object(entry: LedgerEntry, *, text: str | None = None) -> Mapping[str, Any]:
    """Return what `x-route-explain: full` adds to a body under `steelyard`.

    Parameters
    ----------
    text
        The answer's, where that is whole.
    """
    decision = entry.decision
    if decision is None:
        return {}
    return {
        "decision_id": entry.request.decision_id,
        "policy": entry.request.policy_name,
        "policy_version": entry.policy_version,
        "decision": decision_object(decision),
        "flags": flags_text(entry.request),
        "task": task_object(entry.request.task),
        "threshold": threshold_object(entry.request.objective),
        "scorer": scorer_object(entry.judgement),
        "decision_model": decision_model_object(entry.decision_model),
        "documents": documents_object(entry.request),
        "workflow": workflow_object(entry.course),
        "load": told_near(entry.near_limits),
        "best_effort": best_effort_object(entry),
        "candidates": candidate_objects(decision.candidates, entry.request.policy),
        "calls": [call_object(call) for call in entry.calls],
        "changes": entry.changes.get(entry.served_model_id or decision.model_id, ()),
        "outcome": outcome_object(text, entry.request.references),
    }


def call_object(call: Call) -> dict[str, Any]:
    """Return an upstream call as JSON-ready values; the one that serves has no cost yet."""
    return {
        "id": call.call_id,
        "role": call.role.value,
        "model": call.model_id,
        "status": call.status,
        "error": call.error,
        "ms": round(call.duration_s * 1e3, 3),
        "cost_usd": None if call.usage is None else rounded(call.cost_usd, 9),
    }


def _finite(value: float | None) -> float | None:
    return None if value is None or math.isinf(value) else value
