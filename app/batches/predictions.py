"""What is predicted of the requests of a batch, kept small: there may be many of both."""

from array import array
from collections.abc import Sequence

import numpy as np

from app.batches.door import Candidate
from routers.numeric import FloatArray

_NO_QUALITY = 0.5
"""Stands for what is not predicted: of a request that names its model, where nothing is chosen."""


class Predictions:
    """Predicted quality and cost of requests with the models that may answer them.

    Attributes
    ----------
    numbers
        Of the lines, in the order in which they were added.
    is_predicted
        Whether quality is predicted of any.
    """

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.is_predicted = False
        self._of: dict[str, int] = {}
        self._rows, self._models = array("q"), array("q")
        self._quality, self._cost_usd = array("d"), array("d")

    @property
    def models(self) -> frozenset[str]:
        """All models that may answer any of the requests."""
        return frozenset(self._of)

    def add(self, number: int, known: Sequence[Candidate]) -> None:
        """Add a request."""
        row = len(self.numbers)
        self.numbers.append(number)
        for each in known:
            self.is_predicted |= each.quality is not None
            self._rows.append(row)
            self._models.append(self._of.setdefault(each.model, len(self._of)))
            self._quality.append(_NO_QUALITY if each.quality is None else each.quality)
            self._cost_usd.append(each.cost_usd)

    def tables(self, models: Sequence[str]) -> tuple[FloatArray, FloatArray]:
        """Return quality and cost in US dollars, (requests, models); NaN where one may not answer.

        Parameters
        ----------
        models
            What the columns are; every model that may answer is among them.
        """
        column = {model: number for number, model in enumerate(models)}
        shape = len(self.numbers), len(models)
        quality, cost_usd = np.full(shape, np.nan), np.full(shape, np.nan)
        if self._rows:
            columns = np.array([column[model] for model in self._of])
            at = np.array(self._rows), columns[np.array(self._models)]
            quality[at], cost_usd[at] = np.array(self._quality), np.array(self._cost_usd)
        return quality, cost_usd
