"""The account of one request: what was decided, tried, used and paid; closed exactly once."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from app.errors import UpstreamError, answer_for
from app.gateway.request import Deployment, RouteRequest
from app.providers._base import Chunk
from app.types import Attempt, Outcome, ScorerCall, Usage
from routers.types import Decision, Prices, Reason

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


@dataclass(slots=True, kw_only=True)
class LedgerEntry:
    """Collects the facts of one request while it runs; times are from `clock`, in seconds."""

    clock: Callable[[], float]
    request: RouteRequest
    policy_version: str
    started: float
    decision: Decision | None = None
    scorer_call: ScorerCall | None = None
    decide_s: float = 0.0
    attempts: list[Attempt] = field(default_factory=list)
    served: Deployment | None = None
    upstream_wait_s: float = 0.0
    """Time spent waiting for upstreams, a scorer included, before the answer began."""
    overhead_s: float = 0.0
    time_to_first_token_s: float | None = None
    usage: Usage | None = None
    response_model: str | None = None
    finish_reason: str | None = None
    complete: bool = False
    _content_events: int = 0
    _content_chars: int = 0

    def scored(self, call: ScorerCall) -> None:
        """Note that a scorer was asked."""
        self.scorer_call = call
        self.upstream_wait_s += call.duration_s

    def attempted(
        self, deployment: Deployment, began: float, *, error: BaseException | None = None
    ) -> None:
        """Note one upstream call; `error` None means that it serves the answer."""
        duration_s = self.clock() - began
        self.upstream_wait_s += duration_s
        code = None
        status = 200 if error is None else None
        if isinstance(error, UpstreamError):
            code, status = answer_for(error).code, error.status
        elif error is not None:
            code = "cancelled"
        self.attempts.append(
            Attempt(
                model_id=deployment.spec.model_id,
                upstream=deployment.upstream,
                duration_s=duration_s,
                status=status,
                error=code,
            )
        )
        if error is None:
            self.served = deployment
            self.time_to_first_token_s = self.clock() - self.started

    def answering(self) -> None:
        """Note that the response headers go out now: what was not upstream's time is ours."""
        self.overhead_s = max(self.clock() - self.started - self.upstream_wait_s, 0.0)

    def saw(self, chunk: Chunk) -> None:
        """Take note of what a chunk tells about the answer."""
        self._content_events += chunk.content_events
        self._content_chars += chunk.content_chars
        if chunk.usage is not None:
            self.usage = chunk.usage
        if chunk.response_model is not None:
            self.response_model = chunk.response_model
        if chunk.finish_reason is not None:
            self.finish_reason = chunk.finish_reason

    def settled_usage(self) -> Usage | None:
        """Return the tokens to account for; counted by us where the upstream never told."""
        if self.usage is not None or self.served is None:
            return self.usage
        demand = self.request.demand
        output_tokens = estimated_output_tokens(self._content_events, self._content_chars)
        if demand.max_output_tokens is not None:
            output_tokens = min(output_tokens, demand.max_output_tokens * demand.n_answers)
        return Usage(input_tokens=demand.input_tokens, output_tokens=output_tokens, estimated=True)

    def cost_usd(self) -> float | None:
        """Price the usage with the catalogue; None when a price or the usage is unknown."""
        usage = self.settled_usage()
        if usage is None or self.served is None:
            return None
        return usage_cost_usd(usage, self.served.spec.prices)

    @property
    def reason(self) -> Reason | None:
        """Why the served model served: the decision's reason, or that a fallback stepped in."""
        if self.fallback_index:
            return Reason.FALLBACK
        return None if self.decision is None else self.decision.reason

    @property
    def fallback_index(self) -> int:
        """0 for the decision's first choice, i for its i-th fallback."""
        return max(len(self.attempts) - 1, 0) if self.served is not None else 0

    def close(self, *, status: int, error: str | None) -> Outcome:
        """Return the record of the whole request."""
        return Outcome(
            request_id=self.request.request_id,
            decision_id=self.request.decision_id,
            policy=self.request.policy_name,
            policy_version=self.policy_version,
            stream=self.request.stream,
            decision=self.decision,
            reason=self.reason,
            attempts=tuple(self.attempts),
            served_model_id=None if self.served is None else self.served.spec.model_id,
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
        )
