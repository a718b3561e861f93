"""Words and word pairs, weighted by rarity and reduced: what the embedding's averages blur."""

import itertools
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from routers.embedders.base import Embedder
from routers.features.blocks.base import BLOCKS, Block
from routers.options import packed_lines, take, take_lines
from routers.text.conversation import ConversationText
from routers.text.window import head_and_tail
from routers.text.words import ascii_words
from routers.types import FloatMatrix

_TOKEN = re.compile(r"\w+|[^\w\s]")

MAX_CHARS = 6_000
"""Of a longer prompt, head and tail of that many characters are read."""

MAX_TERMS = 20_000
MAX_DIMENSIONS = 384
_MIN_QUERIES = 2
"""A term has to occur in that many training queries."""

_SMALL_SET = 20
"""Columns are at most the number of training queries over this: more would be noise."""


@BLOCKS.register("terms")
class TermsBlock(Block):
    """TF-IDF of words and word pairs, reduced by a singular value decomposition to unit vectors.

    Vocabulary, weights and directions are learned from the training prompts. The directions are
    kept as int8 with a scale per term, the rarity folded into the scale. A prompt without any
    known term is the zero vector. Only the newest user turn is read.

    References
    ----------
    Deerwester et al. 1990, Indexing by latent semantic analysis.
    """

    version = 1
    learns = True

    def __init__(self, embedder: Embedder) -> None:
        del embedder  # the terms need none
        self._number(())
        self._damped = _damped(MAX_CHARS + 1)
        self._table: np.ndarray = np.zeros((0, 0), np.int8)
        self._scales: np.ndarray = np.zeros(0, np.float32)

    @property
    def dimensions(self) -> int:
        """Number of directions."""
        return int(self._table.shape[1])

    def fit(self, texts: Sequence[ConversationText], *, seed: int) -> None:
        """Learn vocabulary, rarity and directions."""
        from scipy.sparse import csr_matrix  # noqa: PLC0415  (training only)
        from sklearn.utils.extmath import randomized_svd  # noqa: PLC0415

        read = [_tokens(text.prompt) for text in texts]
        queries = Counter(
            term for each in read for term in {*each, *map(" ".join, itertools.pairwise(each))}
        )
        # Ties in frequency fall to the alphabet, so that the same texts give the same terms.
        common = sorted(queries.items(), key=lambda item: (-item[1], item[0]))[:MAX_TERMS]
        terms = [term for term, n in common if n >= _MIN_QUERIES]
        self._number(terms)
        rarity = np.log((1 + len(texts)) / (1 + np.array([queries[t] for t in terms]))) + 1
        rows = [self._weights(each) for each in read]
        indptr = np.cumsum([0, *(len(columns) for columns, _ in rows)])
        data = np.concatenate([values for _, values in rows] or [np.zeros(0)])
        columns = np.concatenate([columns for columns, _ in rows] or [np.zeros(0, int)])
        matrix = csr_matrix((data * rarity[columns], columns, indptr), (len(texts), len(terms)))
        norms = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1))).ravel()
        matrix = csr_matrix(matrix.multiply(1 / np.where(norms > 0, norms, 1)[:, None]))
        n = min(MAX_DIMENSIONS, len(texts) // _SMALL_SET, len(terms) - 1)
        if n < 1:
            self._table, self._scales = np.zeros((len(terms), 0), np.int8), np.zeros(len(terms))
            self._scales = self._scales.astype(np.float32)
            return
        _, _, directions = randomized_svd(matrix, n, random_state=seed)
        weighted = directions.T * rarity[:, None]
        largest = np.abs(weighted).max(axis=1)
        self._scales = (np.where(largest > 0, largest, 1) / 127).astype(np.float32)
        self._table = np.round(weighted / self._scales[:, None]).astype(np.int8)

    def compute(self, texts: Sequence[ConversationText], *_: FloatMatrix) -> FloatMatrix:
        """Project every prompt; rows of unit norm, or zero."""
        out = np.zeros((len(texts), self.dimensions), np.float32)
        for row, text in enumerate(texts):
            columns, values = self._weights(_tokens(text.prompt))
            if len(columns) == 0 or self.dimensions == 0:
                continue
            values = values * self._scales.take(columns)
            vector = values.dot(self._table.take(columns, axis=0).astype(np.float32))
            norm = math.sqrt(vector.dot(vector))
            if norm > 0:
                np.divide(vector, norm, out=out[row])
        return out

    def _number(self, terms: Sequence[str]) -> None:
        """Give the terms, words and pairs, the numbers from 1 on: no number is false."""
        self._terms = tuple(terms)
        self._words: dict[str, int] = {}
        self._pairs: dict[tuple[str, str], int] = {}
        for number, term in enumerate(terms, 1):
            first, apart, second = term.partition(" ")
            if apart:
                self._pairs[first, second] = number
            else:
                self._words[first] = number

    def _weights(self, tokens: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return the columns of the known terms and their damped counts, 1 + ln(count)."""
        words = map(self._words.get, tokens)
        pairs = map(self._pairs.get, itertools.pairwise(tokens))
        counts = Counter(filter(None, itertools.chain(words, pairs)))
        n = len(counts)
        numbers = np.fromiter(counts.keys(), np.intp, n)
        return numbers - 1, self._damped.take(np.fromiter(counts.values(), np.intp, n))

    def state(self) -> dict[str, np.ndarray]:
        """Return the terms as one text of lines, the directions and their scales."""
        return {
            "terms": packed_lines(self._terms),
            "table": self._table,
            "scales": self._scales,
        }

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Take over terms and directions."""
        table, scales = take(state, "table", ndim=2), take(state, "scales", ndim=1)
        terms = take_lines(state, "terms")
        if not len(terms) == len(table) == len(scales):
            raise ValueError("terms, directions and scales are not equally many")
        self._number(terms)
        self._table, self._scales = table, scales


def _damped(n: int) -> np.ndarray:
    """Return 1 + ln(count) for the counts from 0 to n; nothing asks for that of 0."""
    return 1 + np.log(np.maximum(np.arange(n + 1, dtype=np.float32), 1))


def _tokens(prompt: str) -> list[str]:
    """Return words and punctuation marks in lower case; not to be changed."""
    head, tail = head_and_tail(prompt, MAX_CHARS)
    read = f"{head}\x00{tail}" if tail else head
    if read.isascii() and "_" not in read:
        return ascii_words(read)
    return _TOKEN.findall(read.lower())
