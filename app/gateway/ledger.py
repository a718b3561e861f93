"""The account of one request: what was decided, tried, used and paid; closed exactly once."""

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass, field

from app.errors import UpstreamError, answer_for
from app.gateway.admission import Pressure, Ticket
from app.gateway.affinity import SessionTurn
from app.gateway.cache import CachedAnswer
from app.gateway.request import Deployment, RouteRequest
from app.providers._base import Chunk
from app.stores._base import Standing
from app.telemetry.tracing import RequestTrace
from app.types import Attempt, CacheState, Outcome, ScorerCall, Texts, ToldUsage, Usage
from routers.switching import SessionReason
from routers.types import Decision, Objective, Prices, Reason

_CHARS_PER_TOKEN = 4
_MAX_CHARS_PER_EVENT = 7
"""Longer events, on average, hold more than one token each."""


def estimated_output_tokens(n_events: int, n_chars: int) -> int:
    """Estimate the tokens of a text that came in `n_events` pieces.

    Most servers send one token per event, and then the events are the exact count; where the
    pieces are longer than tokens are, the characters tell.
    """
    if n_chars <= n_events * _MAX_CHARS_PER_EVENT:
        return n_events
    return math.ceil(n_chars / _CHARS_PER_TOKEN)


def usage_cost_usd(usage: Usage, prices: Prices) -> float | None:
    """Price token counts; None when a price is unknown."""
    return prices.cost_usd(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cached_input_tokens=usage.cached_input_tokens,
        reasoning_tokens=usage.reasoning_tokens,
    )


@dataclass(frozen=True, slots=True)
class Keeps:
    """What of the texts an outcome carries, because the operator opted in."""

    features: bool = False
    """The prompt's embedding is to be kept, which is made from the conversation."""
    answers: bool = False
    """The conversation and its answer are."""


NOTHING = Keeps()
MAX_KEPT_ANSWER_BYTES = 1_000_000
"""Of a longer answer nothing is kept."""


