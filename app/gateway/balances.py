"""The ways to balance, by their names in a configuration."""

import random
from collections.abc import Callable, Mapping
from types import MappingProxyType

from app.gateway.balance import Balance, LeastOutstanding, RoundRobin
from app.gateway.predicted_impact import PredictedImpact

BALANCES: Mapping[str, Callable[[random.Random], Balance]] = MappingProxyType(
    {
        "least-outstanding": LeastOutstanding,
        "round-robin": RoundRobin,
        "predicted-impact": PredictedImpact,
    }
)
"""What makes one for a model."""
