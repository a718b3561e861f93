"""The columns that describe a request, shared by the block that makes them and who reads them."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from routers.types import FloatMatrix, FloatVector

LEVELS: tuple[str, ...] = ("trivial", "easy", "moderate", "demanding", "very demanding")
"""What it takes to answer well, by the rubric of `configs/graded_prompts/README.md`."""

KINDS: tuple[str, ...] = (
    "chat",
    "extraction",
    "rewriting",
    "translation",
    "question",
    "reasoning",
    "mathematics",
    "code",
    "agent",
    "document",
)

DOMAINS: tuple[str, ...] = (
    "everyday",
    "language",
    "science",
    "mathematics",
    "software",
    "data",
    "engineering",
    "medicine",
    "law",
    "finance",
    "business",
    "humanities",
    "arts",
    "education",
    "society",
)

_KINDS_AT, _DOMAINS_AT = len(LEVELS), len(LEVELS) + len(KINDS)
_LENGTH_AT = _DOMAINS_AT + len(DOMAINS)
N_COLUMNS = _LENGTH_AT + 1

LOG_LENGTH_SCALE = 10.0
"""The last column is log(1 + expected output tokens) over this."""

_LEAST = np.array(1e-6, np.float32)
_NOTHING = np.zeros((), np.float32)
_SCALE = np.array(LOG_LENGTH_SCALE, np.float32)
"""Arrays without dimensions: as operands these cost half of what numbers do."""


@dataclass(frozen=True, slots=True)
class Description:
    """What is believed of requests; arrays are float32 (n_queries, ...), chances sum to 1.

    Attributes
    ----------
    levels, kinds, domains
        Chances, in the orders of `LEVELS`, `KINDS` and `DOMAINS`.
    log_tokens
        (n_queries,), log(1 + tokens) of a good answer.
    """

    levels: FloatMatrix
    kinds: FloatMatrix
    domains: FloatMatrix
    log_tokens: FloatVector

    @classmethod
    def read(cls, x: FloatMatrix) -> Self:
        """Read the first columns of a feature matrix.

        Whatever stands there gives chances: missing columns count as nothing known.
        """
        if x.shape[1] < N_COLUMNS:
            x = np.pad(x, ((0, 0), (0, N_COLUMNS - x.shape[1])))
        # One pass over all columns: of one request every call of numpy costs more than its work.
        known = np.maximum(x[:, :N_COLUMNS], _NOTHING)
        chances = known[:, :_LENGTH_AT]
        np.add(chances, _LEAST, out=chances)
        return cls(
            levels=_normalised(chances[:, :_KINDS_AT]),
            kinds=_normalised(chances[:, _KINDS_AT:_DOMAINS_AT]),
            domains=_normalised(chances[:, _DOMAINS_AT:]),
            log_tokens=known[:, _LENGTH_AT] * _SCALE,
        )

    def columns(self, *more: FloatMatrix) -> FloatMatrix:
        """Return float32 (n_queries, N_COLUMNS), what `read` takes, and `more` behind it."""
        length = self.log_tokens[:, None] / _SCALE
        return np.concatenate([self.levels, self.kinds, self.domains, length, *more], axis=1)

    @property
    def demand(self) -> FloatVector:
        """(n_queries,) in [0, 1]: the expected level, 0 for trivial and 1 for very demanding."""
        steps = np.linspace(0, 1, len(LEVELS), dtype=np.float32)
        return np.asarray(self.levels.dot(steps), np.float32)


def _normalised(positive: FloatMatrix) -> FloatMatrix:
    return np.asarray(positive / np.add.reduce(positive, axis=1, keepdims=True), np.float32)
