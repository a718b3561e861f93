"""Features of training and held-out rows, computed once where no training set changes them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from routers.base import AuxiliarySet
from routers.data.dataset import OutcomeTable, read_outcomes
from routers.evaluation.crossfit import normalised
from routers.features.featurizer import Featurizer
from routers.types import Conversation, FloatMatrix


@dataclass(frozen=True, slots=True)
class AuxiliaryFile:
    """An auxiliary file with the columns of its features that no training set changes."""

    table: OutcomeTable
    known: Mapping[str, FloatMatrix]

    @classmethod
    def read(cls, path: Path, featurizer: Featurizer) -> Self:
        """Read a file of outcomes and compute what can be computed before training."""
        table = read_outcomes([path])
        return cls(table, featurizer.precompute(table.conversations))

    def features(self, featurizer: Featurizer, *, without: Collection[str] = ()) -> AuxiliarySet:
        """Return the set without the prompts that a router is about to be tested on."""
        prompts = [normalised(each) for each in self.table.conversations]
        rows = np.flatnonzero([prompt not in without for prompt in prompts])
        x = _rows(featurizer, self.table.conversations, self.known, rows)
        return AuxiliarySet(x=x, labels=self.table.labels.rows(rows))


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldFeatures:
    """What `cross_fit` asks for: features whose blocks have learned from training rows alone.

    Attributes
    ----------
    featurizer
        Tells the kind of features; it need not have learned anything.
    known
        Columns of all rows that `Featurizer.precompute` gave.
    """

    featurizer: Featurizer
    conversations: Sequence[Conversation]
    known: Mapping[str, FloatMatrix]
    auxiliary: Sequence[AuxiliaryFile] = ()
    seed: int = 0

    def __call__(
        self, train: np.ndarray, test: np.ndarray
    ) -> tuple[FloatMatrix, FloatMatrix, list[AuxiliarySet]]:
        """Return the features of the training rows, of the others, and of the auxiliary sets."""
        own = self.featurizer.unfitted().fit(_take(self.conversations, train), seed=self.seed)
        asked = {normalised(each) for each in _take(self.conversations, test)}
        sets = [each.features(own, without=asked) for each in self.auxiliary]
        x_train, x_test = (
            _rows(own, self.conversations, self.known, rows) for rows in (train, test)
        )
        return x_train, x_test, sets


def _take(conversations: Sequence[Conversation], rows: np.ndarray) -> list[Conversation]:
    return [conversations[row] for row in rows]


def _rows(
    featurizer: Featurizer,
    conversations: Sequence[Conversation],
    known: Mapping[str, FloatMatrix],
    rows: np.ndarray,
) -> FloatMatrix:
    columns = {name: matrix[rows] for name, matrix in known.items()}
    return featurizer.transform(_take(conversations, rows), known=columns)
