"""What a request is for as a vector: its application's description, embedded once."""

from collections.abc import Sequence

import numpy as np

from routers.embedders.base import Embedder
from routers.text.conversation import ConversationText
from routers.text.memo import Memo
from routers.types import FloatMatrix, FloatVector

TASK_COLUMNS = 256
"""Width of every such vector, whatever the embedder's."""

_REMEMBERED = 1_024
"""Applications whose vector is kept."""

_SEED = 20_241_012


class TaskVectors:
    """Vectors of unit norm, those of descriptions by memory.

    An application says the same with every request, so that nothing is embedded twice but what a
    thousand others came after. A request without a description stands for itself.

    Parameters
    ----------
    embedder
        Narrower vectors are filled up with zeros. Wider ones are projected on random directions,
        always the same, which leaves cosines nearly as they are (Johnson & Lindenstrauss 1984).
    """

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._projection = _projection(embedder.dimensions)
        self._known: Memo[str, FloatVector] = Memo(self._of_text, limit=_REMEMBERED)

    def __call__(self, texts: Sequence[ConversationText]) -> FloatMatrix:
        """Return float32 (len(texts), TASK_COLUMNS)."""
        vectors = np.zeros((len(texts), TASK_COLUMNS), np.float32)
        without = [row for row, text in enumerate(texts) if not text.task]
        if without:
            embedded = self._embedder.encode([texts[row].prompt for row in without])
            vectors[without] = self._fitted(embedded)
        for row, text in enumerate(texts):
            if text.task:
                vectors[row] = self._known[text.task]
        return vectors

    def _of_text(self, text: str) -> FloatVector:
        return np.asarray(self._fitted(self._embedder.encode([text]))[0], np.float32)

    def _fitted(self, embedded: FloatMatrix) -> FloatMatrix:
        if self._projection is not None:
            embedded = embedded @ self._projection
            norms = np.linalg.norm(embedded, axis=1, keepdims=True)
            return np.asarray(embedded / np.where(norms > 0, norms, 1), np.float32)
        fitted = np.zeros((len(embedded), TASK_COLUMNS), np.float32)
        fitted[:, : embedded.shape[1]] = embedded
        return fitted


def _projection(dimensions: int) -> FloatMatrix | None:
    if dimensions <= TASK_COLUMNS:
        return None
    rng = np.random.default_rng(_SEED)
    directions = rng.standard_normal((dimensions, TASK_COLUMNS)) / np.sqrt(TASK_COLUMNS)
    return np.asarray(directions, np.float32)
