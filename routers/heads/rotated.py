"""Ridge regression of what models have in common, and apart from it of what tells them apart."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from routers.heads._leave_one_out import LeaveOneOut, Ridge
from routers.heads.base import HEADS
from routers.heads.linear import LinearHead, Regressed
from routers.numeric import FloatArray, nan_mean

_COMPLETE = 0.9
"""Share of known values from which on the others can be filled in."""


@HEADS.register("rotated")
@dataclass(kw_only=True)
class RotatedHead(LinearHead):
    """Regress the mean over the models, and every model's difference to it, each with its penalty.

    How hard a query is for all explains several times more than which model it suits. A penalty
    for each model has to serve both, so that with few rows the differences, which routing is
    about, are mostly noise. Here they have a penalty of their own, the same for all models, and
    it may take nearly everything away: the prediction then is the models' means, moved together.

    Notes
    -----
    Columns that hardly vary are not blown up (`least_spread`). Where more than a tenth of the
    outcomes is unknown, nothing tells the differences of a query, and every model is regressed by
    itself as by the `linear` head.
    """

    kind: ClassVar[str] = "rotated"
    least_spread: ClassVar[float] = 1.0

    def _regress(self, z: FloatArray, y: FloatArray) -> Regressed:
        known = ~np.isnan(y)
        if known.mean() < _COMPLETE or y.shape[1] == 1 or len(y) <= self.fewest_rows:
            return super()._regress(z, y)
        mean = nan_mean(y, default=0.0)
        above = y - mean
        common = nan_mean(above.T, default=0.0)[:, None]
        apart = np.where(known, above - common, 0.0)
        ridges = LeaveOneOut(z, self.alphas)
        shared, own = (ridges.fit(target, alone=False) for target in (common, apart))
        return Regressed(
            coef=shared.coef + own.coef,
            intercept=mean + shared.intercept + own.intercept,
            # The uncertainty is that of the difficulty, which is the larger one.
            alpha=np.broadcast_to(shared.alpha, mean.shape),
            noise=_noise(z, common, shared) + _noise(z, apart, own),
        )


def _noise(z: FloatArray, target: FloatArray, found: Ridge) -> FloatArray:
    """Return the squared error of each column, at least that of all of them on rows left out."""
    residual = target - z @ found.coef - found.intercept
    return np.asarray(np.maximum((residual**2).mean(axis=0), found.error))
