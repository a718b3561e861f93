"""Classify who wins between a strong and a weak model, from an encoder's features."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from routers.base import ROUTERS
from routers.numeric import FloatArray
from routers.strategies._pair import PairOutcomes, PairRouter
from routers.types import FloatMatrix

_WIN, _TIE, _LOSE = 0, 1, 2


@ROUTERS.register("bert")
@dataclass(kw_only=True)
class BertRouter(PairRouter):
    """Predict win, tie or loss of the strong model; only a win makes it worth calling.

    P(strong wins) = 1 - (P(tie) + P(weak wins)). The encoder is whatever embedder the
    recipe names (`sentence-transformers` for a transformer, as it comes or fine-tuned before by
    `steelyard fine-tune`), and `head` is what is trained on it, one output per class, normalised
    to sum to one.

    References
    ----------
    Ong et al. 2024, RouteLLM, arXiv:2406.18665, whose encoder is trained with the head.
    """

    kind: ClassVar[str] = "bert"

    def _learn(
        self, x: FloatMatrix, outcomes: PairOutcomes, *, rng: np.random.Generator
    ) -> tuple[float, float]:
        won, lost = outcomes.gain > 0, outcomes.loss > 0
        classes = np.stack([won, ~(won | lost), lost], axis=1).astype(np.float32)
        self.head_ = self.head.build().fit(x, classes, rng=rng)
        chance = self._classes(x).mean(axis=0)
        # Mean gains per predicted chance, so that the expected gap is right on average.
        return (
            float(outcomes.gain.mean() / chance[_WIN]),
            float(outcomes.loss.mean() / chance[_LOSE]),
        )

    def _classes(self, x: FloatMatrix) -> FloatArray:
        raw = np.clip(self.head_.predict_mean(x).astype(np.float64), 1e-6, 1)
        return np.asarray(raw / raw.sum(axis=1, keepdims=True))

    def _judge(self, x: FloatMatrix) -> tuple[FloatArray, FloatArray]:
        chance = self._classes(x)
        gap = self.gap_[1] * chance[:, _WIN] - self.gap_[2] * chance[:, _LOSE]
        return 1 - (chance[:, _TIE] + chance[:, _LOSE]), gap
