"""What spans tell of an outcome; nothing of OpenTelemetry is imported here either."""

import json
from typing import Any

from app.outcome import Outcome, Texts
from app.telemetry.texts import answer_text
from app.telemetry.tracing import RedactText
from app.usage import Usage


def outcome_attributes(outcome: Outcome) -> dict[str, Any]:
    """Return our own attributes: names, numbers and codes, never text."""
    decision = outcome.decision
    model = outcome.served_model_id
    estimate = None if decision is None or model is None else decision.estimate(model)
    lineage, latency = outcome.lineage, outcome.latency
    facts = {
        "steelyard.request_id": outcome.request_id,
        "steelyard.decision_id": outcome.decision_id,
        "steelyard.policy_version": outcome.policy_version,
        "steelyard.artifact_version": outcome.artifact_version,
        "steelyard.key_id": outcome.key_id,
        "steelyard.team": outcome.team,
        "steelyard.model": model,
        "steelyard.decided_model": None if decision is None else decision.model_id,
        "steelyard.reason": None if outcome.reason is None else outcome.reason.value,
        "steelyard.propensity": None if decision is None else decision.propensity,
        "steelyard.predicted_quality": None if estimate is None else estimate.quality,
        "steelyard.predicted_cost_usd": None if estimate is None else estimate.cost_usd,
        "steelyard.predicted_ttft_s": None if latency is None else latency.ttft_s,
        "steelyard.predicted_latency_s": None if latency is None else latency.total_s,
        "steelyard.cost_usd": outcome.cost_usd,
        "steelyard.calls": len(outcome.calls),
        "steelyard.decide_s": outcome.decide_s,
        "steelyard.overhead_s": outcome.overhead_s,
        "steelyard.queued_s": outcome.queued_s or None,
        "steelyard.session": None if outcome.session is None else outcome.session.value,
        "steelyard.session_id": None if lineage is None else lineage.session_id,
        "steelyard.agent_id": None if lineage is None else lineage.agent_id,
        "steelyard.parent_agent_id": None if lineage is None else lineage.parent_agent_id,
        "steelyard.agent_kind": None if lineage is None else lineage.agent_kind,
        "steelyard.cache": None if outcome.cache is None else outcome.cache.value,
    }
    return {name: value for name, value in facts.items() if value is not None}


def usage_attributes(usage: Usage, *, latest: bool) -> dict[str, Any]:
    """Return the token counts by the names of the conventions."""
    counts: dict[str, Any] = {
        "gen_ai.usage.input_tokens": usage.input_tokens,
        "gen_ai.usage.output_tokens": usage.output_tokens,
    }
    if latest:
        counts["gen_ai.usage.cache_read.input_tokens"] = usage.cached_input_tokens
        counts["gen_ai.usage.cache_creation.input_tokens"] = usage.cache_write_tokens
        counts["gen_ai.usage.reasoning.output_tokens"] = usage.reasoning_tokens
    if usage.estimated:
        counts["steelyard.usage_estimated"] = True
    return counts


MAX_TEXT_CHARS = 65_536
"""Of a prompt, and of an answer, in a span."""

_MESSAGE_CHARS = 64
"""What a message has besides its text."""


def text_attributes(texts: Texts, redact: RedactText) -> dict[str, str]:
    """Return prompt and answer, redacted; nothing where that fails.

    Of long ones only the newest messages: they are redacted while others wait, and collectors take
    no megabytes. A message is told whole or not at all, since a pattern may not match half of it.
    """
    try:
        prompt: list[dict[str, object]] = []
        left = MAX_TEXT_CHARS
        for message in reversed(texts.conversation.messages):
            left -= len(message.text) + _MESSAGE_CHARS
            if left < 0:
                break
            parts = [{"type": "text", "content": redact(message.text)}]
            prompt.insert(0, {"role": message.role.value, "parts": parts})
        attributes = {"gen_ai.input.messages": json.dumps(prompt, ensure_ascii=False)}
        if (answer := answer_text(texts)) and len(answer) <= MAX_TEXT_CHARS:
            parts = [{"type": "text", "content": redact(answer)}]
            attributes["gen_ai.output.messages"] = json.dumps(
                [{"role": "assistant", "parts": parts}], ensure_ascii=False
            )
    except Exception:  # noqa: BLE001  (an operator's function; what it fails on is not told)
        return {}
    return attributes
