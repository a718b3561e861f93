"""Output lengths for strategies that route on something else: one distribution per model."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from routers.base import DEFAULT_OUTPUT_TOKENS, DEFAULT_UPPER_FACTOR, Labels
from routers.options import State, take
from routers.types import UPPER_QUANTILE, FloatMatrix, FloatVector


@dataclass(frozen=True, slots=True)
class Lengths:
    """What every model writes on average, and what it rarely exceeds; whatever the query.

    Attributes
    ----------
    mean, upper
        float32 (n_models,), output tokens; `upper` is the `UPPER_QUANTILE` of the training
        answers (its rank is the conformal one, ceil((n + 1) q) of n).
    known
        Whether they were learned; a documented length is assumed otherwise.
    """

    mean: FloatVector
    upper: FloatVector
    known: bool

    @classmethod
    def learn(cls, labels: Labels) -> Self:
        """Count the tokens of the training answers; a model without any gets the pool's."""
        tokens = labels.output_tokens
        n_models = len(labels.models)
        if tokens is None or np.isnan(tokens).all():
            mean = np.full(n_models, DEFAULT_OUTPUT_TOKENS, np.float32)
            return cls(mean, mean * np.float32(DEFAULT_UPPER_FACTOR), known=False)
        mean, upper = np.empty(n_models, np.float32), np.empty(n_models, np.float32)
        for model in range(n_models):
            answers = tokens[:, model]
            answers = answers[~np.isnan(answers)]
            if len(answers) == 0:
                answers = tokens[~np.isnan(tokens)]
            rank = int(np.ceil((len(answers) + 1) * UPPER_QUANTILE))
            mean[model] = answers.mean(dtype=np.float64)
            upper[model] = np.sort(answers)[min(rank, len(answers)) - 1]
        return cls(mean, np.maximum(upper, mean), known=True)

    def rows(self, n: int) -> tuple[FloatMatrix, FloatMatrix]:
        """Return expected and upper output tokens of `n` queries, (n, n_models) each."""
        shape = (n, len(self.mean))
        return np.broadcast_to(self.mean, shape).copy(), np.broadcast_to(self.upper, shape).copy()

    def state(self) -> dict[str, np.ndarray]:
        """Return the arrays to store."""
        return {
            "lengths.mean": self.mean,
            "lengths.upper": self.upper,
            "lengths.known": np.asarray([self.known]),
        }

    @classmethod
    def restore(cls, state: State) -> Self:
        """Read what `state` returned.

        Raises
        ------
        KeyError, ValueError
            If an array is missing or has the wrong shape.
        """
        mean, upper, known = (
            take(state, f"lengths.{name}", ndim=1) for name in ("mean", "upper", "known")
        )
        if len(mean) != len(upper) or len(known) != 1:
            raise ValueError("the lengths of a router do not fit together")
        return cls(mean, upper, known=bool(known[0]))

    def note(self) -> str:
        """Say where the lengths come from."""
        if self.known:
            return "the mean of every model, whatever the query"
        return f"assumed to be {DEFAULT_OUTPUT_TOKENS:.0f}: none were given"