@dataclass(slots=True, kw_only=True)
class LedgerEntry:
    """Collects the facts of one request while it runs; times are from `clock`, in seconds."""

    clock: Callable[[], float]
    request: RouteRequest
    policy_version: str
    started: float
    objective: Objective | None = None
    """What was decided by: the request's own, or what a budget's pressure left of it."""
    pressure: Pressure | None = None
    ticket: Ticket | None = None
    """What was claimed and is not settled yet."""
    standing: Standing | None = None
    """Where the limits stand that the caller is told of."""
    decision: Decision | None = None
    scorer_call: ScorerCall | None = None
    turn: SessionTurn | None = None
    cache: CacheState | None = None
    cached: CachedAnswer | None = None
    decide_s: float = 0.0
    attempts: list[Attempt] = field(default_factory=list)
    served: Deployment | None = None
    upstream_wait_s: float = 0.0
    """Time spent waiting for upstreams, a scorer included, before the answer began."""
    overhead_s: float = 0.0
    time_to_first_token_s: float | None = None
    told: ToldUsage | None = None
    """What the upstream told of the tokens, in one record or several."""
    response_model: str | None = None
    finish_reason: str | None = None
    keeps: Keeps = NOTHING
    trace: RequestTrace | None = None
    _heard: list[bytes] = field(default_factory=list)
    _heard_bytes: int = 0
    _n_waiting: int = 0
    _waiting_since: float = 0.0
    _content_events: int = 0
    _content_chars: int = 0

    def scored(self, call: ScorerCall) -> None:
        """Note that a scorer was asked."""
        self.scorer_call = call
        self.upstream_wait_s += call.duration_s

    def wait_begins(self, now: float) -> None:
        """Note that the request waits for an upstream, maybe for two at the same time."""
        if self._n_waiting == 0:
            self._waiting_since = now
        self._n_waiting += 1

    def wait_ends(self, now: float) -> None:
        """Note that one of these waits is over."""
        self._n_waiting -= 1
        if self._n_waiting == 0:
            self.upstream_wait_s += now - self._waiting_since

    def serves(self, deployment: Deployment, began: float) -> None:
        """Note that an upstream call serves the answer."""
        now = self.clock()
        self.attempts.append(
            Attempt(
                model_id=deployment.spec.model_id,
                upstream=deployment.upstream,
                duration_s=now - began,
                status=200,
            )
        )
        self.served = deployment
        self.time_to_first_token_s = now - self.started

    def failed(self, deployment: Deployment, began: float, error: BaseException) -> Attempt:
        """Note an upstream call that does not serve the answer.

        One that is cancelled while another one serves is a hedge that lost; its prompt is billed.
        """
        code = answer_for(error).code
        status = error.status if isinstance(error, UpstreamError) else None
        input_tokens: int = 0
        cost_usd: float | None = 0.0
        if isinstance(error, asyncio.CancelledError):
            code = "cancelled" if self.served is None else "hedge_lost"
        if code == "hedge_lost":
            input_tokens = self.request.demand.input_tokens
            cost_usd = deployment.spec.prices.cost_usd(input_tokens=input_tokens, output_tokens=0)
        attempt = Attempt(
            model_id=deployment.spec.model_id,
            upstream=deployment.upstream,
            duration_s=self.clock() - began,
            status=status,
            error=code,
            hedge_input_tokens=input_tokens,
            hedge_cost_usd=cost_usd,
        )
        self.attempts.append(attempt)
        return attempt

    def answering(self) -> None:
        """Note that the response headers go out now: what was not upstream's time is ours."""
        self.overhead_s = max(self.clock() - self.started - self.upstream_wait_s, 0.0)

    def saw(self, chunk: Chunk) -> None:
        """Take note of what a chunk tells about the answer."""
        self._content_events += chunk.content_events
        self._content_chars += chunk.content_chars
        if chunk.usage is not None:
            self.told = chunk.usage if self.told is None else self.told.updated(chunk.usage)
        if chunk.response_model is not None:
            self.response_model = chunk.response_model
        if chunk.finish_reason is not None:
            self.finish_reason = chunk.finish_reason
        if self.keeps.answers and chunk.data and self._heard_bytes <= MAX_KEPT_ANSWER_BYTES:
            self._heard.append(chunk.data)
            self._heard_bytes += len(chunk.data)

    def settled_usage(self) -> Usage | None:
        """Return the tokens to account for; each part counted by us where it was never told."""
        if self.served is None:
            return None
        demand = self.request.demand
        output_tokens = estimated_output_tokens(self._content_events, self._content_chars)
        if demand.max_output_tokens is not None:
            output_tokens = min(output_tokens, demand.max_output_tokens * demand.n_answers)
        if self.told is not None:
            return self.told.filled(input_tokens=demand.input_tokens, output_tokens=output_tokens)
        return Usage(input_tokens=demand.input_tokens, output_tokens=output_tokens, estimated=True)

    def cost_usd(self) -> float | None:
        """Price the usage with the catalogue, and a hedge that lost; None when one is unknown."""
        if self.cached is not None:
            return 0.0
        usage = self.settled_usage()
        if usage is None or self.served is None:
            return None
        cost_usd = usage_cost_usd(usage, self.served.spec.prices)
        if len(self.attempts) == 1 or cost_usd is None:
            return cost_usd
        hedge_cost_usd = self.hedge_cost_usd()
        return None if hedge_cost_usd is None else cost_usd + hedge_cost_usd

    def hedge_cost_usd(self) -> float | None:
        """Estimate what a hedge that lost costs; None where its price is unknown."""
        total_usd = 0.0
        for attempt in self.attempts:
            if attempt.hedge_cost_usd is None:
                return None
            total_usd += attempt.hedge_cost_usd
        return total_usd

    @property
    def served_model_id(self) -> str | None:
        """The model whose answer it is, given now or kept from before."""
        if self.cached is not None:
            return self.cached.model_id
        return None if self.served is None else self.served.spec.model_id

    @property
    def session(self) -> SessionReason | None:
        """Why the conversation stayed on its model or left it."""
        return None if self.turn is None else self.turn.reason(self.served_model_id)

    @property
    def reason(self) -> Reason | None:
        """Why the served model served: the decision's reason, or that a fallback stepped in."""
        if self.fallback_index:
            return Reason.FALLBACK
        return None if self.decision is None else self.decision.reason

    @property
    def fallback_index(self) -> int:
        """0 for the decision's first choice, i for its i-th fallback."""
        if self.served is None or self.decision is None:
            return 0
        model_id = self.served.spec.model_id
        if model_id == self.decision.model_id:
            return 0
        return 1 + self.decision.fallbacks.index(model_id)

    def close(self, *, status: int, error: str | None) -> Outcome:
        """Return the record of the whole request."""
        outcome = self._outcome(status=status, error=error)
        if self.trace is not None:
            self.trace.end(outcome, outcome.texts)
        return outcome

    def _outcome(self, *, status: int, error: str | None) -> Outcome:
        return Outcome(
            request_id=self.request.request_id,
            decision_id=self.request.decision_id,
            policy=self.request.policy_name,
            policy_version=self.policy_version,
            stream=self.request.stream,
            decision=self.decision,
            reason=self.reason,
            attempts=tuple(self.attempts),
            served_model_id=self.served_model_id,
            response_model=self.response_model,
            finish_reason=self.finish_reason,
            usage=self.settled_usage(),
            cost_usd=self.cost_usd(),
            decide_s=self.decide_s,
            overhead_s=self.overhead_s,
            time_to_first_token_s=self.time_to_first_token_s,
            duration_s=self.clock() - self.started,
            status=status,
            error=error,
            scorer_call=self.scorer_call,
            session=self.session,
            cache=self.cache,
            served_upstream=None if self.served is None else self.served.upstream,
            hedge_cost_usd=self.hedge_cost_usd(),
            key_id=self.request.caller.key_id,
            team=self.request.caller.team,
            objective=self.objective,
            n_answers=self.request.demand.n_answers,
            artifact_version=None
            if self.request.policy is None
            else self.request.policy.artifact.version,
            texts=None if self.keeps is NOTHING else self._texts(),
            refused_usage=() if self.told is None else tuple(sorted(self.told.refused)),
        )

    def _texts(self) -> Texts:
        policy, streamed = self.request.policy, self.request.stream
        answer: tuple[bytes, ...] = ()
        if self.keeps.answers and self.cached is not None:
            answer, streamed = (self.cached.body,), False
        elif self._heard_bytes <= MAX_KEPT_ANSWER_BYTES:
            answer = tuple(self._heard)
        return Texts(
            conversation=self.request.conversation,
            answer=answer,
            streamed=streamed,
            featurizer=policy.artifact.featurizer if self.keeps.features and policy else None,
        )
