"""What models answered to the queries of an outcome table."""

from collections.abc import Callable, Sequence
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
    judged
        float (n_queries, n_models): the chance that an answer is good, as another model judged
        it; likewise.
    logprob
        float (n_queries, n_models): the mean log-probability of an answer's tokens; likewise.
    quality
        float (n_queries, n_models): what this very answer was worth, where it stands beside it.
    further
        The second answer of each model, the third and so on, where models were asked repeatedly.
    """

    models: tuple[str, ...]
    literals: NDArray[np.object_]
    texts: NDArray[np.object_] | None = None
    latency_s: FloatArray | None = None
    verified: NDArray[np.floating] | None = None
    judged: NDArray[np.floating] | None = None
    logprob: NDArray[np.floating] | None = None
    quality: NDArray[np.floating] | None = None
    further: tuple["RecordedAnswers", ...] = ()

    def __len__(self) -> int:
        return len(self.literals)

    def rows(self, index: Sequence[int] | np.ndarray) -> "RecordedAnswers":
        """Return the answers to some queries, in the order of `index`."""
        return self._taken(self.models, lambda array: array[index])

    def columns(self, models: Sequence[str]) -> "RecordedAnswers":
        """Return the answers of some models, in that order."""
        at = [self.models.index(each) for each in models]
        return self._taken(tuple(models), lambda array: array[:, at])

    def answer(self, number: int) -> "RecordedAnswers | None":
        """Return the answers of a number, of which the first is 0; None where there are none."""
        if number == 0:
            return self
        return self.further[number - 1] if number <= len(self.further) else None

    def _taken(
        self, models: tuple[str, ...], take: Callable[[np.ndarray], np.ndarray]
    ) -> "RecordedAnswers":
        def maybe(array: np.ndarray | None) -> np.ndarray | None:
            return None if array is None else take(array)

        return RecordedAnswers(
            models=models,
            literals=take(self.literals),
            texts=maybe(self.texts),
            latency_s=maybe(self.latency_s),
            verified=maybe(self.verified),
            judged=maybe(self.judged),
            logprob=maybe(self.logprob),
            quality=maybe(self.quality),
            further=tuple(
                each._taken(models, take)  # noqa: SLF001  (of another one of these)
                for each in self.further
            ),
        )
