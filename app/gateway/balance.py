"""Which of a model's deployments takes a call, of those that may: one class a way to balance.

They do no I/O and wait for nothing; time and chance come in, so that a simulation runs the same
ones.
"""

import math
import random
from collections.abc import Sequence
from typing import Protocol

from app.gateway.slots import Slot


class Balance(Protocol):
    """Spreads the calls of one model over its deployments."""

    def pick(self, slots: Sequence[Slot], now: float) -> Slot:
        """Return one of some deployments, of which there is at least one."""
        ...


class LeastOutstanding:
    """Take the least busy: the fewest calls begun and not ended, relative to the weight.

    Parameters
    ----------
    rng
        Breaks ties, by weight.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def pick(self, slots: Sequence[Slot], now: float) -> Slot:  # noqa: ARG002  (of the seam)
        """Return the one with the least load."""
        least, total = math.inf, 0.0
        ties: list[Slot] = []
        for slot in slots:
            weight = slot.deployment.weight
            load = slot.outstanding / weight
            if load < least:
                least, total, ties = load, weight, [slot]
            elif load == least:
                total += weight
                ties.append(slot)
        if len(ties) > 1:
            at = self._rng.random() * total
            for slot in ties:
                at -= slot.deployment.weight
                if at < 0:
                    return slot
        return ties[-1]


class RoundRobin:
    """Take them in turn, whatever they are busy with, as often as their weights say.

    Turns are smooth: of weights 2 and 1 comes a, b, a and not a, a, b.

    Parameters
    ----------
    rng
        Says where it begins, so that replicas do not all begin with the same one.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._owed: dict[Slot, float] = {}
        """What of its turns is still to come."""

    def pick(self, slots: Sequence[Slot], now: float) -> Slot:  # noqa: ARG002  (of the seam)
        """Return the one that is owed most."""
        owed, total = self._owed, 0.0
        chosen, most = slots[0], -math.inf
        for slot in slots:
            weight = slot.deployment.weight
            total += weight
            mine = owed.get(slot)
            mine = owed[slot] = weight + (self._rng.random() * weight if mine is None else mine)
            if mine > most:
                chosen, most = slot, mine
        owed[chosen] -= total
        return chosen
