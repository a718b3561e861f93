"""What an encoder is fine-tuned to tell: who wins, or what every model's answer is worth.

PyTorch has no types here: it is an extra, and comes as an argument.
"""

from typing import Any, Protocol

import numpy as np

from routers.types import FloatMatrix

_TOKENS_UNIT = 1_000.0


class TuningGoal(Protocol):
    """Targets of texts, and how far the outputs of a linear head are from them.

    Attributes
    ----------
    loss_name
        What `loss` is, in words.
    n_outputs
        How wide the head is.
    """

    loss_name: str
    n_outputs: int

    def loss(self, torch: Any, outputs: Any, at: np.ndarray) -> Any:
        """Return the mean loss, a tensor of one number.

        Parameters
        ----------
        outputs
            float32 (n, `n_outputs`), of the head.
        at
            int (n,): which texts these are.
        """
        ...


class WhoWins:
    """Whether the strong model wins, ties or loses, of every comparison.

    Parameters
    ----------
    gap
        float (n,): by how much the strong model's answer is better.
    """

    loss_name = "cross-entropy"
    n_outputs = 3

    def __init__(self, gap: np.ndarray) -> None:
        self.classes = np.stack([gap > 0, gap == 0, gap < 0], axis=1).argmax(axis=1)

    def loss(self, torch: Any, outputs: Any, at: np.ndarray) -> Any:
        """Return the mean cross-entropy, in nats."""
        return torch.nn.functional.cross_entropy(outputs, torch.as_tensor(self.classes[at]))


class WhatAnswersAreWorth:
    """How good the answer of every model is, and how long: one head each, as CARROT's RoBERTa.

    Parameters
    ----------
    quality
        float32 (n, n_models), in [0, 1]; NaN where a model was not tried.
    output_tokens
        float32 (n, n_models); NaN where unknown.

    References
    ----------
    Somerstep et al. 2025, CARROT, arXiv:2502.03261: sigmoid heads and cross-entropy for quality,
    linear heads and squared error for thousands of tokens.
    """

    loss_name = "cross-entropy of quality + squared error of thousands of tokens"

    def __init__(self, quality: FloatMatrix, output_tokens: FloatMatrix) -> None:
        self.quality = np.asarray(quality, dtype=np.float32)
        self.tokens = np.asarray(output_tokens, dtype=np.float32) / np.float32(_TOKENS_UNIT)
        self.n_outputs = 2 * self.quality.shape[1]

    def loss(self, torch: Any, outputs: Any, at: np.ndarray) -> Any:
        """Return the mean of what is known of both, added up."""
        n_models = self.quality.shape[1]
        errors = torch.nn.functional
        total = outputs.sum() * 0.0  # with a gradient, also where nothing is known
        for targets, said, error in (
            (self.quality[at], outputs[:, :n_models], errors.binary_cross_entropy_with_logits),
            (self.tokens[at], outputs[:, n_models:], errors.mse_loss),
        ):
            known = ~np.isnan(targets)
            if known.any():
                mask = torch.as_tensor(known)
                total = total + error(said[mask], torch.as_tensor(targets[known]))
        return total
