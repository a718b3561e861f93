"""What the words of a request alone say of how demanding it is: a linear model of rare terms."""

import itertools
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Self

import numpy as np

from routers.options import State, packed_lines, take, take_lines
from routers.text.words import ascii_identifiers, ascii_words

_SIGNS = "\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_MARKS = "\u0300-\u036f\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0900-\u0963\u0970-\u0dff"
_LETTERS = rf"[^\W{_SIGNS}]"
# Runs of signs, and of letters and marks without a look at every character whether it is a sign.
_RUN = re.compile(
    rf"[{_SIGNS}]+|{_LETTERS}+(?:[{_MARKS}]+{_LETTERS}*)*|(?:[{_MARKS}]+{_LETTERS}*)+|[^\w\s]"
)
_SIGN = re.compile(rf"[{_SIGNS}]")
TOKEN = re.compile(
    rf"[{_SIGNS}]|{_LETTERS}+(?:[{_MARKS}]+{_LETTERS}*)*|(?:[{_MARKS}]+{_LETTERS}*)+|[^\w\s]"
)
"""Words, single signs of dense scripts, marks."""

_STEM = 4
"""Longer words count also by their beginning, that many letters."""

MAX_CHARS = 1_200
"""Of a longer request, only its beginning is read."""

_MIN_REQUESTS = 2
_MAX_TERMS = 60_000


def terms_of(text: str) -> list[str]:
    """Return words, marks and single signs of dense scripts, all neighbours, and stems."""
    return list(_terms(text))


def _terms(text: str) -> Iterator[str]:
    tokens = _tokens(text[:MAX_CHARS])
    stems = [f"^{token[:_STEM]}" for token in tokens if len(token) > _STEM + 1]
    return itertools.chain(tokens, map(" ".join, itertools.pairwise(tokens)), stems)


def _tokens(text: str) -> list[str]:
    if not text.isascii():
        runs: list[str] = _RUN.findall(text.lower())
        if not _SIGN.search(text):
            return runs
        tokens: list[str] = []
        for run in runs:
            if _SIGN.match(run):
                tokens += run  # every sign by itself
            else:
                tokens.append(run)
        return tokens
    # The same words, found several times faster, and mostly found before by the tokeniser.
    return ascii_identifiers(text) if "_" in text else ascii_words(text)


class WordModel:
    """Ridge regression of the level on words and word pairs, weighted by rarity.

    Parameters
    ----------
    terms
        What is known.
    norms, scores
        The weight of each term in the norm of a text, and in its score.
    bias
        The score of a request without any known term.
    """

    def __init__(
        self, terms: Sequence[str], norms: Sequence[float], scores: Sequence[float], bias: float
    ) -> None:
        # Numbers from 1 on: no number is false.
        self._numbers = {term: number for number, term in enumerate(terms, 1)}
        self._squares = [0.0, *(norm * norm for norm in norms)]
        self._norms, self._scores = tuple(norms), [0.0, *scores]
        self._bias = bias

    @classmethod
    def fit(
        cls, texts: Sequence[str], level: Sequence[float] | np.ndarray, *, strength: float = 1.0
    ) -> Self:
        """Learn from requests and their levels, any real numbers."""
        from scipy.sparse import csr_matrix  # noqa: PLC0415  (training only)
        from sklearn.linear_model import Ridge  # noqa: PLC0415

        read = [Counter(terms_of(text)) for text in texts]
        frequency = Counter(term for each in read for term in each)
        common = sorted(frequency.items(), key=lambda item: (-item[1], item[0]))[:_MAX_TERMS]
        number = {term: i for i, (term, n) in enumerate(common) if n >= _MIN_REQUESTS}
        rarity = np.array(
            [math.log((1 + len(texts)) / (1 + frequency[term])) + 1 for term in number]
        )
        rows, columns, values = [], [], []
        for row, counts in enumerate(read):
            known = [(number[t], 1 + math.log(n)) for t, n in counts.items() if t in number]
            weighted = [(i, v * rarity[i]) for i, v in known]
            norm = math.sqrt(sum(v * v for _, v in weighted)) or 1.0
            for i, value in weighted:
                rows.append(row)
                columns.append(i)
                values.append(value / norm)
        x = csr_matrix((values, (rows, columns)), (len(texts), len(number)))
        ridge = Ridge(strength, solver="sparse_cg", random_state=0, tol=1e-6).fit(x, level)
        # Rounded as they are stored, so that a restored model answers the same.
        scores = (ridge.coef_ * rarity).astype(np.float16).tolist()
        norms = rarity.astype(np.float16).tolist()
        return cls(list(number), norms, scores, float(np.float32(ridge.intercept_)))

    def score(self, text: str) -> float:
        """Return the level that the words alone let expect."""
        known = Counter(filter(None, map(self._numbers.get, _terms(text))))
        scores, squares = self._scores, self._squares
        total = square = 0.0
        for number, count in known.items():
            if count == 1:
                total += scores[number]
                square += squares[number]
            else:
                damped = 1 + math.log(count)
                total += damped * scores[number]
                square += damped * damped * squares[number]
        return self._bias + (total / math.sqrt(square) if square else 0.0)

    def state(self) -> dict[str, np.ndarray]:
        """Return the terms as one text of lines, and their weights."""
        return {
            "terms": packed_lines(self._numbers),
            "weights": np.array([self._norms, self._scores[1:]], np.float16),
            "bias": np.array([self._bias], np.float32),
        }

    @classmethod
    def restore(cls, state: State) -> Self:
        """Read what `state` returned.

        Raises
        ------
        KeyError, ValueError
            If an array is missing or does not fit.
        """
        terms = take_lines(state, "terms")
        weights, bias = take(state, "weights", ndim=2), take(state, "bias", ndim=1)
        if weights.shape != (2, len(terms)) or bias.shape != (1,):
            raise ValueError("terms and weights of the word model are not equally many")
        norms, scores = weights.astype(np.float64).tolist()
        return cls(terms, norms, scores, float(bias[0]))
