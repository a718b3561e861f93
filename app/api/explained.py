"""A decision and its account as JSON-ready values, as `/v1/route` and `explain: full` tell them."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from app.api.numbers import rounded
from app.api.told_workflows import workflow_object
from app.calls import Call
from app.gateway.ledger import LedgerEntry
from app.gateway.load.load_bias import told_near
from app.gateway.policy import Policy
from app.gateway.queues.expected_wait import Outlook
from app.gateway.request import AskedTask, RouteRequest
from app.gateway.served import served_model_id
from app.outcome import DecisionModelSaid, Judgement
from routers.answers.references import exact_match, f1
from routers.decisions import CandidateEstimate, Decision, KnobStep
from routers.objectives import Objective, StrongThreshold
from routers.request.layout import Description
from routers.request.sentence import domain_of, kind_of, level_of, why
from routers.text.document_signals import DOCUMENT_SIGNALS
from routers.types import Category, DocumentNumbers


def document_numbers(request: RouteRequest) -> DocumentNumbers | None:
    """Return what the documents of a request come to; None where it has none, or nobody looked."""
    numbers = None if request.read is None else request.read.numbers
    return None if numbers is None or numbers.n == 0 else numbers


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


def queue_object(outlook: Outlook | None) -> dict[str, Any] | None:
    """Return what a request would meet before the gateway; None where nobody waits there."""
    if outlook is None or not outlook.n_waiting:
        return None
    wait = outlook.wait
    return {
        "waiting": outlook.n_waiting,
        "before": outlook.n_before,
        "expected_wait_ms": None if wait is None else round(wait.seconds * 1e3, 1),
        "upper_wait_ms": None if wait is None else round(wait.seconds_upper * 1e3, 1),
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
        "changes": entry.changes.get(served_model_id(entry) or decision.model_id, ()),
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
