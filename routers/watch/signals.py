"""What is looked at of an answer, and how much weight each of these signals has."""

from collections.abc import Mapping
from enum import StrEnum

import msgspec


class Signal(StrEnum):
    """One way in which a model may have become another."""

    SHORTER = "shorter"
    """Answers are shorter than predicted, by more than they used to be."""
    LONGER = "longer"
    REFUSAL = "refusal"
    """It declines to answer."""
    EMPTY = "empty"
    """Nothing was said and no tool called."""
    TRUNCATED = "truncated"
    """An answer ended at a limit far beyond what was predicted of it, or that nobody asked for."""
    ODD_END = "odd_end"
    """It ended neither by itself, nor with tools, nor at a limit: a filter, mostly."""
    INVALID = "invalid"
    """JSON that was asked for, or a tool's arguments, cannot be read."""
    CANARY = "canary"
    """A question of the gateway's own, whose answer is known, was answered wrong."""
    SLOW_START = "slow_start"
    """The time to the first token."""
    SLOW_RATE = "slow_rate"
    """Seconds per token after it."""


WEIGHT: Mapping[Signal, float] = {
    Signal.CANARY: 0.3,
    Signal.SHORTER: 0.2,
    Signal.LONGER: 0.1,
    Signal.REFUSAL: 0.1,
    Signal.EMPTY: 0.1,
    Signal.TRUNCATED: 0.05,
    Signal.ODD_END: 0.05,
    Signal.INVALID: 0.05,
    Signal.SLOW_START: 0.025,
    Signal.SLOW_RATE: 0.025,
}
"""Of each signal's evidence in that of a model; they add up to 1."""

OF_TIME = frozenset({Signal.SLOW_START, Signal.SLOW_RATE})
"""What speaks of a crowded provider as much as of another model: a warning, never a demotion."""


class Placed(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A number, and which numbers it is compared with: those of the same kind of request."""

    kind: str
    value: float


class Observation(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What one answer shows; what was not to be seen, or says nothing, is left out.

    Attributes
    ----------
    length
        The logarithm of its tokens over those that were predicted.
    first_s, s_per_token
        The logarithm of the seconds to the first token, and of those per token after it.
    events
        What did or did not happen.
    canary
        The question's name, and whether it was answered wrong.
    answered
        Which model the upstream says it was.
    """

    length: Placed | None = None
    first_s: Placed | None = None
    s_per_token: Placed | None = None
    events: tuple[tuple[Signal, bool], ...] = ()
    canary: tuple[str, bool] | None = None
    answered: str | None = None
