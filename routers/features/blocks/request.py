"""The description of a request as columns of the feature matrix."""

from collections.abc import Sequence

import numpy as np

from routers.embedders.base import Embedder
from routers.features.blocks.base import BLOCKS, Block
from routers.request.layout import N_COLUMNS
from routers.request.model import RequestModel
from routers.text.conversation import ConversationText
from routers.types import FloatMatrix


@BLOCKS.register("request")
class RequestBlock(Block):
    """What a prompt asks for: level, kind, domain, length, and directions of public outcomes.

    The first columns are those of `routers.request.layout`. What counts is the newest turn;
    system prompts are the same for every request of an application and take no part.
    """

    version = 1

    def __init__(self, embedder: Embedder) -> None:
        self._model = RequestModel.load(embedder)

    @property
    def dimensions(self) -> int:
        """The described columns and the directions."""
        return N_COLUMNS + self._model.n_directions

    def compute(self, texts: Sequence[ConversationText], *_: FloatMatrix) -> FloatMatrix:
        """Describe each request."""
        if not texts:
            return np.zeros((0, self.dimensions), np.float32)
        description, directions = self._model.describe(texts)
        return description.columns(directions)
