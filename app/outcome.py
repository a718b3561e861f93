"""What one request leaves behind: what was said of it, what was called, how it ended."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

import msgspec

from app.calls import ANSWERING, Call, known_nusd, sum_known_usd, tokens_of
from app.keys import Priority
from app.lineage import Lineage
from app.paths import CHAT_COMPLETIONS, CHAT_ROUTE, DECISION_ROUTE, WATCH_ROUTE
from app.usage import Usage, UsagePart
from routers.artifact.evidence import Evidence
from routers.decision.judged import Judged
from routers.decision.switching import SessionReason
from routers.decisions import Decision, Latency, Reason
from routers.features.featurizer import Featurizer
from routers.objectives import Objective
from routers.types import Conversation, DocumentNumbers


class CacheState(StrEnum):
    """What the response cache did for a request."""

    HIT = "hit"
    MISS = "miss"
    BYPASS = "bypass"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What a model said, before the decision, of whether the weak one of a pair will do.

    Attributes
    ----------
    call
        The last one made for it.
    score
        1 to 5; None where the reply was no score.
    strong_chance
        The chance that the strong model is needed, in [0, 1].
    failure
        Why the request goes to the default model instead.
    """

    call: Call
    score: int | None = None
    strong_chance: float | None = None
    failure: Reason | None = None


