"""What models answered to the queries of an outcome table."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from routers.numeric import FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedAnswers:
    """What models answered to the queries of an outcome table, in its order.

    Attributes
    ----------
    models
        Names of the columns.
    literals
        str objects (n_queries, n_models): the answer proper; '' where none could be read. None
        where nobody told it: it has to be read from the text, or the model was not asked.
    texts
        The same of whole answers, None objects where there are none; None in place of the array
        where no text was kept at all.
    latency_s
        float64 (n_queries, n_models), how long each answer took, NaN where nobody told; None where
        nobody told at all.
    verified
        float (n_queries, n_models): of a model's votes on its own answer, the share that called
        it correct, NaN where there were none; None where nobody was asked.
    """

    models: tuple[str, ...]
    literals: NDArray[np.object_]
    texts: NDArray[np.object_] | None = None
    latency_s: FloatArray | None = None
    verified: NDArray[np.floating] | None = None

    def __len__(self) -> int:
        return len(self.literals)

    def rows(self, index: Sequence[int] | np.ndarray) -> "RecordedAnswers":
        """Return the answers to some queries, in the order of `index`."""
        return RecordedAnswers(
            models=self.models,
            literals=self.literals[index],
            texts=None if self.texts is None else self.texts[index],
            latency_s=None if self.latency_s is None else self.latency_s[index],
            verified=None if self.verified is None else self.verified[index],
        )

    def columns(self, models: Sequence[str]) -> "RecordedAnswers":
        """Return the answers of some models, in that order."""
        at = [self.models.index(each) for each in models]
        return RecordedAnswers(
            models=tuple(models),
            literals=self.literals[:, at],
            texts=None if self.texts is None else self.texts[:, at],
            latency_s=None if self.latency_s is None else self.latency_s[:, at],
            verified=None if self.verified is None else self.verified[:, at],
        )
