"""Every Prometheus instrument of the gateway, declared once.

Labels are configured names and enums only, never anything that a client typed.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from app.stores._base import Refusal
from app.stores._watch import Feature
from app.types import Attempt, Outcome, ScorerCall
from routers.types import Reason

_FAST = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5)
_BREAKER_STATES = ("closed", "half_open", "open")
_SLOW = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60, 300)


class Metrics:
    """The instruments, on a registry of their own so that applications do not share them."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self._requests = Counter(
            "gateway_requests",
            "Chat requests by how they ended.",
            ("policy", "model", "status_class", "error"),
            registry=registry,
        )
        self._duration = Histogram(
            "gateway_request_duration_seconds",
            "From the request to the end of the answer.",
            ("model",),
            buckets=_SLOW,
            registry=registry,
        )
        self._first_token = Histogram(
            "gateway_time_to_first_token_seconds",
            "From the request to the first content of the answer.",
            ("model",),
            buckets=_SLOW,
            registry=registry,
        )
        self._overhead = Histogram(
            "gateway_overhead_seconds",
            "Time until the answer begins that is not the upstream's.",
            buckets=_FAST,
            registry=registry,
        )
        self._decide = Histogram(
            "gateway_decide_duration_seconds",
            "From the parsed request to the decision.",
            buckets=_FAST,
            registry=registry,
        )
        self._decisions = Counter(
            "gateway_decisions",
            "Decisions by the model that served and why.",
            ("policy", "model", "reason"),
            registry=registry,
        )
        self._router_failures = Counter(
            "gateway_router_failures",
            "Decisions that the router could not make, taken by the policy's default model.",
            ("policy", "reason"),
            registry=registry,
        )
        self._attempt_errors = Counter(
            "gateway_upstream_errors",
            "Failed upstream calls.",
            ("model", "upstream", "error"),
            registry=registry,
        )
        self._attempts = Counter(
            "gateway_upstream_attempts",
            "Upstream calls until an answer began, or none did; error is empty where one did.",
            ("model", "upstream", "error"),
            registry=registry,
        )
        self._breaker_state = Gauge(
            "gateway_breaker_state",
            "Circuit of a deployment: 0 closed, 1 half-open, 2 open.",
            ("model", "upstream", "upstream_model"),
            registry=registry,
        )
        self._tokens = Counter(
            "gateway_tokens",
            "Tokens accounted for; class is input, cached_input, output or reasoning.",
            ("model", "class", "estimated"),
            registry=registry,
        )
        self._cost = Counter(
            "gateway_cost_usd", "US dollars spent upstream.", ("model",), registry=registry
        )
        self._predicted_cost = Counter(
            "gateway_predicted_cost_usd",
            "US dollars predicted for the answers that gateway_cost_usd counts.",
            ("model",),
            registry=registry,
        )
        self._unpriced = Counter(
            "gateway_unpriced_answers",
            "Answers whose cost is unknown.",
            ("model",),
            registry=registry,
        )
        self._scorer_calls = Counter(
            "gateway_scorer_calls",
            "Models asked before a decision; error is empty where one was given.",
            ("policy", "model", "error"),
            registry=registry,
        )
        self._scorer_tokens = Counter(
            "gateway_scorer_tokens",
            "Tokens of these calls, which gateway_tokens does not count.",
            ("policy", "model", "class"),
            registry=registry,
        )
        self._scorer_cost = Counter(
            "gateway_scorer_cost_usd",
            "US dollars spent on these calls, which gateway_cost_usd does not count.",
            ("policy", "model"),
            registry=registry,
        )
        self._refusals = Counter(
            "gateway_limit_refusals",
            "Requests refused by a limit or a budget of this gateway.",
            ("scope", "resource"),
            registry=registry,
        )
        self._store_errors = Counter(
            "gateway_store_errors",
            "Operations that the shared store did not answer, and the feature that suffered.",
            ("operation", "feature"),
            registry=registry,
        )
        self._lag = Gauge(
            "gateway_event_loop_lag_seconds", "How late the event loop was.", registry=registry
        )
        self._rss = Gauge(
            "gateway_resident_memory_bytes", "Resident size of the process.", registry=registry
        )
        self._reloaded = Gauge(
            "gateway_config_last_reload_successful",
            "Whether the last attempt to read the configuration anew worked.",
            registry=registry,
        )
        self._reloaded.set(1)
        self._reloaded_at = Gauge(
            "gateway_config_last_reload_success_timestamp_seconds",
            "When the configuration that is served was read.",
            registry=registry,
        )
        self._reloaded_at.set_to_current_time()
        self._session_turns = Counter(
            "gateway_session_turns",
            "Turns of conversations by why they stayed on their model or left it.",
            ("policy", "reason"),
            registry=registry,
        )
        self._cache = Counter(
            "gateway_cache_requests",
            "Chat requests by what the response cache did: hit, miss or bypass.",
            ("state",),
            registry=registry,
        )
        self.in_flight = Gauge(
            "gateway_requests_in_flight", "Chat requests being handled.", registry=registry
        )

    def refused(self, refusal: Refusal) -> None:
        """Count one request that a limit refused."""
        self._refusals.labels(refusal.scope.kind.value, refusal.resource.value).inc()

    def store_failed(self, operation: str, feature: Feature) -> None:
        """Count one operation that the shared store did not answer."""
        self._store_errors.labels(operation, feature.value).inc()

    def sampled(self, lag_s: float, rss_bytes: int) -> None:
        """Show how the process is."""
        self._lag.set(lag_s)
        self._rss.set(rss_bytes)

    def reloaded(self, *, successful: bool) -> None:
        """Show how the last attempt to read the configuration anew ended."""
        self._reloaded.set(successful)
        if successful:
            self._reloaded_at.set_to_current_time()

    def attempt_failed(self, model_id: str, *, upstream: str, error: str) -> None:
        """Count one failed upstream call."""
        self._attempt_errors.labels(model_id, upstream, error).inc()

    def breaker_changed(
        self, model_id: str, *, upstream: str, upstream_model: str, state: str
    ) -> None:
        """Show the state of a deployment's circuit."""
        level = _BREAKER_STATES.index(state)
        self._breaker_state.labels(model_id, upstream, upstream_model).set(level)

    def router_failed(self, policy: str, reason: Reason) -> None:
        """Count one decision that fell open to the default model."""
        self._router_failures.labels(policy, reason.value).inc()

    def scorer_called(self, policy: str, call: ScorerCall) -> None:
        """Count one question to a scorer; `/v1/route`, which leaves no outcome, asks too."""
        self._scorer_calls.labels(policy, call.model_id, call.error or "").inc()
        if call.usage is not None:
            for token_class, n_tokens in (
                ("input", call.usage.input_tokens),
                ("output", call.usage.output_tokens),
            ):
                self._scorer_tokens.labels(policy, call.model_id, token_class).inc(n_tokens)
        if call.cost_usd is not None:
            self._scorer_cost.labels(policy, call.model_id).inc(call.cost_usd)

    def record(self, outcome: Outcome) -> None:
        """Derive every figure of one request from its outcome."""
        model = outcome.served_model_id or "none"
        self._requests.labels(
            outcome.policy, model, f"{outcome.status // 100}xx", outcome.error or ""
        ).inc()
        self._duration.labels(model).observe(outcome.duration_s)
        if outcome.reason is not None:
            self._decisions.labels(outcome.policy, model, outcome.reason.value).inc()
            self._decide.observe(outcome.decide_s)
        for attempt in outcome.attempts:
            self._attempted(attempt)
        self._remembered(outcome)
        if outcome.served_model_id is None:
            return
        self._overhead.observe(outcome.overhead_s)
        if outcome.time_to_first_token_s is not None:
            self._first_token.labels(model).observe(outcome.time_to_first_token_s)
        usage = outcome.usage
        if usage is not None:
            estimated = "true" if usage.estimated else "false"
            plain_input = usage.input_tokens - usage.cached_input_tokens
            plain_output = usage.output_tokens - usage.reasoning_tokens
            for token_class, n_tokens in (
                ("input", plain_input),
                ("cached_input", usage.cached_input_tokens),
                ("output", plain_output),
                ("reasoning", usage.reasoning_tokens),
            ):
                if n_tokens > 0:
                    self._tokens.labels(model, token_class, estimated).inc(n_tokens)
        if outcome.cost_usd is None:
            self._unpriced.labels(model).inc()
            return
        self._cost.labels(model).inc(outcome.cost_usd - (outcome.hedge_cost_usd or 0.0))
        estimate = None if outcome.decision is None else outcome.decision.estimate(model)
        if estimate is not None and estimate.cost_usd is not None:
            self._predicted_cost.labels(model).inc(estimate.cost_usd)

    def _remembered(self, outcome: Outcome) -> None:
        if outcome.session is not None:
            self._session_turns.labels(outcome.policy, outcome.session.value).inc()
        if outcome.cache is not None:
            self._cache.labels(outcome.cache.value).inc()

    def _attempted(self, attempt: Attempt) -> None:
        self._attempts.labels(attempt.model_id, attempt.upstream, attempt.error or "").inc()
        if not attempt.hedge_input_tokens:
            return
        self._tokens.labels(attempt.model_id, "input", "true").inc(attempt.hedge_input_tokens)
        if attempt.hedge_cost_usd is None:
            self._unpriced.labels(attempt.model_id).inc()
        else:
            self._cost.labels(attempt.model_id).inc(attempt.hedge_cost_usd)