class DecisionModelResult(StrEnum):
    """What became of a request that a decision model was to be asked about."""

    HIT = "hit"
    """It had been asked about the same prompt, or was being asked."""
    ASKED = "asked"
    LATE = "late"
    FAILED = "failed"
    """It could not be had, was left alone, or said what is no choice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionModelSaid:
    """What a decision model said of a request, if it did."""

    result: DecisionModelResult
    judged: Judged | None = None

    def values(self) -> dict[str, Any]:
        """Return it as plain values, as clients and the decision log are told."""
        judged = self.judged
        return {
            "result": self.result.value,
            "level": {} if judged is None else _rounded(judged.level),
            "kind": {} if judged is None else _rounded(judged.kind),
        }


def _rounded(chances: Mapping[str, float]) -> dict[str, float]:
    return {word: round(chance, 6) for word, chance in chances.items()}


class DraftVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """What was said of an answer that a workflow held back.

    Attributes
    ----------
    by
        Who said it: the kind of an acceptor or a workflow.
    score
        On its own scale; None where it had nothing to go by.
    predicted_quality
        What was expected of the model before.
    output_tokens, chars
        How long the answer was.
    took_s
        Until it was whole.
    """

    model_id: str
    accepted: bool
    by: str
    score: float | None = None
    why: str = ""
    predicted_quality: float | None = None
    output_tokens: float | None = None
    chars: int = 0
    cost_usd: float | None = None
    took_s: float | None = None


class WorkflowTold(msgspec.Struct, frozen=True, kw_only=True):
    """How several calls came to one answer.

    Attributes
    ----------
    skipped
        Why one choice answered instead, in a word; None where it did not.
    rounds
        The models of all calls, those that were made at the same time together.
    accepted_by
        Who or what let the answer serve.
    ceiling
        Which ceiling kept a call from being made: `calls`, `cost`, `time`, `bytes` or `budget`.
    held_s
        For how long answers were held back.
    judged
        What was said of each.
    notes
        What the kind tells of its way: numbers, names of modes and of models.
    """

    kind: str
    skipped: str | None = None
    rounds: tuple[tuple[str, ...], ...] = ()
    accepted_by: str | None = None
    ceiling: str | None = None
    held_s: float | None = None
    judged: tuple[DraftVerdict, ...] = ()
    notes: dict[str, Any] = {}


class DraftText(msgspec.Struct, frozen=True, kw_only=True):
    """An answer that a workflow held back, where the operator opted in to keep texts.

    Attributes
    ----------
    served
        Whether it is the one that served in the end.
    logprob
        The mean log-probability of its tokens; None where it was not told.
    judged
        The chance that it is good, as a judge said.
    verified
        Of its model's own votes on it, the share that called it correct.
    """

    model: str
    text: str
    served: bool = False
    took_s: float | None = None
    output_tokens: float | None = None
    cost_usd: float | None = None
    logprob: float | None = None
    judged: float | None = None
    verified: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Texts:
    """What was said; on an outcome only where the operator opted in to keep some of it.

    Attributes
    ----------
    answer
        The answer as the client got it, in pieces: server-sent events where `streamed`, else the
        JSON of a completion. Empty where it is not to be kept, or was too long to be.
    dialect
        In which it is written.
    featurizer
        Of the artifact that decided; makes the embedding where that is to be kept.
    drafts
        Answers that were held back.
    """

    conversation: Conversation
    answer: tuple[bytes, ...] = ()
    drafts: tuple[DraftText, ...] = ()
    streamed: bool = False
    dialect: str = CHAT_COMPLETIONS
    featurizer: Featurizer | None = None


class TierTold(NamedTuple):
    """Which tier of its policy took a request; tiers count from 1, the highest.

    Attributes
    ----------
    tier_in_force
        The one that the policy came down to in that moment; single requests may get another.
    deadline_s
        Within which its answer was to be whole, from the request on.
    """

    tier: int
    tier_in_force: int
    deadline_s: float


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How one request ended; log line, metrics and training row derive from it alone.

    What it cost and used is what its calls did.
    """

    request_id: str
    decision_id: str
    policy: str
    policy_version: str
    stream: bool
    decision: Decision | None
    reason: Reason | None
    calls: tuple[Call, ...]
    """Every upstream call, in the order in which they ended or began to answer."""
    served_model_id: str | None
    response_model: str | None
    finish_reason: str | None
    usage: Usage | None
    """Of the call that served, or of all that were to answer where none did."""
    decide_s: float
    overhead_s: float
    time_to_first_token_s: float | None
    duration_s: float
    status: int
    error: str | None
    refused_by: str | None = None
    """Whose limit or budget refused it, as `team:research`."""
    route: str = CHAT_ROUTE
    """The path that was asked."""
    session: SessionReason | None = None
    """Why the conversation stayed on its model or left it; None where there is none to follow."""
    lineage: Lineage | None = None
    """The session and agent that the client says it is of."""
    cache: CacheState | None = None
    """What the response cache did. A hit has no usage and cost nothing."""
    served_upstream: str | None = None
    key_id: str = "anonymous"
    team: str | None = None
    objective: Objective | None = None
    """The knob that was decided by: the request's own, or what a budget's pressure left of it."""
    latency: Latency | None = None
    """How long the answer was predicted to take from the request on, as its call began; None where
    nothing was predicted of its length."""
    latency_terms: Mapping[str, float] | None = None
    """How long it might take, and what its time was worth, by the names that requests use."""
    flags: str | None = None
    """What it wanted of models besides quality and price, as flags are written."""
    n_answers: int = 1
    """How many answers the request asked for; `usage` counts all of them."""
    artifact_version: str | None = None
    """Of the router that decided; None where none did."""
    evidence: Mapping[str, Evidence] | None = None
    """What the predictions of that router's candidates rest on, by model; shared by all."""
    texts: Texts | None = None
    documents: DocumentNumbers | None = None
    """What came with the request for its answer to rest on; None where nobody looked."""
    workflow: WorkflowTold | None = None
    """How several calls came to the answer; None under a policy that makes one."""
    task: str | None = None
    """What it was for, in the words of its policy; None where nobody said or looked."""
    priority: Priority = Priority.INTERACTIVE
    """How urgent it was where requests wait."""
    queued_s: float = 0.0
    """How long it waited, for a place and before models that take only so many calls."""
    decision_model: DecisionModelSaid | None = None
    """What was said of how hard it is; None where nobody was to be asked."""
    tier: TierTold | None = None
    """Which tier took it; None under a policy without tiers."""
    watch: str | None = None
    """What is held against the model that answered, as clients are told it; None: nothing."""
    refused_usage: tuple[UsagePart, ...] = ()
    """The token counts that an upstream told and that cannot be; estimates stand for them."""

    @property
    def is_bare_decision(self) -> bool:
        """Whether the request asked for a decision alone, and nothing was called for it."""
        return self.route == DECISION_ROUTE and not self.calls

    @property
    def is_canary(self) -> bool:
        """Whether nobody asked for it but the gateway itself."""
        return self.route == WATCH_ROUTE

    @property
    def serving(self) -> Call | None:
        """The call whose answer the client got, whole; None where there is none such."""
        for call in reversed(self.calls):
            if call.error is None and call.role in ANSWERING:
                return call
        return None

    @property
    def cost_usd(self) -> float | None:
        """What all calls cost; None where a price is unknown, or there was nothing to pay."""
        if not self.calls:
            return 0.0 if self.cache is CacheState.HIT else None
        return sum_known_usd([call.cost_usd for call in self.calls])

    @property
    def answer_cost_usd(self) -> float | None:
        """The part of `cost_usd` that clients are told of: of the calls that they might get."""
        costs_usd = [call.cost_usd for call in self.calls if call.role in ANSWERING]
        return sum_known_usd(costs_usd) if costs_usd or self.cache is CacheState.HIT else None

    @property
    def known_nusd(self) -> int:
        """What is known to have been spent, in billionths of a US dollar."""
        return known_nusd(self.calls)

    @property
    def tokens(self) -> int:
        """What every call used, input and output."""
        return tokens_of(self.calls)
