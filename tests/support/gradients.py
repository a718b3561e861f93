"""Gradients held against finite differences."""

from collections.abc import Callable, Collection

import numpy as np
import pytest

Named = dict[str, np.ndarray]


def assert_gradients_are_right(
    loss: Callable[[Named], tuple[float, Named]],
    at: Named,
    *,
    without: Collection[str] = (),
    step: float = 1e-6,
    rel: float = 1e-4,
) -> None:
    """Compare every gradient, in double precision, with a central difference along each entry.

    Parameters
    ----------
    without
        Arrays that are left out.
    """
    _, gradients = loss(at)
    assert gradients.keys() == at.keys()
    for name in at.keys() - set(without):
        value = at[name]
        for index in np.ndindex(value.shape):
            kept = value[index]
            value[index] = kept + step
            above = loss(at)[0]
            value[index] = kept - step
            below = loss(at)[0]
            value[index] = kept
            found = (above - below) / (2 * step)
            assert gradients[name][index] == pytest.approx(found, rel=rel, abs=1e-7), (name, index)
