"""From the account of a request to its outcome."""

from app.gateway.bill import settled_usage
from app.gateway.heard import NOTHING
from app.gateway.ledger import LedgerEntry
from app.gateway.served import predicted_latency, served_model_id, served_reason, session_reason
from app.outcome import Outcome, Texts
from app.paths import CHAT_COMPLETIONS


def closed(entry: LedgerEntry, *, status: int, error: str | None) -> Outcome:
    """End the account of a request, once; return its record."""
    entry.end()
    outcome = outcome_of(entry, status=status, error=error)
    if entry.trace is not None:
        entry.trace.end(outcome, outcome.texts)
    return outcome


def outcome_of(entry: LedgerEntry, *, status: int, error: str | None) -> Outcome:
    """Return the record of a request from its account."""
    request = entry.request
    policy, usage = request.policy, entry.arrived.usage
    return Outcome(
        request_id=request.request_id,
        decision_id=request.decision_id,
        policy=request.policy_name,
        policy_version=entry.policy_version,
        stream=request.stream,
        decision=entry.decision,
        reason=served_reason(entry),
        calls=tuple(entry.calls),
        served_model_id=served_model_id(entry),
        response_model=entry.response_model,
        finish_reason=entry.arrived.finish_reason,
        usage=settled_usage(entry),
        decide_s=entry.decide_s,
        overhead_s=entry.overhead_s,
        time_to_first_token_s=entry.time_to_first_token_s,
        duration_s=entry.clock() - entry.started,
        status=status,
        error=error,
        refused_by=entry.refused_by,
        route=entry.route,
        session=None if entry.turn is None else session_reason(entry),
        lineage=request.lineage,
        cache=entry.cache,
        served_upstream=None if entry.served is None else entry.served.upstream,
        key_id=request.caller.key_id,
        team=request.caller.team,
        objective=entry.objective,
        latency=None if entry.latency is None else predicted_latency(entry),
        latency_terms=None if request.latency is None else request.latency.told,
        flags=None if request.wishes is None else request.wishes.told,
        n_answers=request.demand.n_answers,
        artifact_version=None if policy is None else policy.artifact.version,
        evidence=None if policy is None else policy.evidence,
        texts=None if entry.keeps is NOTHING else _texts(entry),
        documents=None if request.read is None else request.read.numbers,
        workflow=None if entry.course is None else entry.course.told(),
        decision_model=entry.decision_model,
        task=None if request.task is None else request.task.told,
        priority=entry.rank.priority,
        queued_s=entry.queued_s,
        tier=None if entry.tier is None else entry.tier.recorded,
        watch=entry.watch,
        refused_usage=() if usage is None else tuple(sorted(usage.refused)),
    )


def _texts(entry: LedgerEntry) -> Texts:
    policy, keeps, cached = entry.request.policy, entry.keeps, entry.cached
    answer, dialect = ((), CHAT_COMPLETIONS) if entry.heard is None else entry.heard.told
    streamed = entry.request.stream
    if keeps.answers and cached is not None:
        answer, dialect = (cached.body,), cached.dialect
        streamed = streamed and dialect != CHAT_COMPLETIONS
    return Texts(
        conversation=entry.request.conversation,
        answer=answer,
        streamed=streamed,
        dialect=dialect,
        drafts=entry.course.draft_texts() if keeps.answers and entry.course is not None else (),
        featurizer=policy.artifact.featurizer if keeps.features and policy else None,
    )
