"""How fast a deployment reads and writes, learned from answers that come whole."""

import numpy as np

from routers.numeric import FloatArray

_KEPT = 0.99
"""Of what was learned, with each call more: four figures are learned from a hundred calls."""

_LEAST_CALLS = 16
"""Seen before predictions count."""

_FIT_EVERY = 4
"""Calls."""

_LEAST_S = 1e-3
_SCALE = np.array((1.0, 500.0, 250.0, 250.0 * 500.0))
"""Usual sizes, so that all figures are about as large."""
_RIDGE = 1e-6
"""Where sizes do not vary, figures that cannot be told apart are small ones."""


class WholeTimes:
    """Decayed least squares, none of them below zero, of the times of whole answers.

    Of an answer that does not stream only its end is seen.

    Attributes
    ----------
    fits
        Seconds to read a prompt, and more of them for each of its tokens; seconds of a token of an
        answer, and more of them for each token in the batch.
    n
        Answers, ever.
    """

    __slots__ = ("_moments", "_products", "fits", "n")

    def __init__(self) -> None:
        self.n = 0
        self.fits = (0.0, 0.0, 0.0, 0.0)
        self._moments = np.zeros((4, 4))
        self._products = np.zeros(4)

    @property
    def known(self) -> bool:
        """Whether enough was seen."""
        return self.n >= _LEAST_CALLS

    def learn(
        self, input_tokens: float, output_tokens: float, batch_tokens: float, took_s: float
    ) -> bool:
        """Take one more answer into account; return whether the fits have changed.

        Parameters
        ----------
        batch_tokens
            In the batch that it was written in, on average.
        """
        # What takes long varies as much: all count in proportion to what they took.
        weight = 1.0 / max(took_s, _LEAST_S)
        seen = weight * np.array(
            (1.0, input_tokens, output_tokens, output_tokens * batch_tokens) / _SCALE
        )
        self._moments = self._moments * _KEPT + np.outer(seen, seen)
        self._products = self._products * _KEPT + seen * (took_s * weight)
        self.n += 1
        if not self.known or self.n % _FIT_EVERY:
            return False
        self._fit()
        return True

    def _fit(self) -> None:
        ridge = _RIDGE * np.diag(self._moments).max() * np.eye(4)
        found = _not_negative(self._moments + ridge, self._products)
        read_s, read_s_per_token, step_s, step_s_per_token = (found / _SCALE).tolist()
        self.fits = read_s, read_s_per_token, step_s, step_s_per_token


def _not_negative(moments: FloatArray, products: FloatArray) -> FloatArray:
    """Solve normal equations with no figure below zero: the lowest one is left out until none is.

    Serving does without scipy, whose `nnls` does much the same.
    """
    kept = np.arange(len(products))
    found = np.zeros(len(products))
    while len(kept):
        some = np.linalg.solve(moments[np.ix_(kept, kept)], products[kept])
        if some.min() >= 0:
            found[kept] = some
            break
        kept = np.delete(kept, some.argmin())
    return found
