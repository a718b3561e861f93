"""What upstreams did: calls, failures, circuits, and what was done about failures."""

from app.calls import DRAFT_REJECTED, HEDGE_LOST, Call, CallRole
from app.outcome import Outcome
from app.telemetry._declare import ConfiguredNames, Declare
from routers.decisions import Reason

_BREAKER_STATES = ("closed", "half_open", "open")
_NO_FAILURES = (None, DRAFT_REJECTED, HEDGE_LOST)
"""How calls end that served their purpose."""
_SLOW = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60, 300)


class UpstreamMetrics:
    """Everything that is told of the calls to upstreams."""

    def __init__(
        self,
        declare: Declare,
        *,
        models: ConfiguredNames,
        policies: ConfiguredNames,
        upstreams: ConfiguredNames,
    ) -> None:
        self._models, self._policies, self._upstreams = models, policies, upstreams
        self._calls = declare.counter(
            "gateway_calls",
            "Every upstream call by what it was for; error is empty where it served its purpose.",
            *("role", "model", "upstream", "error"),
        )
        self._errors = declare.counter(
            "gateway_upstream_errors", "Failed upstream calls.", "model", "upstream", "error"
        )
        self._refused_usage = declare.counter(
            "gateway_refused_usage",
            "Token counts told by upstreams that cannot be; estimates were booked in their place.",
            *("upstream", "part"),
        )
        self._duration = declare.histogram(
            "gateway_upstream_duration_seconds",
            "From an upstream call to the first content of its answer, or to its failure.",
            *("model", "upstream"),
            buckets=_SLOW,
        )
        self._breaker_state = declare.gauge(
            "gateway_breaker_state",
            "Circuit of a deployment: 0 closed, 1 half-open, 2 open; the worst of all workers.",
            *("model", "upstream", "upstream_model"),
            together="livemax",
        )
        self._quota_used = declare.gauge(
            "gateway_quota_used_ratio",
            "How much is used of the limit of a deployment that is nearest, as it is written or the"
            " upstream tells; 1 is all of it, above it is overdrawn.",
            *("model", "upstream", "upstream_model"),
            together="livemostrecent",
        )
        self._success = declare.gauge(
            "gateway_deployment_success",
            "How good the late answers of a deployment are taken to be by its model's bandit, from"
            " 0 to 1; of the calls that count most.",
            *("model", "upstream", "upstream_model"),
            together="livemostrecent",
        )
        self._retries = declare.counter(
            "gateway_retries",
            "Upstream calls to a model after one for the same purpose that failed in the request.",
            "model",
        )
        self._fallbacks = declare.counter(
            "gateway_fallbacks",
            "Answers by another model than the decided one.",
            *("decided_model", "model"),
        )
        self._unserved_cost = declare.counter(
            "gateway_unserved_cost_usd",
            "The part of gateway_cost_usd_total that went to calls that failed or lost a race; "
            "error says why.",
            *("model", "error"),
        )

    def record(self, outcome: Outcome) -> None:
        """Derive what upstreams did from the outcome of a request."""
        calls = outcome.calls
        for call in calls:
            self._called(call)
        if len(calls) > 1:
            self._count_retries(calls)
        for part in outcome.refused_usage:
            upstream = self._upstreams[outcome.served_upstream]
            self._refused_usage[upstream, part.value].inc(1)
        if outcome.reason is Reason.FALLBACK:
            self._count_fallback(outcome)

    def attempt_failed(self, model_id: str, *, upstream: str, error: str) -> None:
        """Count one failed upstream call."""
        self._errors[self._models[model_id], self._upstreams[upstream], error].inc(1)

    def breaker_changed(
        self, model_id: str, *, upstream: str, upstream_model: str, state: str
    ) -> None:
        """Show the state of a deployment's circuit."""
        level = _BREAKER_STATES.index(state)
        self._breaker_state[model_id, upstream, upstream_model].set(level)

    def believed(
        self, model_id: str, *, upstream: str, upstream_model: str, success: float
    ) -> None:
        """Show what a bandit takes a deployment's success to be."""
        self._success[model_id, upstream, upstream_model].set(success)

    def quota(self, model_id: str, *, upstream: str, upstream_model: str, used: float) -> None:
        """Show how much of its limits a deployment has used."""
        self._quota_used[model_id, upstream, upstream_model].set(used)

    def _called(self, call: Call) -> None:
        model, upstream = self._models[call.model_id], self._upstreams[call.upstream or None]
        error = call.error
        self._calls[call.role, model, upstream, error or ""].inc(1)
        if call.upstream:
            self._duration[model, upstream].observe(call.duration_s)
        if error is not None and call.cost_usd:
            self._unserved_cost[model, error].inc(call.cost_usd)

    def _count_fallback(self, outcome: Outcome) -> None:
        """Count a model that stepped in; a stage of a cascade that follows a draft is none."""
        decision, served = outcome.decision, outcome.served_model_id
        if decision is None or served is None:
            return
        if served != decision.model_id:
            self._fallbacks[self._models[decision.model_id], self._models[served]].inc(1)

    def _count_retries(self, calls: tuple[Call, ...]) -> None:
        """Count the calls that follow a failed one to the same model for the same purpose."""
        before: dict[tuple[CallRole, str], str | None] = {}
        for call in calls:
            who = call.role, call.model_id
            if before.get(who) not in _NO_FAILURES:
                self._retries[(self._models[call.model_id],)].inc(1)
            before[who] = call.error
