"""What the outcome log holds: requests, what was said, and what somebody thought of the answers."""

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import msgspec


class OutcomeRow(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What is kept of one request; money in billionths of a US dollar, times in seconds.

    Attributes
    ----------
    time
        When it ended, in seconds since the epoch.
    artifact_version
        Of the router that decided. With it, the features of the request can be computed anew from
        its text; where the text is not kept they are only known by `features`.
    objective
        JSON of what was decided by, such as ``{"cost_quality": 0.5}``.
    usd_per_quality
        The exchange rate that the knob came down to.
    decided_model, model
        The router's choice, and who served in the end: another one after a fallback.
    session
        Why the conversation stayed on its model or left it.
    session_id, agent_id, parent_agent_id, agent_kind
        Hashes of what the client says of its run, and what the agent is for; see `app.lineage`.
    candidates
        JSON of every candidate with its predictions, one array per field; `exclusion` says why a
        candidate could not be chosen, null for those that could.
    fallbacks
        JSON: further models, best first.
    calls
        JSON: every upstream call, with its `role`; see `app.outcomes.calls`.
    documents
        JSON of what came with the request for its answer to rest on: `n`, `coverage` and every
        signal that the router was told; None where there was nothing, or nobody looked.
    workflow
        JSON: how several calls came to one answer; None under a policy that makes one.
    category
        What a router that goes by categories or domains took it to be about; None of others.
    decision_model
        JSON of what a decision model said of how hard it is: `result`, and the chances of `level`
        and `kind`; None where nobody was to be asked.
    task
        What the request was for, in the words of its policy: `sql`, `ocr>translate`, `uncertain`.
    priority, queued_s
        How urgent it was where requests wait, and how long it did; None where it went at once.
    tier, tier_in_force
        Under a policy with tiers, from 1, the highest, on: which one took it, and which was in
        force then; None elsewhere, and in rows of earlier releases.
    deadline_s
        Within which its answer was to be whole there, from the request on.
    watch
        What was held against the model that answered, in the words of `x-route-watch`; None:
        nothing.
    input_tokens, cached_input_tokens, cache_write_tokens, output_tokens, reasoning_tokens
        Those that a provider read from its cache and wrote to it are among the input tokens,
        reasoning ones among the output tokens. Rows of earlier releases do not tell what was
        written.
    estimated
        Whether the token counts are ours, because the upstream told none.
        All counts are of the answer, or of all calls to answer where none served.
    cost_nusd
        Of all calls, whatever they were for; None where a price is not known, which is not zero.
    predicted_quality, predicted_cost_nusd
        Of the model that served, at the time of the decision.
    predicted_ttft_s, predicted_latency_s
        When its first token and its end were predicted to come, from the request on, as its call
        began: the medians, and (`_upper`) what nine of ten stay below.
    propensity
        Probability of the pick, for off-policy evaluation.
    features
        The prompt's embedding as little-endian float16, where that is to be kept.
    """

    request_id: str
    decision_id: str
    time: float
    key_id: str | None
    team: str | None
    policy: str
    policy_version: str
    artifact_version: str | None = None
    objective: str | None = None
    usd_per_quality: float | None = None
    decided_model: str | None = None
    model: str | None
    upstream: str | None = None
    response_model: str | None = None
    reason: str | None
    session: str | None = None
    session_id: str | None = None
    agent_id: str | None = None
    parent_agent_id: str | None = None
    agent_kind: str | None = None
    cache: str | None = None
    stream: bool = False
    status: int
    error: str | None
    finish_reason: str | None = None
    candidates: str | None = None
    fallbacks: str | None = None
    calls: str | None = None
    documents: str | None = None
    workflow: str | None = None
    task: str | None = None
    priority: str | None = None
    queued_s: float | None = None
    category: str | None = None
    decision_model: str | None = None
    tier: int | None = None
    tier_in_force: int | None = None
    deadline_s: float | None = None
    watch: str | None = None
    input_tokens: int | None
    cached_input_tokens: int | None
    cache_write_tokens: int | None = None
    output_tokens: int | None
    reasoning_tokens: int | None
    estimated: bool
    cost_nusd: int | None
    predicted_quality: float | None
    predicted_cost_nusd: int | None
    predicted_ttft_s: float | None = None
    predicted_ttft_s_upper: float | None = None
    predicted_latency_s: float | None = None
    predicted_latency_s_upper: float | None = None
    decide_s: float
    overhead_s: float
    time_to_first_token_s: float | None
    duration_s: float
    propensity: float | None
    features: bytes | None = None


_INT64 = 2**63 - 1


def storable(row: OutcomeRow) -> OutcomeRow:
    """Return a row that every sink can hold, where one of its values cannot be held.

    Whole numbers are cut to 64 bits, text that is no Unicode is escaped, what is no number is 0 (or
    missing, where it may be), and of odd types their text is kept.
    """
    return msgspec.structs.replace(
        row,
        **{
            name: _storable(getattr(row, name), zero=name in _ALWAYS)
            for name in OutcomeRow.__struct_fields__
        },
    )


_ALWAYS = frozenset({"time", "decide_s", "overhead_s", "duration_s"})


def _storable(value: Any, *, zero: bool) -> Any:
    match value:
        case None | bytes():
            return value
        case int():
            return max(-_INT64, min(value, _INT64))
        case float():
            return value if math.isfinite(value) else 0.0 if zero else None
        case _:
            return str(value).encode(errors="backslashreplace").decode()


class ContentRow(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The texts of one request that may be kept until `expires_at`, in seconds since the epoch."""

    decision_id: str
    expires_at: float
    content: bytes


class LabelKind(StrEnum):
    """How somebody said what an answer was worth."""

    SCORE = "score"
    THUMBS = "thumbs"
    PREFERENCE = "preference"


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """What somebody thought of an answer, or of one beside another.

    Attributes
    ----------
    other_decision_id
        The second of two that were compared; empty otherwise. Of a comparison `decision_id` is the
        smaller of the two, so that it has one name.
    quality
        In [0, 1]; of a comparison 1 where the first is better, 0 where the second is, 0.5 where
        they are alike.
    labelled_by
        The id of a key, or `admin`.
    time
        In seconds since the epoch.
    """

    decision_id: str
    other_decision_id: str = ""
    kind: LabelKind
    quality: float
    labelled_by: str
    time: float


class Labelled(StrEnum):
    """What became of a label."""

    NEW = "new"
    SAME = "same"
    CHANGED = "changed"
    REFUSED = "refused"
    """It was changed too often."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """What feedback has to know of a decision."""

    key_id: str | None
    policy: str
    model: str | None
    predicted_quality: float | None


Row = OutcomeRow | ContentRow
