"""The ways to balance, by their names in a configuration."""

import random
from collections.abc import Callable, Mapping
from types import MappingProxyType

from app.config.models import ModelConfig
from app.gateway.balance import Balance, LeastOutstanding, RoundRobin
from app.gateway.bandit import Bandit, BanditRule
from app.gateway.predicted_impact import PredictedImpact
from app.gateway.prefix_affinity import PrefixAffinity

BALANCES: Mapping[str, Callable[[random.Random], Balance]] = MappingProxyType(
    {
        "least-outstanding": LeastOutstanding,
        "round-robin": RoundRobin,
        "predicted-impact": PredictedImpact,
        "bandit": Bandit,
        "prefix-affinity": PrefixAffinity,
    }
)
"""What makes one for a model, with the usual options."""


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
    if model.predicted_impact is not None:
        slopes = model.predicted_impact
        return PredictedImpact(rng, slopes=(slopes.prefill_s_per_token, slopes.decode_s_per_token))
    if model.prefix_affinity is not None:
        return PrefixAffinity(rng, max_load=model.prefix_affinity.max_load)
    return BALANCES[model.balance](rng)
