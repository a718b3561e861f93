"""What a request is for, as a vector: the description of its task, or its system prompt."""

from collections.abc import Sequence

from routers.embedders.base import Embedder
from routers.features.blocks.base import BLOCKS, Block
from routers.probe import Stage
from routers.request.task_vectors import TASK_COLUMNS, TaskVectors
from routers.text.conversation import ConversationText
from routers.types import FloatMatrix


@BLOCKS.register("task")
class TaskBlock(Block):
    """The embedding of what a request is described to be for.

    That is what somebody said of its task or application, else its system prompt, and where there
    is none the prompt. Strategies that read it want it first.
    """

    version = 1
    stage = Stage.EMBED

    def __init__(self, embedder: Embedder) -> None:
        self._vectors = TaskVectors(embedder)

    @property
    def dimensions(self) -> int:
        """The same for every embedder."""
        return TASK_COLUMNS

    def compute(self, texts: Sequence[ConversationText], *_: FloatMatrix) -> FloatMatrix:
        """Embed what is not known yet."""
        return self._vectors(texts)
