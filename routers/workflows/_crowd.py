"""What is known of models that answer the same queries: how right, how alike, how telling."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
from numpy.typing import NDArray

from routers.answers.telling import SIGNALS, standardised
from routers.numeric import FloatArray
from routers.options import State, take
from routers.workflows._belief import spread

_LEAST = 0.01


def log_odds(chance: FloatArray) -> FloatArray:
    """Return the logarithm of the odds of a chance, within reason."""
    bounded = np.minimum(np.maximum(chance, _LEAST), 1 - _LEAST)
    return np.asarray(np.log(bounded / (1 - bounded)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Crowd:
    """Some models; arrays are over them in their order.

    Attributes
    ----------
    mean
        (R,), log odds of a model's being right on average.
    trust
        (R,), how much of the prediction's deviation from that is believed.
    loading
        (R,), how much a hard query is harder for it.
    slip
        (R,), how often its wording of a right answer is graded as wrong.
    signal_mean, signal_scale, signal_weight
        (R, n_signals), what is usual of its answers, and what the unusual tells.
    alike, apart
        As in `routers.workflows._belief.look_ahead`.
    """

    mean: FloatArray
    trust: FloatArray
    loading: FloatArray
    slip: FloatArray
    signal_mean: FloatArray
    signal_scale: FloatArray
    signal_weight: FloatArray
    alike: FloatArray
    apart: FloatArray

    @property
    def n_models(self) -> int:
        """How many models they are."""
        return len(self.mean)

    def odds(self, predicted: FloatArray) -> FloatArray:
        """Return log odds of each model's being right before it answers, (..., R).

        Parameters
        ----------
        predicted
            (..., R), quality; NaN for a model that nothing is predicted of.
        """
        deviation = self.trust * (log_odds(predicted) - self.mean)
        return np.asarray(self.mean + np.where(np.isnan(deviation), 0.0, deviation))

    def told(self, signals: FloatArray) -> FloatArray:
        """Return how signals of answers shift the log odds that they are right, (..., R).

        Parameters
        ----------
        signals
            (..., R, n_signals).
        """
        unusual = standardised(signals, self.signal_mean, self.signal_scale)
        return np.asarray((unusual * self.signal_weight).sum(axis=-1))

    def chances(self, odds: FloatArray) -> FloatArray:
        """Return chances at every value of the hidden number, (..., R, K)."""
        return spread(odds, self.loading)

    def of(self, columns: Sequence[int], unknown: NDArray[np.bool_]) -> Self:
        """Return some of the models; what is `unknown` is taken for one like the others.

        Parameters
        ----------
        columns
            One per model; that of an unknown one says nothing.
        unknown
            Of these a prediction is all that is known.
        """
        at = np.asarray(columns, np.intp)

        def picked(values: FloatArray, usual: FloatArray | float) -> FloatArray:
            out = values[at]
            out[unknown] = usual
            return out

        alike = self.alike[np.ix_(at, at)]
        alike[unknown] = 1.0
        alike[:, unknown] = 1.0
        return type(self)(
            mean=picked(self.mean, 0.0),
            trust=picked(self.trust, 1.0),
            loading=picked(self.loading, float(np.median(self.loading))),
            slip=picked(self.slip, float(self.slip.mean())),
            signal_mean=picked(self.signal_mean, self.signal_mean.mean(axis=0)),
            signal_scale=picked(self.signal_scale, self.signal_scale.mean(axis=0)),
            signal_weight=picked(self.signal_weight, self.signal_weight.mean(axis=0)),
            alike=alike,
            apart=self.apart,
        )

    def state(self) -> dict[str, np.ndarray]:
        """Return everything as named arrays."""
        return {each.name: np.asarray(getattr(self, each.name)) for each in fields(self)}

    @classmethod
    def restore(cls, state: State, n_models: int) -> Self:
        """Read what `state` returned.

        Raises
        ------
        KeyError, ValueError
            If an array is missing, has the wrong shape, or holds what cannot be.
        """
        shapes = {
            "alike": (n_models, n_models),
            "apart": (1,),
            **dict.fromkeys(
                ("signal_mean", "signal_scale", "signal_weight"), (n_models, len(SIGNALS))
            ),
        }
        arrays = {}
        for each in fields(cls):
            shape = shapes.get(each.name, (n_models,))
            array = take(state, each.name, ndim=len(shape)).astype(np.float64)
            if array.shape != shape:
                raise ValueError(f"array {each.name!r} is not of {n_models} models")
            arrays[each.name] = array
        positive = ("apart", "signal_scale")
        if any(arrays[name].min(initial=1.0) <= 0 for name in positive):
            raise ValueError("what is apart, or a scale, is not positive")
        if min(arrays[name].min(initial=0.0) for name in ("alike", "loading", "slip")) < 0:
            raise ValueError("what models have in common, or a slip, is negative")
        return cls(**arrays)


def worth_calling(
    quality: FloatArray, cost: FloatArray, *, dominators: int, most: int
) -> NDArray[np.bool_]:
    """Return which models are worth calling at all, (B, R).

    A model that `dominators` others beat in both is never the next of as many calls; of more than
    `most` those are kept that fewest beat.

    Parameters
    ----------
    quality, cost
        (B, R); a model of unknown (infinite) cost is not worth calling.
    """
    better = quality[:, :, None] >= quality[:, None, :]
    cheaper = cost[:, :, None] <= cost[:, None, :]
    strictly = (quality[:, :, None] > quality[:, None, :]) | (cost[:, :, None] < cost[:, None, :])
    beaten = (better & cheaper & strictly).sum(axis=1)
    order = np.lexsort((-quality, beaten), axis=1)
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.arange(order.shape[1])[None, :], axis=1)
    return np.asarray((beaten < dominators) & (rank < most) & np.isfinite(cost))
