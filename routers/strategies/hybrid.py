"""Send a query to the small model where it is good enough."""

# ruff: noqa: RUF009  (unfitted() declares a field)

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from routers.base import ROUTERS
from routers.numeric import FloatArray
from routers.options import unfitted
from routers.strategies._pair import PairOutcomes, PairRouter
from routers.strategies._soft_labels import best_margin, good_enough
from routers.types import FloatMatrix


@ROUTERS.register("hybrid")
@dataclass(kw_only=True)
class HybridRouter(PairRouter):
    """Predict r(x), the chance that the weak (small) model's answer is good enough.

    The chance that the strong model is needed is 1 - r(x), and a threshold on it is the quality
    level of a request. The strong model is called where 1 - r(x) reaches the threshold.

    Parameters
    ----------
    labels
        `deterministic`: one answer of each model, good enough if not worse. `probabilistic`: the
        share of pairs of answers in which that is so. `transformed`: the same, with a margin by
        which the small model may be worse, chosen so that labels differ most. The latter two
        need several answers per query and model to be more than `deterministic`.

    Notes
    -----
    Where every answer is right or wrong, no margin below one changes a label: `transformed`
    then is `probabilistic`, and the manifest's notes say so.

    References
    ----------
    Ding et al. 2024, Hybrid LLM, arXiv:2404.14618.
    """

    kind: ClassVar[str] = "hybrid"

    labels: Literal["deterministic", "probabilistic", "transformed"] = "probabilistic"
    margin_: float = unfitted()
    warnings_: list[str] = unfitted()

    def _learn(
        self, x: FloatMatrix, outcomes: PairOutcomes, *, rng: np.random.Generator
    ) -> tuple[float, float]:
        y = self._labels(outcomes)
        self.head_ = self.head.build().fit(x, y[:, None].astype(np.float32), rng=rng)
        needed = 1 - self._good_enough(x).mean()
        return float(outcomes.gain.mean() / max(needed, 1e-6)), float(outcomes.loss.mean())

    def _labels(self, outcomes: PairOutcomes) -> FloatArray:
        small, large = outcomes.weak_samples, outcomes.strong_samples
        self.margin_, self.warnings_ = 0.0, []
        if self.labels == "deterministic":
            return good_enough(_first(small), _first(large), margin=0)
        if max(_most(small), _most(large)) == 1:
            self.warnings_.append(
                f"{self.labels} labels are hard: every model answered every query at most once"
            )
        if self.labels == "transformed":
            if _right_or_wrong(small) and _right_or_wrong(large):
                self.warnings_.append(
                    "transformed labels are probabilistic ones: every answer is right or wrong, "
                    "so no margin below one changes a label"
                )
            else:
                self.margin_ = best_margin(small, large)
        return good_enough(small, large, margin=self.margin_)

    def _good_enough(self, x: FloatMatrix) -> FloatArray:
        return np.clip(self.head_.predict_mean(x)[:, 0].astype(np.float64), 0, 1)

    def _judge(self, x: FloatMatrix) -> tuple[FloatArray, FloatArray]:
        needed = 1 - self._good_enough(x)
        return needed, self.gap_[1] * needed - self.gap_[2]

    def notes(self) -> dict[str, Any]:
        """Say which margin was chosen, and what the labels could not tell."""
        note = super().notes()
        if self.warnings_ is not None:
            note |= {"margin": self.margin_, "warnings": list(self.warnings_)}
        return note


def _first(samples: FloatArray) -> FloatArray:
    """Return the first known answer of every query, (n_queries, 1)."""
    place = (~np.isnan(samples)).argmax(axis=1)
    return np.take_along_axis(samples, place[:, None], axis=1)


def _most(samples: FloatArray) -> int:
    return int((~np.isnan(samples)).sum(axis=1).max())


def _right_or_wrong(samples: FloatArray) -> bool:
    known = samples[~np.isnan(samples)]
    return bool(np.isin(known, (0, 1)).all())
