"""Words and word pairs, weighted by rarity and reduced: what the embedding's averages blur."""

import itertools
import re
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from routers.embedders.base import Embedder
from routers.features.blocks._latent import Counted, Directions, damped
from routers.features.blocks.base import BLOCKS, Block
from routers.options import packed_lines, take_lines
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


@BLOCKS.register("terms")
class TermsBlock(Block):
    """TF-IDF of words and word pairs, reduced by a singular value decomposition to unit vectors.

    Vocabulary, weights and directions are learned from the training prompts. A prompt without any
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
        self._damped = damped(MAX_CHARS + 1)
        self._directions = Directions.none()

    @property
    def dimensions(self) -> int:
        """Number of directions."""
        return self._directions.n

    def fit(self, texts: Sequence[ConversationText], *, seed: int) -> None:
        """Learn vocabulary, rarity and directions."""
        read = [_tokens(text.prompt) for text in texts]
        queries = Counter(
            term for each in read for term in {*each, *map(" ".join, itertools.pairwise(each))}
        )
        # Ties in frequency fall to the alphabet, so that the same texts give the same terms.
        common = sorted(queries.items(), key=lambda item: (-item[1], item[0]))[:MAX_TERMS]
        terms = [term for term, n in common if n >= _MIN_QUERIES]
        self._number(terms)
        self._directions = Directions.learn(
            [self._weights(each) for each in read],
            np.array([queries[t] for t in terms]),
            most=MAX_DIMENSIONS,
            seed=seed,
        )

    def compute(self, texts: Sequence[ConversationText], *_: FloatMatrix) -> FloatMatrix:
        """Project every prompt; rows of unit norm, or zero."""
        counted = (self._weights(_tokens(text.prompt)) for text in texts)
        return self._directions.project(counted, len(texts))

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

    def _weights(self, tokens: list[str]) -> Counted:
        """Return the columns of the known terms and their damped counts, 1 + ln(count)."""
        words = map(self._words.get, tokens)
        pairs = map(self._pairs.get, itertools.pairwise(tokens))
        counts = Counter(filter(None, itertools.chain(words, pairs)))
        n = len(counts)
        numbers = np.fromiter(counts.keys(), np.intp, n)
        return numbers - 1, self._damped.take(np.fromiter(counts.values(), np.intp, n))

    def state(self) -> dict[str, np.ndarray]:
        """Return the terms as one text of lines, the directions and their scales."""
        return {"terms": packed_lines(self._terms), **self._directions.state()}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Take over terms and directions."""
        terms = take_lines(state, "terms")
        self._directions = Directions.restore(state, len(terms))
        self._number(terms)


def _tokens(prompt: str) -> list[str]:
    """Return words and punctuation marks in lower case; not to be changed."""
    head, tail = head_and_tail(prompt, MAX_CHARS)
    read = f"{head}\x00{tail}" if tail else head
    if read.isascii() and "_" not in read:
        return ascii_words(read)
    return _TOKEN.findall(read.lower())
