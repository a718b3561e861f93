"""Which models are strong, how high a choice stands, and where the knob shares requests out."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from routers.errors import DataError
from routers.numeric import FloatArray, nan_mean
from routers.robustness.subject import POSITIONS, Placements

_LEAST_USD = 1e-9
"""Stands for what costs nothing, so that costs have logarithms."""

_HARD_SHARE = 0.5
"""Of the core requests."""

_TOO_NEAR = 1.05
"""Costs that differ by less are one tier."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiers:
    """How dear the models of a router are to it, and the knob position that shares requests out.

    Attributes
    ----------
    models
        Names of the columns.
    level
        (n_models,), from 0 (as the cheapest that is ever chosen) to 1 (as the dearest), by the
        logarithm of mean cost.
    strong
        (n_models,), whether the model belongs to the dearer half of that scale.
    at
        Which of `POSITIONS` sends the most of the core requests to strong models, but no more than
        half, as many as are hard: there a router that goes by difficulty and one that goes by
        category differ the most.
    """

    models: tuple[str, ...]
    level: FloatArray
    strong: NDArray[np.bool_]
    at: int

    @property
    def cost_quality(self) -> float:
        """The position itself."""
        return float(POSITIONS[self.at])

    @classmethod
    def of(cls, core: Placements) -> "Tiers":
        """Find them from where the core requests went.

        Raises
        ------
        DataError
            If the router never chooses between models of different cost.
        """
        chosen = np.unique(core.picks[core.picks >= 0])
        mean = nan_mean(np.where(np.isfinite(core.cost_usd), core.cost_usd, np.nan), default=np.nan)
        costs = np.log(np.maximum(mean, _LEAST_USD))
        if not len(chosen) or not np.isfinite(costs[chosen]).all():
            raise DataError("costs of what is chosen are unknown: give every model a price")
        low, high = costs[chosen].min(), costs[chosen].max()
        if high - low < np.log(_TOO_NEAR):
            names = ", ".join(core.models[c] for c in chosen[:3])
            raise DataError(
                f"only {names} is ever chosen, or models of one price: there is nothing to look at"
            )
        level = np.clip((np.nan_to_num(costs, nan=high) - low) / (high - low), 0.0, 1.0)
        strong = level > 0.5
        share = strong[core.picks].mean(axis=1)
        return cls(
            models=core.models,
            level=level,
            strong=strong,
            at=int(np.where(share <= _HARD_SHARE, share, -1.0).argmax()),
        )

    def is_strong(self, placed: Placements) -> NDArray[np.bool_]:
        """Return (n_requests,), whether a strong model was chosen where requests are shared out."""
        picks = placed.picks[self.at]
        return np.asarray(self.strong[picks] & (picks >= 0))

    def levels(self, placed: Placements) -> FloatArray:
        """Return (n_requests,), the mean level over all positions of the knob."""
        # What is refused is answered by nobody weaker.
        return np.asarray(np.where(placed.picks >= 0, self.level[placed.picks], 1.0).mean(axis=0))

    def score(self, placed: Placements) -> FloatArray:
        """Return (n_requests,), how much the router believes a request to need a strong model.

        The gap of predicted quality between the best strong and the best other model; where the
        router predicts nothing, how often over the knob a strong one is chosen.
        """
        if np.isfinite(placed.quality).any(axis=0).all():
            quality = np.where(np.isfinite(placed.quality), placed.quality, -np.inf)
            gap = quality[:, self.strong].max(axis=1) - quality[:, ~self.strong].max(axis=1)
            if np.isfinite(gap).all():
                return np.asarray(gap)
        return np.asarray(self.strong[placed.picks].mean(axis=0))
