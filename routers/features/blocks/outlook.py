"""What readers let expect of a query before any outcome: how demanding it is, how long an answer.

A router's own training data say what makes answers long only after many rows, and what an answer
costs is its length. Some thousand prompts were read for it, each with a grade and the length of a
good answer (`configs/graded_prompts`); a line through the embedding and the lexical signals carries
that to other prompts. The block `request` knows it better and costs many times as much to compute.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from routers.embedders.base import Embedder
from routers.features.blocks.base import BLOCKS, Block, require_embedder
from routers.options import State, take
from routers.text.conversation import ConversationText
from routers.types import FloatMatrix

WEIGHTS_FILE = Path(__file__).parents[2] / "pretrained" / "outlook" / "weights.npz"

INPUTS = ("embedding", "lexical")
"""The blocks that the line is drawn through, in this order."""

COLUMNS = ("length", "demand")
"""What it tells: log tokens of a good answer and the grade, both centred, with a spread of `SPREAD`
over the prompts that were read."""

SPREAD = 0.3
"""That of an average column of the other blocks, times a few, so that it is heard among them."""


class OutlookLine:
    """A linear map from features to `COLUMNS`.

    Parameters
    ----------
    state
        `weights` (n_inputs, 2), `bias` (2,), and `embedder_id`, the UTF-8 bytes of the embedder
        that it was trained with.

    Raises
    ------
    KeyError, ValueError
        If an array is missing or does not fit.
    """

    def __init__(self, state: State) -> None:
        self._weights = take(state, "weights", ndim=2).astype(np.float32)
        self._bias = take(state, "bias", ndim=1).astype(np.float32)
        self.embedder_id = bytes(take(state, "embedder_id", ndim=1)).decode()
        if self._weights.shape[1] != len(COLUMNS) or self._bias.shape != (len(COLUMNS),):
            raise ValueError(f"the outlook's line does not have {len(COLUMNS)} columns")

    @classmethod
    def load(cls, file: Path = WEIGHTS_FILE) -> "OutlookLine":
        """Load the weights, by default those that are shipped."""
        with np.load(file, allow_pickle=False) as arrays:
            return cls(dict(arrays))

    def __call__(self, x: FloatMatrix) -> FloatMatrix:
        """Return float32 (n_queries, 2) for features (n_queries, n_inputs)."""
        return np.asarray(x.dot(self._weights) + self._bias, np.float32)


@BLOCKS.register("outlook")
class OutlookBlock(Block):
    """Two columns of the feature matrix, computed from those of other blocks.

    Raises
    ------
    RoutingConfigError
        If the embedder is not the one that the line was trained with.
    """

    version = 1
    inputs = INPUTS
    dimensions = len(COLUMNS)

    def __init__(self, embedder: Embedder) -> None:
        self._line = OutlookLine.load()
        require_embedder("outlook", embedder, self._line.embedder_id)

    def compute(self, texts: Sequence[ConversationText], *columns: FloatMatrix) -> FloatMatrix:
        """Return `COLUMNS` for the columns of `inputs`."""
        del texts  # the columns say it all
        return self._line(np.concatenate(columns, axis=1))
