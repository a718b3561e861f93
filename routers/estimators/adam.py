"""Stochastic gradients with Adam over named arrays; numpy only, the same on every run."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Parameters = dict[str, Any]
"""Arrays by name, of any shape."""

_FEWEST_STEPS, _MOST_EPOCHS = 60, 30
_BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-8


@dataclass(kw_only=True)
class Adam:
    """Move parameters against their gradients.

    Attributes
    ----------
    decay
        Decoupled weight decay per unit of the rate, of the arrays named in `decayed`.

    References
    ----------
    Kingma and Ba 2015, Adam; Loshchilov and Hutter 2019, Decoupled Weight Decay Regularization.
    """

    decay: float = 0.0
    decayed: Collection[str] = ()
    _step: int = field(init=False, default=0)
    _first: Parameters = field(init=False, default_factory=dict)
    _second: Parameters = field(init=False, default_factory=dict)

    def step(self, parameters: Parameters, gradients: Parameters, rate: float) -> None:
        """Change the parameters in place."""
        self._step += 1
        ahead = 1 / (1 - _BETA_1**self._step)
        size = 1 / (1 - _BETA_2**self._step)
        for name, gradient in gradients.items():
            value = parameters[name]
            if name not in self._first:
                self._first[name], self._second[name] = np.zeros_like(value), np.zeros_like(value)
            first, second = self._first[name], self._second[name]
            first += (1 - _BETA_1) * (gradient - first)
            second += (1 - _BETA_2) * (gradient * gradient - second)
            if self.decay and name in self.decayed:
                value *= 1 - rate * self.decay
            value -= rate * ahead * first / (np.sqrt(size * second) + _EPSILON)


def descend(
    parameters: Parameters,
    gradients: Callable[[Parameters, np.ndarray], Parameters],
    *,
    n_rows: int,
    batch_size: int,
    n_steps: int,
    rate: float,
    adam: Adam,
    rng: np.random.Generator,
    most_epochs: int = _MOST_EPOCHS,
) -> None:
    """Follow the gradients on random batches of rows; the rate falls to zero along a cosine.

    Parameters
    ----------
    gradients
        Of the loss on the rows of some numbers.
    n_steps
        At most; of few rows no more than `most_epochs` times all of them, but sixty.
    """
    n_steps = min(n_steps, max(_FEWEST_STEPS, most_epochs * -(-n_rows // batch_size)))
    order = np.empty(0, np.intp)
    for step in range(n_steps):
        if len(order) < min(batch_size, n_rows):
            order = np.concatenate([order, rng.permutation(n_rows)])
        rows, order = order[:batch_size], order[batch_size:]
        falling = 0.5 * (1 + np.cos(np.pi * step / n_steps))
        adam.step(parameters, gradients(parameters, rows), rate * falling)
