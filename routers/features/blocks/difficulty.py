"""What public outcomes of many models say about a query: how hard it is, and for what kind.

A router's own training data are few. What makes a question hard is much the same for all models,
though, and about a hundred models' public outcomes on tens of thousands of questions are known. A
network that was trained on all of them together predicts each of these models on a query; the
leading directions of its predictions are features for whatever the router itself has to learn.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from routers.embedders.base import Embedder
from routers.features.blocks.base import BLOCKS, Block, require_embedder
from routers.layer import HiddenLayer
from routers.options import State, take
from routers.text.conversation import ConversationText
from routers.types import FloatMatrix

WEIGHTS_FILE = Path(__file__).parents[2] / "pretrained" / "difficulty" / "weights.npz"

INPUTS = ("embedding", "lexical")
"""The blocks that the network reads, in this order."""

_FARTHEST = 5.0
"""Standardised inputs are cut off here, as in training."""


class DifficultyNetwork:
    """One hidden layer from features to the leading directions of many models' predicted quality.

    Parameters
    ----------
    state
        `center`, `scale` (n_inputs,), `hidden` (n_inputs, width), `hidden_bias` (width,),
        `output` (width, n_directions), `output_bias` (n_directions,), and `embedder_id`, the
        UTF-8 bytes of the embedder that it was trained with.

    Attributes
    ----------
    n_inputs
        Columns that it reads.

    Raises
    ------
    KeyError, ValueError
        If an array is missing or does not fit.
    """

    def __init__(self, state: State) -> None:
        center, scale = take(state, "center", ndim=1), take(state, "scale", ndim=1)
        hidden, hidden_bias = take(state, "hidden", ndim=2), take(state, "hidden_bias", ndim=1)
        self._output = take(state, "output", ndim=2).astype(np.float32)
        self._output_bias = take(state, "output_bias", ndim=1)
        self.embedder_id = bytes(take(state, "embedder_id", ndim=1)).decode()
        self.n_inputs, width = hidden.shape
        if center.shape != (self.n_inputs,) or scale.shape != (self.n_inputs,):
            raise ValueError("center and scale of the difficulty network do not fit its inputs")
        if hidden_bias.shape != (width,) or len(self._output) != width:
            raise ValueError("the layers of the difficulty network do not fit together")
        if self._output_bias.shape != (self.dimensions,):
            raise ValueError("the output bias of the difficulty network does not fit")
        self._layer = HiddenLayer(center, scale, hidden, hidden_bias, farthest=_FARTHEST)

    @classmethod
    def load(cls, file: Path = WEIGHTS_FILE) -> "DifficultyNetwork":
        """Load the weights, by default those that are shipped."""
        with np.load(file, allow_pickle=False) as arrays:
            return cls(dict(arrays))

    @property
    def dimensions(self) -> int:
        """Columns that it returns."""
        return int(self._output.shape[1])

    def __call__(self, x: FloatMatrix) -> FloatMatrix:
        """Return float32 (n_queries, dimensions) for features (n_queries, n_inputs)."""
        return np.asarray(self._layer(x).dot(self._output) + self._output_bias, np.float32)


@BLOCKS.register("difficulty")
class DifficultyBlock(Block):
    """Some columns of the feature matrix, computed from those of other blocks.

    Raises
    ------
    RoutingConfigError
        If the embedder is not the one that the network was trained with.

    References
    ----------
    That success of many models rests on few shared traits of a query is item response theory's
    idea, used for routing by Song et al. 2025, IRT-Router, arXiv:2506.01048.
    """

    version = 1
    inputs = INPUTS

    def __init__(self, embedder: Embedder) -> None:
        self._network = DifficultyNetwork.load()
        require_embedder("difficulty", embedder, self._network.embedder_id)

    @property
    def dimensions(self) -> int:
        """Number of directions."""
        return self._network.dimensions

    def compute(self, texts: Sequence[ConversationText], *columns: FloatMatrix) -> FloatMatrix:
        """Return the directions for the columns of `inputs`."""
        del texts  # the columns say it all
        return self._network(np.concatenate(columns, axis=1))
