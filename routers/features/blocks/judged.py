"""What a decision model said of a request as columns of the feature matrix."""

from collections.abc import Sequence

import numpy as np

from routers.decision.judged import LEVELS
from routers.embedders.base import Embedder
from routers.features.blocks.base import BLOCKS, Block
from routers.text.conversation import ConversationText
from routers.types import FloatMatrix

JUDGED_COLUMNS = (*(f"p_{level}" for level in LEVELS), "expected_level", "said")
"""Each in [0, 1]; the expected level is 0 where all chance is on the easiest, 1 on the hardest."""


@BLOCKS.register("judged")
class JudgedBlock(Block):
    """The chance of each of `routers.decision.judged.LEVELS`, and what they come to.

    Where nobody said how hard a request is, each level is as likely as any other.
    """

    version = 1
    dimensions = len(JUDGED_COLUMNS)

    def __init__(self, embedder: Embedder) -> None:
        del embedder  # it reads no text

    def compute(self, texts: Sequence[ConversationText], *_: FloatMatrix) -> FloatMatrix:
        """Take what was said of each conversation."""
        unsaid = (1 / len(LEVELS),) * len(LEVELS)
        chances = np.array([text.judged or unsaid for text in texts], np.float32)
        chances = chances.reshape(len(texts), len(LEVELS))
        expected = chances @ np.linspace(0, 1, len(LEVELS), dtype=np.float32)
        said = np.array([bool(text.judged) for text in texts], np.float32)
        return np.column_stack([chances, expected, said]).astype(np.float32)
