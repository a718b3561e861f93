"""Baseline: the one model that is worth most on the training data."""

from dataclasses import dataclass
from typing import ClassVar

from routers.base import ROUTERS
from routers.strategies._constant import ConstantRouter


@ROUTERS.register("best-single")
@dataclass(kw_only=True)
class BestSingleRouter(ConstantRouter):
    """Predict every model's mean quality on the training data.

    At each position of the knob all queries of about the same length go to the same model, the
    one whose mean quality is worth its cost: a vertex of the hull of single models. At 1 that is
    the best single model.
    """

    kind: ClassVar[str] = "best-single"
