"""The decision log: every outcome, as a row to learn from.

On the event loop an outcome is only put into the buffer. What is made of it, the predictions of
all candidates as JSON, an embedding, redacted texts, is made in the thread that writes.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from app.keys import Priority, to_nusd
from app.lineage import AgentKind
from app.outcome import Outcome, Texts
from app.outcomes.calls import calls_text
from app.outcomes.log import DEFAULT_CAPACITY, OutcomeLog, Sink
from app.outcomes.redaction import Redactor
from app.outcomes.rows import ContentRow, OutcomeRow, Row
from app.telemetry.texts import kept_texts
from routers.artifact.evidence import Evidence
from routers.decisions import CandidateEstimate, Latency
from routers.objectives import (
    CostQuality,
    MaxQualityLoss,
    MinQuality,
    Objective,
    StrongThreshold,
    UsdPerQuality,
)
from routers.text.document_signals import DOCUMENT_SIGNALS
from routers.types import DocumentNumbers

_USUAL, _INTERACTIVE = Priority.INTERACTIVE, Priority.INTERACTIVE.value
_CHAR_BYTES = 2
"""What a character of a prompt is taken for where the memory of waiting texts is bounded."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """An outcome and when it was recorded, in seconds since the epoch."""

    outcome: Outcome
    time: float


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepContents:
    """Keep prompts and answers, redacted, for so long."""

    seconds: float
    redactor: Redactor


class DecisionLog:
    """Take outcomes on the event loop and have them written.

    Parameters
    ----------
    contents
        How texts are kept; None keeps none.
    now
        Seconds since the epoch.
    on_drop
        Notified of rows that are lost.
    on_restart
        Notified of the thread that writes, should it die and be followed by another one.
    """

    def __init__(
        self,
        sink: Sink,
        *,
        contents: KeepContents | None = None,
        now: Callable[[], float] = time.time,
        on_drop: Callable[[int], None] = lambda _n: None,
        on_restart: Callable[[str], None] = lambda _name: None,
        capacity: int = DEFAULT_CAPACITY,
    ) -> None:
        self._contents = contents
        self._now = now
        self.log: OutcomeLog[Recorded] = OutcomeLog(
            sink, self._encode, on_drop=on_drop, on_restart=on_restart, capacity=capacity
        )

    def record(self, outcome: Outcome) -> None:
        """Leave an outcome to be written; never waits."""
        texts = outcome.texts
        if texts is None:
            self.log.record(Recorded(outcome, self._now()))
            return
        n_bytes = sum(map(len, texts.answer)) + _CHAR_BYTES * (
            sum(len(message.text) for message in texts.conversation.messages)
            + sum(len(draft.text) for draft in texts.drafts)
        )
        if not self.log.has_room_for(n_bytes):
            outcome, n_bytes = msgspec.structs.replace(outcome, texts=None), 0
        self.log.record(Recorded(outcome, self._now()), text_bytes=n_bytes)

    def _encode(self, recorded: Recorded) -> Iterable[Row]:
        outcome = recorded.outcome
        yield to_row(outcome, time=recorded.time)
        if self._contents is None or outcome.texts is None:
            return
        content = self._contents.redactor.apply(kept_texts(outcome.texts))
        if content is not None:
            yield ContentRow(
                decision_id=outcome.decision_id,
                expires_at=recorded.time + self._contents.seconds,
                content=msgspec.json.encode(content),
            )


def to_row(outcome: Outcome, *, time: float) -> OutcomeRow:
    """Return the row of an outcome that ended at `time`, in seconds since the epoch."""
    decision, usage, model = outcome.decision, outcome.usage, outcome.served_model_id
    estimate = None if decision is None or model is None else decision.estimate(model)
    texts, lineage, latency = outcome.texts, outcome.lineage, outcome.latency
    tier = outcome.tier
    return OutcomeRow(
        request_id=outcome.request_id,
        decision_id=outcome.decision_id,
        time=time,
        key_id=outcome.key_id,
        team=outcome.team,
        policy=outcome.policy,
        policy_version=outcome.policy_version,
        artifact_version=outcome.artifact_version,
        objective=None
        if outcome.objective is None
        else _json(
            objective_of(outcome.objective, flags=outcome.flags, latency=outcome.latency_terms)
        ),
        usd_per_quality=None if decision is None else decision.usd_per_quality,
        decided_model=None if decision is None else decision.model_id,
        model=model,
        upstream=outcome.served_upstream,
        response_model=outcome.response_model,
        reason=None if outcome.reason is None else outcome.reason.value,
        session=None if outcome.session is None else outcome.session.value,
        session_id=None if lineage is None else lineage.session_id,
        agent_id=None if lineage is None else lineage.agent_id,
        parent_agent_id=None if lineage is None else lineage.parent_agent_id,
        agent_kind=None if lineage is None else _value(lineage.agent_kind),
        cache=None if outcome.cache is None else outcome.cache.value,
        stream=outcome.stream,
        status=outcome.status,
        error=outcome.error,
        finish_reason=outcome.finish_reason,
        candidates=None
        if decision is None
        else _json(_columns(decision.candidates, outcome.evidence or {})),
        fallbacks=_json(decision.fallbacks) if decision is not None else None,
        calls=calls_text(outcome.calls),
        documents=_documents(outcome.documents),
        workflow=None if outcome.workflow is None else _json(outcome.workflow),
        task=outcome.task,
        priority=_INTERACTIVE if outcome.priority is _USUAL else outcome.priority.value,
        queued_s=outcome.queued_s or None,
        category=None if decision is None or decision.category is None else decision.category.told,
        decision_model=None
        if outcome.decision_model is None
        else _json(outcome.decision_model.values()),
        tier=None if tier is None else tier.tier,
        tier_in_force=None if tier is None else tier.tier_in_force,
        deadline_s=None if tier is None else tier.deadline_s,
        watch=outcome.watch,
        input_tokens=None if usage is None else usage.input_tokens,
        cached_input_tokens=None if usage is None else usage.cached_input_tokens,
        cache_write_tokens=None if usage is None else usage.cache_write_tokens,
        output_tokens=None if usage is None else usage.output_tokens,
        reasoning_tokens=None if usage is None else usage.reasoning_tokens,
        estimated=usage is not None and usage.estimated,
        cost_nusd=None if outcome.cost_usd is None else outcome.known_nusd,
        predicted_quality=None if estimate is None else estimate.quality,
        predicted_cost_nusd=None if estimate is None else _nusd(estimate.cost_usd),
        predicted_ttft_s=None if latency is None else _short(latency.ttft_s),
        predicted_ttft_s_upper=None if latency is None else _short(latency.ttft_s_upper),
        predicted_latency_s=None if latency is None else _short(latency.total_s),
        predicted_latency_s_upper=None if latency is None else _short(latency.total_s_upper),
        decide_s=outcome.decide_s,
        overhead_s=outcome.overhead_s,
        time_to_first_token_s=outcome.time_to_first_token_s,
        duration_s=outcome.duration_s,
        propensity=None if decision is None else decision.propensity,
        features=None if texts is None else embedding(texts),
    )


def _documents(numbers: DocumentNumbers | None) -> str | None:
    if numbers is None or numbers.n == 0:
        return None
    signals = dict(zip(DOCUMENT_SIGNALS, map(_short, numbers.signals), strict=True))
    return _json({"n": numbers.n, "coverage": _short(numbers.coverage), "signals": signals})


def objective_of(
    objective: Objective,
    *,
    flags: str | None = None,
    latency: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """Return an objective as plain values, by the names that requests know it and its terms by."""
    told = _told(objective) | dict(latency or {})
    return told if flags is None else {**told, "flags": flags}


def _told(objective: Objective) -> dict[str, Any]:
    match objective:
        case CostQuality(t):
            return {"cost_quality": t}
        case UsdPerQuality(rate):
            return {"lambda": rate}
        case MaxQualityLoss(loss):
            return {"max_quality_loss": loss}
        case MinQuality(quality):
            return {"min_quality": quality}
        case StrongThreshold():
            return {
                "strong": objective.strong,
                "weak": objective.weak,
                "threshold": objective.threshold,
            }


def embedding(texts: Texts) -> bytes | None:
    """Return the conversation's embedding as little-endian float16; None where there is none."""
    if texts.featurizer is None:
        return None
    vector = texts.featurizer.embed([texts.conversation])[0]
    return np.asarray(vector, dtype="<f2").tobytes()


