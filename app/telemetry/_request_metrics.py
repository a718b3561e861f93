"""What clients asked and got: requests, times, tokens, money."""

from app.error_answers import answer_for
from app.keys import NUSD_PER_USD
from app.outcome import Outcome
from app.telemetry._declare import NONE, ConfiguredNames, Declare, FirstNames
from app.usage import Usage

_FAST = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5)
_SLOW = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60, 300)
_PER_TOKEN = (0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1)
_STATUS_CLASS = {i: f"{i}xx" for i in range(1, 6)}


class RequestMetrics:
    """Everything that is told of a request whatever was decided about it."""

    def __init__(
        self, declare: Declare, *, models: ConfiguredNames, policies: ConfiguredNames
    ) -> None:
        self._models, self._policies = models, policies
        self._keys, self._teams = FirstNames(), FirstNames()
        self._requests = declare.counter(
            "gateway_requests",
            "Requests by how they ended; error is empty where nothing went wrong.",
            *("route", "policy", "model", "status_class", "error"),
        )
        self._in_flight = declare.gauge(
            "gateway_requests_in_flight", "Chat requests being handled.", together="livesum"
        )[()]
        self.in_flight = self._in_flight.inc
        self._queued = declare.gauge(
            "gateway_requests_queued", "Requests waiting for a place.", together="livesum"
        )[()]
        self._places = declare.gauge(
            "gateway_requests_limit",
            "How many requests may be handled at once.",
            together="livesum",
        )[()]
        self._duration = declare.histogram(
            "gateway_request_duration_seconds",
            "From the request to the end of the answer.",
            *("model",),
            buckets=_SLOW,
        )
        self._first_token = declare.histogram(
            "gateway_time_to_first_token_seconds",
            "From the request to the first content of the answer.",
            *("model",),
            buckets=_SLOW,
        )
        self._per_token = declare.histogram(
            "gateway_time_per_output_token_seconds",
            "Of streamed answers, between the first token and the last, per token.",
            *("model",),
            buckets=_PER_TOKEN,
        )
        self._overhead = declare.histogram(
            "gateway_overhead_seconds",
            "Time until the answer begins that is not the upstream's.",
            buckets=_FAST,
        )[()]
        self._tokens = declare.counter(
            "gateway_tokens",
            "Tokens of every call by what it was for; class is input, cached_input, cache_write, "
            "output, reasoning, audio_input or audio_output.",
            *("role", "model", "class", "estimated"),
        )
        self._cost = declare.counter(
            "gateway_cost_usd",
            "US dollars spent upstream on every call, by what it was for.",
            *("role", "model"),
        )
        self._unpriced = declare.counter(
            "gateway_unpriced_calls", "Calls to be paid whose cost is unknown.", "role", "model"
        )
        self._key_requests = declare.counter(
            "gateway_key_requests", "Chat requests by the key that asked.", "key", "team"
        )
        self._key_cost = declare.counter(
            "gateway_key_cost_usd",
            "US dollars spent upstream by the key that asked, on every call.",
            *("key", "team"),
        )
        self._key_tokens = declare.counter(
            "gateway_key_tokens", "Tokens by the key that asked.", "key", "team"
        )
        self._session_turns = declare.counter(
            "gateway_session_turns",
            "Turns of conversations by why they stayed on their model or left it.",
            *("policy", "reason"),
        )
        self._cache = declare.counter(
            "gateway_cache_requests",
            "Chat requests by what the response cache did: hit, miss or bypass.",
            "state",
        )

    def record(self, outcome: Outcome) -> None:
        """Derive the figures of one chat request from its outcome."""
        model = self._models[outcome.served_model_id]
        policy = self._policies[outcome.policy]
        status_class = _STATUS_CLASS[outcome.status // 100]
        self._requests[outcome.route, policy, model, status_class, outcome.error or ""].inc(1)
        self._duration[(model,)].observe(outcome.duration_s)
        if outcome.session is not None:
            self._session_turns[policy, outcome.session.value].inc(1)
        if outcome.cache is not None:
            self._cache[(outcome.cache.value,)].inc(1)
        self.spent(outcome)
        self._count_key(outcome)
        if outcome.served_model_id is None:
            return
        self._overhead.observe(outcome.overhead_s)
        if outcome.time_to_first_token_s is not None:
            self._first_token[(model,)].observe(outcome.time_to_first_token_s)
        if outcome.usage is not None:
            self._time_tokens(model, outcome, outcome.usage.output_tokens)

    def spent(self, outcome: Outcome) -> None:
        """Count what calls used and cost."""
        for call in outcome.calls:
            if call.usage is not None:
                role, paid = call.role.value, self._models[call.model_id]
                self._count_tokens(role, paid, call.usage)
                self._spend(role, paid, call.cost_usd)

    def refused(self, route: str, error: BaseException) -> None:
        """Count a request that was turned away before it came to an outcome.

        Parameters
        ----------
        route
            One of the paths that are served, or `other`.
        """
        answer = answer_for(error)
        status_class, code = _STATUS_CLASS[answer.status // 100], answer.code or "invalid_request"
        self._requests[route, NONE, NONE, status_class, code].inc(1)

    def decided(self, outcome: Outcome) -> None:
        """Count a request that asked for a decision alone."""
        model_id = None if outcome.decision is None else outcome.decision.model_id
        policy, model = self._policies[outcome.policy], self._models[model_id]
        status_class = _STATUS_CLASS[outcome.status // 100]
        self._requests[outcome.route, policy, model, status_class, outcome.error or ""].inc(1)

    def waiting(self, *, queued: int, limit: int) -> None:
        """Show how full the gateway is."""
        self._queued.set(queued)
        self._places.set(limit)

    def _spend(self, role: str, model: str, cost_usd: float | None) -> None:
        if cost_usd is None:
            self._unpriced[role, model].inc(1)
        else:
            self._cost[role, model].inc(max(cost_usd, 0.0))

    def _count_key(self, outcome: Outcome) -> None:
        whose = self._keys[outcome.key_id], self._teams[outcome.team]
        self._key_requests[whose].inc(1)
        cost_nusd = outcome.known_nusd
        if cost_nusd:
            self._key_cost[whose].inc(cost_nusd / NUSD_PER_USD)
        if outcome.tokens:
            self._key_tokens[whose].inc(outcome.tokens)

    def _count_tokens(self, role: str, model: str, usage: Usage) -> None:
        estimated = "true" if usage.estimated else "false"
        heard, spoken = usage.audio_input_tokens, usage.audio_output_tokens
        plain_input = usage.input_tokens - usage.cached_input_tokens - usage.cache_write_tokens
        plain_input -= heard
        plain_output = usage.output_tokens - usage.reasoning_tokens - spoken
        if plain_input > 0:
            self._tokens[role, model, "input", estimated].inc(plain_input)
        if plain_output > 0:
            self._tokens[role, model, "output", estimated].inc(plain_output)
        if usage.cached_input_tokens > 0:
            self._tokens[role, model, "cached_input", estimated].inc(usage.cached_input_tokens)
        if usage.cache_write_tokens > 0:
            self._tokens[role, model, "cache_write", estimated].inc(usage.cache_write_tokens)
        if usage.reasoning_tokens > 0:
            self._tokens[role, model, "reasoning", estimated].inc(usage.reasoning_tokens)
        if heard > 0:
            self._tokens[role, model, "audio_input", estimated].inc(heard)
        if spoken > 0:
            self._tokens[role, model, "audio_output", estimated].inc(spoken)

    def _time_tokens(self, model: str, outcome: Outcome, n_tokens: int) -> None:
        first_s = outcome.time_to_first_token_s
        if outcome.stream and first_s is not None and n_tokens > 1 and outcome.error is None:
            spent_s = max(outcome.duration_s - first_s, 0.0)
            self._per_token[(model,)].observe(spent_s / (n_tokens - 1))
