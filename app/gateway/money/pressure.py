"""What a budget that runs low makes of a request's knob."""

from dataclasses import dataclass

from app.stores.claims import Scope
from routers.objectives import CostQuality, Objective, UsdPerQuality

DEGRADE_STEPS = 5
"""In how many steps the knob comes down from `degrade_from` to the end of a budget."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pressure:
    """How far a budget that degrades is spent.

    `share` is of the whole budget, `step` counts from 0 (nothing happens) to `DEGRADE_STEPS`.
    """

    scope: Scope
    share: float
    step: int

    def lower(self, objective: Objective) -> Objective:
        """Return the objective that costs less: the knob, or the price of quality, comes down."""
        left = 1 - self.step / DEGRADE_STEPS
        match objective:
            case CostQuality(t):
                return CostQuality(t * left)
            case UsdPerQuality(usd_per_quality):
                return UsdPerQuality(usd_per_quality * left)
            case _:
                return objective
