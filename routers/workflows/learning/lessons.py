"""What requests teach a workflow that learns while it serves: sums, which add up in any order."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from routers.numeric import FloatArray
from routers.options import State

_KEEP = "keep"
_LEAST_KEEP = 1e-300
"""So little is nothing, but still a share."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """What one request taught, or many.

    Attributes
    ----------
    sums
        Named arrays of sufficient statistics.
    keep
        How much of what was known before still counts, from above 0 to 1.
    """

    sums: Mapping[str, FloatArray]
    keep: float = 1.0

    def then(self, later: "Lesson") -> "Lesson":
        """Return this lesson and a later one as one."""
        sums = {name: later.keep * sums for name, sums in self.sums.items()}
        for name, added in later.sums.items():
            sums[name] = sums[name] + added if name in sums else added
        return Lesson(sums=sums, keep=max(self.keep * later.keep, _LEAST_KEEP))

    def then_alike(self, later: "Lesson") -> "Lesson":
        """Return this lesson and a later one about the same as one.

        Raises
        ------
        ValueError
            If it is a lesson about something else: other models, features or cells.
        """
        if later.shapes != self.shapes:
            raise ValueError("a lesson about something else")
        return self.then(later)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the sums by their names."""
        return {name: sums.shape for name, sums in self.sums.items()}

    def state(self) -> dict[str, np.ndarray]:
        """Return it as plain arrays, for a file or a store."""
        return {_KEEP: np.array([self.keep]), **self.sums}

    @classmethod
    def restore(cls, state: State) -> "Lesson":
        """Take over what `state` returned.

        Raises
        ------
        KeyError, ValueError
            If it is none.
        """
        keep = np.asarray(state[_KEEP], np.float64)
        if keep.shape != (1,) or not 0 < keep[0] <= 1:
            raise ValueError("a lesson keeps a share of what was known before")
        sums = {
            name: np.asarray(array, np.float64) for name, array in state.items() if name != _KEEP
        }
        if not all(np.isfinite(array).all() for array in sums.values()):
            raise ValueError("a lesson holds what is no number")
        return cls(sums=sums, keep=float(keep[0]))
