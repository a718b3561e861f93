"""How far today's prompts are from those that the router was trained on."""

from collections.abc import Iterable

from app.telemetry._declare import ConfiguredNames, Declare

FAMILIARITIES = ("familiar", "uncertain", "unfamiliar")

_DISTANCE = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


class DriftMetrics:
    """Everything that is told of sampled prompts; see `gateway_score_bin_total`, too."""

    def __init__(self, declare: Declare, *, policies: ConfiguredNames) -> None:
        self._policies = policies
        self._prompts = declare.counter(
            "gateway_drift_prompts",
            "Sampled prompts by how familiar they are: familiar (as 95 % of the training data"
            " are), uncertain, or unfamiliar (hardly anything is believed of the predictions).",
            *("policy", "familiarity"),
        )
        self._distance = declare.histogram(
            "gateway_drift_distance",
            "Of sampled prompts, one minus the cosine to the nearest centre of the training data.",
            *("policy",),
            buckets=_DISTANCE,
        )

    def configured(self, policies: Iterable[str]) -> None:
        """Show these policies from the first scrape on: an increase needs something to start at."""
        for policy in policies:
            for level in FAMILIARITIES:
                self._prompts[policy, level].inc(0)

    def sampled(self, policy: str, *, distance: float, familiarity: str) -> None:
        """Take in one sampled prompt."""
        policy = self._policies[policy]
        self._prompts[policy, familiarity].inc(1)
        self._distance[(policy,)].observe(distance)
