"""Cheap signals of a text as columns of the feature matrix."""

from collections.abc import Sequence

import numpy as np

from routers.embedders.base import Embedder
from routers.features.blocks.base import BLOCKS, Block
from routers.text.conversation import ConversationText
from routers.text.lexical import LEXICAL_SIGNALS, LEXICAL_VERSION, measure
from routers.types import FloatMatrix


@BLOCKS.register("lexical")
class LexicalBlock(Block):
    """The signals of `routers.text.lexical`, each in [0, 1]."""

    version = LEXICAL_VERSION
    dimensions = len(LEXICAL_SIGNALS)
    length_column = LEXICAL_SIGNALS.index("log_characters")

    def __init__(self, embedder: Embedder) -> None:
        del embedder  # the signals need none

    def compute(self, texts: Sequence[ConversationText], *_: FloatMatrix) -> FloatMatrix:
        """Measure each conversation."""
        if not texts:
            return np.zeros((0, len(LEXICAL_SIGNALS)), dtype=np.float32)
        return np.array([measure(text) for text in texts], np.float32)
