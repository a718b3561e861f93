"""The seam of feature blocks: some columns of the feature matrix, one file per kind."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from routers.embedders.base import Embedder
from routers.errors import RoutingConfigError
from routers.probe import Stage
from routers.registry import Registry
from routers.text.conversation import ConversationText
from routers.types import FloatMatrix


class Block(ABC):
    """Some columns of the feature matrix, made of texts or of the columns of other blocks.

    A block that learns overrides `fit`, `state` and `restore`, and says so by `learns`.

    Attributes
    ----------
    version
        To be raised whenever the same text gives other values; artifacts store it.
    inputs
        The blocks whose columns `compute` takes, which have to stand before this one.
    learns
        Whether the columns depend on the training set.
    stage
        Under which stage of a decision the time of `compute` is counted.
    length_column
        Which of the columns is the logarithm of the prompt's length, if one is.
    sets_documents_apart
        Whether no block beside this one may read the text of documents.
    """

    version: ClassVar[int]
    inputs: ClassVar[tuple[str, ...]] = ()
    learns: ClassVar[bool] = False
    stage: ClassVar[Stage] = Stage.FEATURES
    length_column: ClassVar[int | None] = None
    sets_documents_apart: ClassVar[bool] = False

    @abstractmethod
    def __init__(self, embedder: Embedder) -> None: ...

    @property
    @abstractmethod
    def dimensions(self) -> int:
        """Number of columns; known once the block is fitted."""

    def fit(self, texts: Sequence[ConversationText], *, seed: int) -> None:
        """Learn what the columns are from the texts of the training queries, never their labels."""
        del texts, seed  # most blocks learn nothing

    @abstractmethod
    def compute(self, texts: Sequence[ConversationText], *columns: FloatMatrix) -> FloatMatrix:
        """Return float32 (len(texts), dimensions), finite.

        Parameters
        ----------
        columns
            Those of `inputs`, in their order.
        """

    def state(self) -> dict[str, np.ndarray]:
        """Return what `fit` learned as plain arrays."""
        return {}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Take over what `state` returned.

        Raises
        ------
        KeyError, ValueError
            If an array is missing or does not fit.
        """
        if state:
            raise ValueError(f"arrays of a block that learns nothing: {', '.join(state)}")


def require_embedder(block: str, embedder: Embedder, embedder_id: str) -> None:
    """Refuse another embedder than the one that the shipped weights of a block were trained with.

    Raises
    ------
    RoutingConfigError
        If `embedder` has another id.
    """
    if embedder.embedder_id != embedder_id:
        raise RoutingConfigError(
            f"the feature block {block!r} needs the embedder 'static' with its default "
            "options; leave the block out or change the embedder"
        )


BLOCKS: Registry[Block] = Registry(
    "routers.features.blocks", noun="feature block", group="steelyard.blocks", base=Block
)
