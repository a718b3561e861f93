"""A sequential test for a change that may come at any time, valid however long one looks.

An e-detector of Shiryaev-Roberts type (Shin, Ramdas, Rinaldo 2022, arXiv:2203.03532), made of bets
on a bounded mean (Waudby-Smith, Ramdas 2023, arXiv:2010.09686).
"""

import msgspec

FRACTIONS = (0.05, 0.15, 0.3, 0.5, 0.8)
"""What part of its wealth each bet stakes: small ones find small changes, large ones large ones."""

_MOST = 1e60
"""Enough to prove anything, and far from overflow."""


class Detector(msgspec.Struct, array_like=True, gc=False):
    """Watches the mean of numbers in [0, 1] for a rise above a bound.

    As long as the mean of each number, given all before it, is at most the bound told with it, the
    evidence grows by no more than 1 per number in expectation, however numbers depend on each
    other. Evidence is therefore at least `c` after `c` numbers at the earliest, in expectation:
    whoever stops there raises a false alarm once in `c` numbers or more seldom. What is an average
    of detectors, or a sum of detectors that each see numbers of their own, is as good.

    Attributes
    ----------
    wealth
        Of each bet, by `FRACTIONS`.
    """

    wealth: list[float] = msgspec.field(default_factory=lambda: [0.0] * len(FRACTIONS))

    def see(self, x: float, bound: float) -> None:
        """Take in one number.

        Parameters
        ----------
        x
            In [0, 1]; higher is worse.
        bound
            The highest mean that is no change, in (0, 1). It may depend on anything that came
            before `x`.
        """
        excess = x / bound - 1.0
        self.wealth = [
            (had + 1.0) * (1.0 + fraction * excess)
            for had, fraction in zip(self.wealth, FRACTIONS, strict=True)
        ]
        if excess > 0 and self.wealth[-1] > _MOST:
            self.wealth = [min(each, _MOST) for each in self.wealth]

    @property
    def evidence(self) -> float:
        """How strongly the numbers speak for a change."""
        return sum(self.wealth) / len(FRACTIONS)

    def forget(self) -> None:
        """Begin anew."""
        self.wealth = [0.0] * len(FRACTIONS)
