"""Training rows that a router of categories keeps: what its mapping is tested and calibrated on."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from routers.base import Labels
from routers.numeric import FloatArray
from routers.options import State, take
from routers.strategies._category_model import Identified
from routers.types import FloatMatrix

MAX_ROWS = 20_000
"""From there on differences of models within a category are known well enough."""

_LEVELS, _UNKNOWN = 254, 255


@dataclass(frozen=True, slots=True, kw_only=True)
class CategoryRows:
    """What queries were taken to be about by who had not learned from them, and what came of them.

    Attributes
    ----------
    about
        Of each row.
    quality
        float32 (n_rows, n_models), rounded to 255 levels; NaN where a model was not tried.
    input_tokens
        (n_rows,), 0 where nobody counted.
    """

    about: Identified
    quality: FloatMatrix
    input_tokens: NDArray[np.int32]

    @classmethod
    def collect(cls, about: Identified, labels: Labels, *, rng: np.random.Generator) -> Self:
        """Keep at most `MAX_ROWS` rows, drawn at random and rounded as they are stored."""
        rows = np.arange(len(labels))
        if len(rows) > MAX_ROWS:
            rows = np.sort(rng.choice(rows, MAX_ROWS, replace=False))
        tokens = np.zeros(len(labels)) if labels.input_tokens is None else labels.input_tokens
        raw = cls(
            about=Identified(about.first[rows], about.second[rows], about.weight[rows]),
            quality=labels.quality[rows],
            input_tokens=np.rint(tokens[rows]).astype(np.int32),
        )
        return cls.restore(raw.state())

    def compared(self, n_categories: int, general: int) -> tuple[FloatArray, FloatArray]:
        """Compare every model with one, pair by pair, on the rows of each category.

        Returns
        -------
        difference, error
            (n_categories, n_models), mean and standard error; the last category is what is none.
            One observation of the usual variance is counted beside the rows, so that the agreement
            of a few is not taken for certainty; without rows the difference is nothing.
        """
        at = np.where(self.about.first < 0, n_categories - 1, self.about.first)
        member = np.eye(n_categories)[at].T
        paired = self.quality.astype(np.float64) - self.quality[:, [general]]
        known = ~np.isnan(paired)
        filled = np.where(known, paired, 0)
        count = member @ known
        difference = member @ filled / np.maximum(count, 1)
        scatter = np.maximum(member @ filled**2 - count * difference**2, 0)
        overall = (filled**2).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
        error = np.sqrt((scatter + overall) / (count + 1) / np.maximum(count, 1))
        return difference, error

    def fit_into(self, n_categories: int, n_models: int) -> bool:
        """Return whether the rows are of so many categories (the last is none) and models."""
        both = np.concatenate([self.about.first, self.about.second])
        return bool(
            self.quality.shape[1] == n_models
            and both.min(initial=-1) >= -1
            and both.max(initial=-1) < n_categories - 1
        )

    def state(self) -> dict[str, np.ndarray]:
        """Return compact arrays: outcomes in 255 levels."""
        known = ~np.isnan(self.quality)
        level = np.rint(np.where(known, self.quality, 0) * _LEVELS)
        return {
            "first": self.about.first.astype(np.int16),
            "second": self.about.second.astype(np.int16),
            "weight": self.about.weight.astype(np.float16),
            "quality": np.where(known, level, _UNKNOWN).astype(np.uint8),
            "input_tokens": self.input_tokens,
        }

    @classmethod
    def restore(cls, state: State) -> Self:
        """Read what `state` returned."""
        first, second, weight, tokens = (
            take(state, name, ndim=1) for name in ("first", "second", "weight", "input_tokens")
        )
        level = take(state, "quality", ndim=2)
        if not len(first) == len(second) == len(weight) == len(tokens) == len(level):
            raise ValueError("the rows of a router of categories do not fit together")
        if level.dtype != np.uint8:
            raise ValueError("outcomes are not of the type that they are stored as")
        quality = np.where(level == _UNKNOWN, np.nan, level / np.float32(_LEVELS))
        return cls(
            about=Identified(
                first.astype(np.intp), second.astype(np.intp), weight.astype(np.float32)
            ),
            quality=quality.astype(np.float32),
            input_tokens=tokens.astype(np.int32),
        )
