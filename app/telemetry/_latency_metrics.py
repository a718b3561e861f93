"""How long answers took, against what was predicted and what was asked."""

from app.outcome import Outcome
from app.telemetry._declare import ConfiguredNames, Declare

_RATIO = (0.1, 0.25, 0.5, 0.7, 0.85, 1.0, 1.2, 1.5, 2.0, 3.0, 5.0, 10.0)
_WITHIN, _BEYOND = "within", "beyond"
_KEPT, _BROKEN = "kept", "broken"
_MS = 1e3


class LatencyMetrics:
    """Everything that is told of predicted times."""

    def __init__(
        self, declare: Declare, *, models: ConfiguredNames, policies: ConfiguredNames
    ) -> None:
        self._models, self._policies = models, policies
        self._promises = declare.counter(
            "gateway_latency_promises",
            "Whole answers by whether their first token (ttft) and their end (total) came within"
            " what nine of ten were predicted to stay below.",
            *("model", "of", "result"),
        )
        self._ratio = declare.histogram(
            "gateway_latency_ratio",
            "What these answers took, over the median that was predicted.",
            *("model", "of"),
            buckets=_RATIO,
        )
        self._limits = declare.counter(
            "gateway_latency_limits",
            "Answers with a limit on their time by whether it was kept, and whether the prediction"
            " said that it would be (unmet: it said not).",
            *("policy", "model", "of", "promised", "result"),
        )

    def record(self, outcome: Outcome) -> None:
        """Hold the outcome of a request against what was predicted."""
        latency, first_s = outcome.latency, outcome.time_to_first_token_s
        if latency is None or outcome.error is not None or first_s is None:
            return
        model, total_s = self._models[outcome.served_model_id], outcome.duration_s
        promises = self._promises
        promises[model, "ttft", _WITHIN if first_s <= latency.ttft_s_upper else _BEYOND].inc(1)
        promises[model, "total", _WITHIN if total_s <= latency.total_s_upper else _BEYOND].inc(1)
        self._ratio[model, "ttft"].observe(first_s / latency.ttft_s)
        self._ratio[model, "total"].observe(total_s / latency.total_s)
        terms = outcome.latency_terms
        if terms is None:
            return
        policy = self._policies[outcome.policy]
        for of, name, took_s, upper_s in (
            ("total", "max_latency_ms", total_s, latency.total_s_upper),
            ("ttft", "max_ttft_ms", first_s, latency.ttft_s_upper),
        ):
            limit_ms = terms.get(name)
            if limit_ms is not None:
                promised = "met" if upper_s * _MS <= limit_ms else "unmet"
                result = _KEPT if took_s * _MS <= limit_ms else _BROKEN
                self._limits[policy, model, of, promised, result].inc(1)
