"""Runs of characters, weighted by rarity and reduced: endings, formulas, code, what is misspelt."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from routers.embedders.base import Embedder
from routers.features.blocks._latent import Counted, Directions, damped
from routers.features.blocks.base import BLOCKS, Block
from routers.options import packed_lines, take_lines
from routers.text.conversation import ConversationText
from routers.text.window import head_and_tail
from routers.types import FloatMatrix

MAX_CHARS = 3_000
"""Of a longer prompt, head and tail of that many characters are read."""

MAX_RUNS = 20_000
MAX_DIMENSIONS = 320
_LENGTHS = (3, 4)
_MIN_QUERIES = 3
"""A run has to occur in that many training queries."""


@BLOCKS.register("characters")
class CharactersBlock(Block):
    """TF-IDF of runs of three and four characters, reduced by a singular value decomposition.

    Runs lie within words, the blanks around them included; capitals count. Which runs, their
    weights and directions are learned from the training prompts. A prompt without any known run
    is the zero vector. Only the newest user turn is read.

    References
    ----------
    Cavnar and Trenkle 1994, N-gram-based text categorization; Deerwester et al. 1990, Indexing by
    latent semantic analysis.
    """

    version = 1
    learns = True

    def __init__(self, embedder: Embedder) -> None:
        del embedder  # characters need none
        self._runs: dict[str, int] = {}
        self._damped = damped(len(_LENGTHS) * (MAX_CHARS + 2))
        self._directions = Directions.none()

    @property
    def dimensions(self) -> int:
        """Number of directions."""
        return self._directions.n

    def fit(self, texts: Sequence[ConversationText], *, seed: int) -> None:
        """Learn runs, rarity and directions."""
        read = [_runs(text.prompt) for text in texts]
        queries = Counter(run for each in read for run in each)
        # Ties in frequency fall to the alphabet, so that the same texts give the same runs.
        common = sorted(queries.items(), key=lambda item: (-item[1], item[0]))[:MAX_RUNS]
        kept = [(run, n) for run, n in common if n >= _MIN_QUERIES]
        self._runs = {run: i for i, (run, _) in enumerate(kept)}
        self._directions = Directions.learn(
            [self._weights(each) for each in read],
            np.array([n for _, n in kept], np.int64),
            most=MAX_DIMENSIONS,
            seed=seed,
        )

    def compute(self, texts: Sequence[ConversationText], *_: FloatMatrix) -> FloatMatrix:
        """Project every prompt; rows of unit norm, or zero."""
        counted = (self._weights(_runs(text.prompt)) for text in texts)
        return self._directions.project(counted, len(texts))

    def _weights(self, counts: Counter[str]) -> Counted:
        """Return the columns of the known runs and their damped counts, 1 + ln(count)."""
        known = [(self._runs[run], n) for run, n in counts.items() if run in self._runs]
        found = np.array(known, np.intp).reshape(-1, 2)
        return found[:, 0], self._damped.take(found[:, 1])

    def state(self) -> dict[str, np.ndarray]:
        """Return the runs as one text of lines, the directions and their scales."""
        return {"runs": packed_lines(tuple(self._runs)), **self._directions.state()}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Take over runs and directions."""
        runs = take_lines(state, "runs")
        self._directions = Directions.restore(state, len(runs))
        self._runs = {run: i for i, run in enumerate(runs)}


def _runs(prompt: str) -> Counter[str]:
    """Count the runs within the words of a prompt."""
    head, tail = head_and_tail(prompt, MAX_CHARS)
    words = Counter(head.split())
    words.update(tail.split())
    counts: Counter[str] = Counter()
    for word, n in words.items():
        padded = f" {word} "
        for length in _LENGTHS:
            for at in range(len(padded) - length + 1):
                counts[padded[at : at + length]] += n
    return counts
