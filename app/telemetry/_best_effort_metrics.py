"""How low the load brings policies of best effort, and whether they keep their deadlines."""

from collections.abc import Mapping

from app.telemetry._declare import ConfiguredNames, Declare


class BestEffortMetrics:
    """Everything that is told of tiers."""

    def __init__(
        self, declare: Declare, *, models: ConfiguredNames, policies: ConfiguredNames
    ) -> None:
        self._models, self._policies = models, policies
        self._tier = declare.gauge(
            "gateway_best_effort_tier",
            "The lowest tier that takes more than a few of a policy's requests; 1 is the best one."
            " Rises after 30 s at the earliest.",
            "policy",
            together="livemax",
        )
        self._wait = declare.gauge(
            "gateway_tier_wait_seconds",
            "How long one more call of a tier is expected to wait before it is worked on.",
            "model",
            together="livemax",
        )
        self._slots = declare.gauge(
            "gateway_tier_slots",
            "How many calls of this process a tier is found, or taken, to work on at a time.",
            "model",
            together="livesum",
        )
        self._answers = declare.counter(
            "gateway_best_effort_answers",
            "Answers of policies with tiers, by whether they were whole before their deadline.",
            *("policy", "model", "in_time"),
        )

    def configured(self, tiers: Mapping[str, tuple[str, ...]]) -> None:
        """Show these tiers from the first scrape on, by policy."""
        for policy, models in tiers.items():
            for model_id in models:
                for in_time in ("true", "false"):
                    self._answers[policy, model_id, in_time].inc(0)

    def ended(self, policy: str, model_id: str, in_time: bool) -> None:  # noqa: FBT001  (a callback)
        """Count one answer."""
        told = "true" if in_time else "false"
        self._answers[self._policies[policy], self._models[model_id], told].inc(1)

    def in_force(self, policy: str, *, tier: int) -> None:
        """Show the tier in force of a policy, from 1 on."""
        self._tier[(self._policies[policy],)].set(tier)

    def sampled(self, model_id: str, *, wait_s: float, slots: float) -> None:
        """Show the load of one tier."""
        model = self._models[model_id]
        self._wait[(model,)].set(wait_s)
        self._slots[(model,)].set(slots)
