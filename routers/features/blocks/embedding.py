"""The meaning of a conversation: its segments' embeddings, the prompt first of all."""

from collections.abc import Sequence

import numpy as np

from routers.embedders.base import Embedder
from routers.features.blocks.base import BLOCKS, Block
from routers.probe import Stage
from routers.text.conversation import (
    HISTORY_WEIGHT,
    PROMPT_WEIGHT,
    SYSTEM_WEIGHT,
    ConversationText,
)
from routers.text.memo import Memo
from routers.types import FloatMatrix

_REMEMBERED = 256
"""System prompts whose embedding is kept."""


@BLOCKS.register("embedding")
class EmbeddingBlock(Block):
    """The weighted sum of the segments' embeddings, of unit norm.

    A single prompt gives exactly what the embedder gives for it.
    """

    version = 1
    stage = Stage.EMBED

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._systems: Memo[str, FloatMatrix] = Memo(
            lambda text: self._embedder.encode([text]), limit=_REMEMBERED
        )

    @property
    def dimensions(self) -> int:
        """The width of the embedder's vectors."""
        return self._embedder.dimensions

    def compute(self, texts: Sequence[ConversationText], *_: FloatMatrix) -> FloatMatrix:
        """Embed every segment of every conversation in one call and add them up."""
        embedder = self._embedder
        vectors = embedder.encode([text.prompt for text in texts])
        context: list[tuple[int, float, str]] = []
        for row, text in enumerate(texts):
            if text.history:
                context.append((row, HISTORY_WEIGHT, text.history))
            if text.system:
                context.append((row, SYSTEM_WEIGHT, text.system))
        if not context:
            return vectors
        mixed = vectors * np.float32(PROMPT_WEIGHT)
        segments = self._segments([segment for _, _, segment in context], texts)
        for (row, weight, _segment), vector in zip(context, segments, strict=True):
            mixed[row] += np.float32(weight) * vector
        for row in sorted({row for row, _, _ in context}):
            norm = np.linalg.norm(mixed[row])
            if norm > 0:
                mixed[row] /= norm
        return mixed

    def _segments(self, segments: list[str], texts: Sequence[ConversationText]) -> FloatMatrix:
        if len(texts) > 1:
            return self._embedder.encode(segments)
        # One request of many: an application's system prompt is the same with each of them.
        system = texts[0].system
        return np.concatenate(
            [
                self._systems[each] if each is system else self._embedder.encode([each])
                for each in segments
            ]
        )
