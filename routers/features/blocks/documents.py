"""The documents of a request as columns of the feature matrix: numbers, none of their text."""

from collections.abc import Sequence

import numpy as np

from routers.embedders.base import Embedder
from routers.features.blocks.base import BLOCKS, Block
from routers.text.conversation import ConversationText
from routers.text.document_signals import DOCUMENT_SIGNALS, measure_documents
from routers.types import FloatMatrix


@BLOCKS.register("documents")
class DocumentsBlock(Block):
    """The signals of `routers.text.document_signals`, each in [0, 1].

    A featurizer with this block sets documents apart before any other block reads the request
    (`routers.request.documents`).
    """

    version = 1
    dimensions = len(DOCUMENT_SIGNALS)
    sets_documents_apart = True

    def __init__(self, embedder: Embedder) -> None:
        del embedder  # the signals need none

    def compute(self, texts: Sequence[ConversationText], *_: FloatMatrix) -> FloatMatrix:
        """Measure the documents of each conversation."""
        if not texts:
            return np.zeros((0, len(DOCUMENT_SIGNALS)), dtype=np.float32)
        numbers = [text.documents or measure_documents(text.prompt, ()) for text in texts]
        return np.array([each.signals for each in numbers], np.float32)
