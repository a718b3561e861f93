"""The cross-fitted rows that an artifact keeps, so that its knob fits any catalogue.

Prices change and operators choose subsets of models. The meaning of the knob depends on both,
so the artifact keeps what the curve is made from rather than the curve alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from routers.decision.knob import KnobCurve
from routers.models import Prices
from routers.numeric import FloatArray
from routers.options import State, take
from routers.types import FloatMatrix, FloatVector, Predictions

MAX_ROWS = 4000
"""Rows kept; beyond some thousands the curve gains nothing and the artifact grows."""

PREDICTED_SHARE = 0.4
"""How much of the gain of a move is taken from the prediction, the rest from what happened.

Single outcomes scatter far more than calibrated predictions err: on the synthetic world
this share keeps the promise best over all heads (`tests/unit/routers/test_knob_promise.py`).
"""

_LEVELS = 254
_UNKNOWN = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationRows:
    """Predictions on queries that the predicting fold had not learned from.

    Attributes
    ----------
    quality_predicted, output_tokens
        float32 (n_queries, n_models).
    input_tokens
        (n_queries,).
    quality_realised
        float32 (n_queries, n_models); NaN where a model was not tried.
    """

    quality_predicted: FloatMatrix
    output_tokens: FloatMatrix
    input_tokens: np.ndarray
    quality_realised: FloatMatrix

    def __len__(self) -> int:
        return len(self.input_tokens)

    @classmethod
    def collect(
        cls,
        predictions: Predictions,
        *,
        input_tokens: np.ndarray,
        quality: FloatMatrix,
        rng: np.random.Generator,
    ) -> Self:
        """Keep at most `MAX_ROWS` rows, drawn at random and rounded as they are stored."""
        rows = np.arange(len(input_tokens))
        if len(rows) > MAX_ROWS:
            rows = np.sort(rng.choice(rows, MAX_ROWS, replace=False))
        raw = cls(
            quality_predicted=predictions.quality[rows],
            output_tokens=predictions.output_tokens[rows],
            input_tokens=input_tokens[rows],
            quality_realised=quality[rows],
        )
        return cls.restore(raw.state())

    def state(self) -> dict[str, np.ndarray]:
        """Return compact arrays: half precision, tokens as logarithms, outcomes in 255 levels."""
        known = ~np.isnan(self.quality_realised)
        level = np.rint(np.where(known, self.quality_realised, 0) * _LEVELS)
        return {
            "quality_predicted": self.quality_predicted.astype(np.float16),
            "log_output_tokens": np.log1p(self.output_tokens).astype(np.float16),
            "input_tokens": self.input_tokens.astype(np.int32),
            "quality_realised": np.where(known, level, _UNKNOWN).astype(np.uint8),
        }

    @classmethod
    def restore(cls, state: State) -> Self:
        """Read what `state` returned.

        Raises
        ------
        KeyError, ValueError
            If an array is missing, has the wrong shape, or holds what no row can.
        """
        predicted, log_tokens, level = (
            take(state, name, ndim=2)
            for name in ("quality_predicted", "log_output_tokens", "quality_realised")
        )
        input_tokens = take(state, "input_tokens", ndim=1)
        if (
            not predicted.shape
            == log_tokens.shape
            == level.shape
            == (
                len(input_tokens),
                predicted.shape[1],
            )
        ):
            raise ValueError("the calibration rows do not fit together")
        if len(input_tokens) > MAX_ROWS:
            raise ValueError(f"there are more than {MAX_ROWS} calibration rows")
        if level.dtype != np.uint8 or input_tokens.dtype.kind not in "iu":
            raise ValueError("the calibration rows are not of the types that they are stored as")
        if (log_tokens < 0).any() or (input_tokens < 0).any():
            raise ValueError("calibration rows have a negative number of tokens")
        realised = np.where(level == _UNKNOWN, np.nan, level / np.float32(_LEVELS))
        return cls(
            quality_predicted=predicted.astype(np.float32),
            output_tokens=np.expm1(log_tokens.astype(np.float32)),
            input_tokens=input_tokens,
            quality_realised=realised.astype(np.float32),
        )

    def first_columns(self, n_models: int) -> Self:
        """Return the rows with their first `n_models` columns."""
        return replace(
            self,
            quality_predicted=self.quality_predicted[:, :n_models],
            output_tokens=self.output_tokens[:, :n_models],
            quality_realised=self.quality_realised[:, :n_models],
        )

    def with_columns(self, columns: Sequence[tuple[FloatVector, FloatVector]]) -> Self:
        """Return the rows with further models, rounded as they are stored.

        Only predictions are known of these; their realised quality is NaN.

        Parameters
        ----------
        columns
            Predicted quality and output tokens of each, (n_queries,).
        """
        quality = [self.quality_predicted, *(quality[:, None] for quality, _ in columns)]
        tokens = [self.output_tokens, *(tokens[:, None] for _, tokens in columns)]
        unknown = np.full((len(self), len(columns)), np.nan, np.float32)
        raw = replace(
            self,
            quality_predicted=np.hstack(quality),
            output_tokens=np.hstack(tokens),
            quality_realised=np.hstack([self.quality_realised, unknown]),
        )
        return self.restore(raw.state())

    def dear_usd(self, columns: Sequence[int], prices: Sequence[Prices]) -> float:
        """Return what answers of the dearest of some models usually cost, in US dollars.

        Parameters
        ----------
        columns, prices
            As in `curve`.
        """
        _, cost = self._priced(columns, prices)
        return float(np.median(cost.max(axis=1))) if cost.size else 0.0

    def curve(self, columns: Sequence[int], prices: Sequence[Prices]) -> KnobCurve:
        """Calibrate the knob for some models at some prices.

        Parameters
        ----------
        columns
            Which model each price belongs to; a model may stand for several candidates.
        prices
            Candidates of unknown price take no part.
        """
        chosen, cost = self._priced(columns, prices)
        if not chosen:
            return KnobCurve.fit(np.zeros((0, 0)), np.zeros((0, 0)))
        predicted = self.quality_predicted[:, chosen].astype(np.float64)
        realised = self.quality_realised[:, chosen]
        blend = PREDICTED_SHARE * predicted + (1 - PREDICTED_SHARE) * realised
        return KnobCurve.fit(predicted, cost, blend)

    def _priced(
        self, columns: Sequence[int], prices: Sequence[Prices]
    ) -> tuple[list[int], FloatArray]:
        """Return the models of known price, and what their answers would cost."""
        chosen, cost = [], []
        for column, price in zip(columns, prices, strict=True):
            if price.input_usd_per_mtok is None or price.output_usd_per_mtok is None:
                continue
            chosen.append(column)
            cost.append(cost_usd(self.input_tokens, self.output_tokens[:, column], price))
        return chosen, np.stack(cost, axis=1) if cost else np.zeros((len(self), 0))


def cost_usd(input_tokens: np.ndarray, output_tokens: np.ndarray, prices: Prices) -> np.ndarray:
    """Price many answers of one model at once; `Prices.cost_usd` for arrays.

    NaN where a price is unknown.
    """
    if prices.input_usd_per_mtok is None or prices.output_usd_per_mtok is None:
        return np.full(np.shape(output_tokens), np.nan)
    spent = (
        np.asarray(input_tokens, np.float64) * prices.input_usd_per_mtok
        + np.asarray(output_tokens, np.float64) * prices.output_usd_per_mtok
    )
    return np.asarray(spent / 1e6)
