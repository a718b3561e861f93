"""Hashed word and character n-grams: no weights at all, for tests and demonstrations."""

import itertools
import re
import zlib
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from routers.embedders.base import EMBEDDERS
from routers.text.window import head_and_tail
from routers.types import FloatMatrix, FloatVector

_VERSION = 1
_WORD = re.compile(r"\w+")
_CHARACTER_NGRAMS = (3, 4, 5)
_CHARACTER_WEIGHT = 0.5


@EMBEDDERS.register("hashing")
class HashingEmbedder:
    """Count hashed word 1-2-grams and character 3-5-grams, each with a random sign.

    Sees topic and style, no paraphrase. Needs nothing but numpy, and gives the same vectors in
    every process and on every machine.

    Parameters
    ----------
    dimensions
        Width of the vectors.
    max_chars
        Of a longer text, the head (three quarters of this) and the tail are read.

    References
    ----------
    Weinberger et al. 2009, Feature Hashing for Large Scale Multitask Learning, arXiv:0902.2206.
    """

    inline_chars = 1_000

    def __init__(
        self,
        *,
        dimensions: Annotated[int, Field(ge=2, le=65_536)] = 256,
        max_chars: Annotated[int, Field(ge=8)] = 4_096,
    ) -> None:
        self.dimensions = dimensions
        self.max_chars = max_chars
        self.embedder_id = f"hashing-{_VERSION}-{dimensions}-{max_chars}"

    @classmethod
    def outside(cls, options: Mapping[str, Any]) -> None:
        """Return None: there is nothing but numpy."""

    def encode(self, texts: Sequence[str]) -> FloatMatrix:
        """Return float32 (len(texts), dimensions), rows of unit norm (zero for empty text)."""
        vectors = np.zeros((len(texts), self.dimensions), dtype=np.float32)
        for row, text in enumerate(texts):
            vectors[row] = self._vector(text)
        return vectors

    def _vector(self, text: str) -> FloatVector:
        window = "\n".join(part for part in head_and_tail(text, self.max_chars) if part)
        words = _WORD.findall(window.lower())
        terms = words + [f"{left} {right}" for left, right in itertools.pairwise(words)]
        # The built-in hash() differs from process to process.
        hashed = [zlib.crc32(term.encode("utf-8", "surrogatepass")) for term in terms]
        vector = self._project(np.array(hashed, dtype=np.uint64))
        vector += _CHARACTER_WEIGHT * self._project(_character_hashes(" ".join(words)))
        norm = float(np.linalg.norm(vector))
        return (vector / norm if norm else vector).astype(np.float32)

    def _project(self, hashes: NDArray[np.uint64]) -> NDArray[np.float64]:
        """Add up the signs of the hashes in each of the buckets."""
        mixed = hashes * np.uint64(0x9E3779B97F4A7C15)  # Fibonacci hashing; wraps around
        mixed ^= mixed >> np.uint64(29)
        mixed *= np.uint64(0xBF58476D1CE4E5B9)
        signs = np.where(mixed >> np.uint64(63), 1.0, -1.0)
        buckets = ((mixed >> np.uint64(24)) % np.uint64(self.dimensions)).astype(np.intp)
        counts = np.bincount(buckets, weights=signs, minlength=self.dimensions)
        return counts.astype(np.float64)


def _character_hashes(text: str) -> NDArray[np.uint64]:
    """Hash every run of 3, 4 and 5 bytes of the text between two spaces."""
    data = np.frombuffer(f" {text} ".encode("utf-8", "surrogatepass"), dtype=np.uint8)
    codes = data.astype(np.uint64) + np.uint64(1)
    if not text:
        return np.zeros(0, dtype=np.uint64)
    found = []
    for length in _CHARACTER_NGRAMS:
        n_runs = len(codes) - length + 1
        if n_runs <= 0:
            break
        hashes = np.zeros(n_runs, dtype=np.uint64)
        for offset in range(length):
            hashes = hashes * np.uint64(1_000_003) + codes[offset : offset + n_runs]
        found.append(hashes)
    return np.concatenate(found)