def _columns(
    candidates: tuple[CandidateEstimate, ...], evidence: Mapping[str, Evidence]
) -> dict[str, list[Any]]:
    goals = [each.penalty for each in candidates if each.goal_costs is not None]
    columns: dict[str, list[Any]] = {
        "model": [each.model_id for each in candidates],
        "quality": [_short(each.quality) for each in candidates],
        "quality_std": [_short(each.quality_std) for each in candidates],
        "evidence": [
            None if each.quality is None else evidence.get(each.model_id) for each in candidates
        ],
        "input_tokens": [each.input_tokens for each in candidates],
        "output_tokens": [_short(each.output_tokens, 1) for each in candidates],
        "output_tokens_upper": [_short(each.output_tokens_upper, 1) for each in candidates],
        "cost_nusd": [_nusd(each.cost_usd) for each in candidates],
        "cost_nusd_upper": [_nusd(each.cost_usd_upper) for each in candidates],
        "exclusion": [each.exclusion and each.exclusion.value for each in candidates],
    }
    if goals:
        columns["goal_penalty"] = [_short(each) for each in goals]
    if any(each.surcharge_usd for each in candidates):
        columns["surcharge_nusd"] = [_nusd(each.surcharge_usd) for each in candidates]
    latencies = [each.latency for each in candidates]
    if any(latencies):
        for name in Latency.__struct_fields__:
            columns[name] = [each and _short(getattr(each, name), 4) for each in latencies]
    return columns


def _short(value: float | None, digits: int = 5) -> float | None:
    return None if value is None else round(float(value), digits)


def _nusd(usd: float | None) -> int | None:
    return None if usd is None else to_nusd(usd)


def _value(kind: AgentKind | None) -> str | None:
    return None if kind is None else kind.value


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
