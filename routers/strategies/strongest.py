"""Baseline: the model of highest mean quality, whatever it costs."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from routers.base import ROUTERS
from routers.strategies._constant import ConstantRouter


@ROUTERS.register("strongest")
@dataclass(kw_only=True)
class StrongestRouter(ConstantRouter):
    """Predict the best model's mean quality for it, and none for the others.

    The zeros are no estimates: they say that no saving is worth another model. The knob still
    means what it means (at 0 the cheapest model serves, by definition), but any budget that buys
    the best model at all buys nothing else.
    """

    kind: ClassVar[str] = "strongest"

    def _score(self, means: np.ndarray) -> np.ndarray:
        return np.where(np.arange(len(means)) == means.argmax(), means, 0)
