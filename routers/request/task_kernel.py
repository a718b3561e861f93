"""How much alike short requests are: by what they mean, and by their words whatever their form."""

import re
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from routers.numeric import FloatArray, unit_rows
from routers.types import FloatMatrix

Embed = Callable[[Sequence[str]], FloatMatrix]

_WORD = re.compile(r"[^\W_]+")
_GRAM = 5
"""Letters of a piece of a word: forms of a verb have their first pieces in common."""

_MEANING = 0.5
"""What likeness of meaning counts beside that of words."""

_MAX_CHARS = 1_000


class TaskKernel:
    """Likeness of texts to those that it was made of, from about 0 to 1.

    Rare words count more. What none of those texts has in it only makes a text less like them.

    Parameters
    ----------
    texts
        Those that others are held against.
    embed
        Returns unit rows.
    """

    def __init__(self, texts: Sequence[str], embed: Embed) -> None:
        self._embed = embed
        counts = Counter(piece for text in texts for piece in set(_pieces(text)))
        self._columns = {piece: column for column, piece in enumerate(counts)}
        seen = np.array(list(counts.values()), np.float64)
        self._rarity = np.log((1 + len(texts)) / (1 + seen)) + 1
        self._unseen = float(np.log(1 + len(texts))) + 1
        self._meaning = self._meanings(texts)
        words = [self._words(text) for text in texts]
        self._table = np.zeros((len(texts), len(counts)))
        for row, (columns, values) in enumerate(words):
            self._table[row, columns] = values

    def between(self) -> FloatArray:
        """Return the likeness of all its texts to each other."""
        by_meaning: FloatArray = self._meaning @ self._meaning.T
        return _MEANING * by_meaning + (1 - _MEANING) * self._table @ self._table.T

    def readers(self, dual: FloatArray) -> "Readers":
        """Return what tells of further texts the likenesses weighed by `dual`, (n_texts, n)."""
        return Readers(
            meaning=_MEANING * self._meaning.T @ dual,
            words=(1 - _MEANING) * self._table.T @ dual,
            kernel=self,
        )

    def read(self, texts: Sequence[str], meaning: FloatArray, words: FloatArray) -> FloatArray:
        """Return the products of texts with weights of meanings and of words."""
        found = self._meanings(texts) @ meaning
        for row, text in enumerate(texts):
            columns, values = self._words(text)
            found[row] += values @ words[columns]
        return np.asarray(found)

    def _meanings(self, texts: Sequence[str]) -> FloatArray:
        return unit_rows(np.asarray(self._embed(texts), np.float32)).astype(np.float64)

    def _words(self, text: str) -> tuple[np.ndarray, FloatArray]:
        """Return columns and values of a text, of which all values together are of unit length."""
        columns: list[int] = []
        values: list[float] = []
        strange = 0.0
        for piece, n in Counter(_pieces(text)).items():
            column = self._columns.get(piece)
            if column is None:
                strange += n * self._unseen**2
            else:
                columns.append(column)
                values.append(n**0.5)
        at = np.array(columns, np.intp)
        weighed = np.array(values) * self._rarity[at]
        norm = np.sqrt(strange + weighed @ weighed)
        return at, weighed / max(float(norm), 1e-12)


class Readers:
    """Weights that texts are read with; of what `TaskKernel.readers` returns."""

    def __init__(self, *, meaning: FloatArray, words: FloatArray, kernel: TaskKernel) -> None:
        self._meaning, self._words, self._kernel = meaning, words, kernel

    def __call__(self, texts: Sequence[str]) -> FloatArray:
        """Return (len(texts), n)."""
        return self._kernel.read(texts, self._meaning, self._words)


def _pieces(text: str) -> list[str]:
    """Return words, and the pieces of long ones, of which the first is marked."""
    pieces = []
    for word in _WORD.findall(text[:_MAX_CHARS].lower()):
        pieces.append(f" {word}")
        if len(word) > _GRAM:
            pieces.append(f"^{word[:_GRAM]}")
            pieces += [word[i : i + _GRAM] for i in range(1, len(word) - _GRAM + 1)]
    return pieces
