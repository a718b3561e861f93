"""How near models are to their limits, and what that costs in the choice."""

from app.telemetry._declare import ConfiguredNames, Declare


class LoadMetrics:
    """Everything that is told of load and quota bias."""

    def __init__(
        self, declare: Declare, *, models: ConfiguredNames, policies: ConfiguredNames
    ) -> None:
        self._models, self._policies = models, policies
        self._price = declare.gauge(
            "gateway_load_price",
            "What a model near its limit costs more where a policy chooses, in quality from 0 to"
            " 1; 0 while less than the target is used.",
            *("policy", "model"),
            together="livemax",
        )
        self._used = declare.gauge(
            "gateway_load_used_ratio",
            "Which share of what a model takes all replicas together ask of it, of late.",
            *("policy", "model"),
            together="livemax",
        )

    def sampled(self, policy: str, model_id: str, *, price: float, used: float) -> None:
        """Show one model of one policy."""
        labels = self._policies[policy], self._models[model_id]
        self._price[labels].set(price)
        self._used[labels].set(used)
