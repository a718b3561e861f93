"""The embedder seam: text in, unit vectors out."""

from collections.abc import Sequence
from typing import Protocol

from routers.registry import Registry
from routers.types import FloatMatrix


class Embedder(Protocol):
    """Turn texts into unit vectors, the same ones for the same text everywhere.

    Attributes
    ----------
    embedder_id
        Fingerprint of everything that shapes the vectors (kind, weights digest, token limit,
        version). An artifact trained with one id refuses to be served with another.
    dimensions
        Width of the vectors.
    inline_chars
        Up to how many characters of text one `encode` takes well under a millisecond, so that
        a server may call it on its event loop; 0 when never.
    """

    embedder_id: str
    dimensions: int
    inline_chars: int

    def encode(self, texts: Sequence[str]) -> FloatMatrix:
        """Return float32 (len(texts), dimensions), rows of unit norm (zero for empty text)."""
        ...


EMBEDDERS: Registry[Embedder] = Registry("routers.embedders", noun="embedder")
