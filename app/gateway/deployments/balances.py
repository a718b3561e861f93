"""The ways to balance, by their names in a configuration."""

import random
from collections.abc import Callable, Mapping
from types import MappingProxyType

from app.config.balancing import OrchestrationConfig
from app.config.models import ModelConfig
from app.gateway.deployments.balance import Balance, LeastOutstanding, RoundRobin
from app.gateway.deployments.bandit import Bandit, BanditRule
from app.gateway.deployments.orchestration import Orchestration
from app.gateway.deployments.orchestrator import OrchestrationRule
from app.gateway.deployments.predicted_impact import PredictedImpact
from app.gateway.deployments.prefix_affinity import PrefixAffinity

BALANCES: Mapping[str, Callable[[random.Random], Balance]] = MappingProxyType(
    {
        "least-outstanding": LeastOutstanding,
        "round-robin": RoundRobin,
        "predicted-impact": PredictedImpact,
        "bandit": Bandit,
        "prefix-affinity": PrefixAffinity,
    }
)
"""What makes one for a model, with the usual options; orchestration has none, it goes by what
deployments cost and take."""


def balance_of(model: ModelConfig, rng: random.Random, *, region: str | None) -> Balance:
    """Return how the calls of a model are spread, as it is configured.

    Parameters
    ----------
    region
        Where this gateway stands.
    """
    if model.balance == "bandit" and model.bandit is not None:
        return Bandit(rng, BanditRule(**model.bandit.model_dump(), region=region))
    if model.balance == "bandit":
        return Bandit(rng, BanditRule(region=region))
    if model.balance == "orchestration":
        return Orchestration(rng, _rule(model.orchestration or OrchestrationConfig()))
    if model.predicted_impact is not None:
        slopes = model.predicted_impact
        return PredictedImpact(rng, slopes=(slopes.prefill_s_per_token, slopes.decode_s_per_token))
    if model.prefix_affinity is not None:
        return PrefixAffinity(rng, max_load=model.prefix_affinity.max_load)
    return BALANCES[model.balance](rng)


def _rule(written: OrchestrationConfig) -> OrchestrationRule:
    return OrchestrationRule(
        threshold_rps=written.threshold_rps,
        poll_s=written.poll_s,
        cycle_s=written.cycle_s,
        max_latency_s=written.max_latency_ms / 1e3,
        max_utilisation=written.max_utilisation,
    )
