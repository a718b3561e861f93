"""Baseline: the cheapest model, whatever the query and the knob."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from routers.base import ROUTERS
from routers.strategies._constant import ConstantRouter


@ROUTERS.register("cheapest")
@dataclass(kw_only=True)
class CheapestRouter(ConstantRouter):
    """Predict the pool's mean quality for every model, so that only cost tells them apart.

    Which model is cheapest is found by the decision, at the prices of the day and the length of
    the request: a router learns no prices. Between equal qualities every rule takes the cheaper.
    """

    kind: ClassVar[str] = "cheapest"

    def _score(self, means: np.ndarray) -> np.ndarray:
        return np.full(len(means), means.mean())
