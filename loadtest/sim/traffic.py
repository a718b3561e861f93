"""What is asked of a simulated fleet: requests as columns, in the order in which they arrive."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """Requests, one per place of every column.

    Attributes
    ----------
    arrives_s
        Seconds since the beginning, ascending.
    input_tokens, output_tokens
        The prompt, all that was said before included, and the answer, at least one token.
    kind
        Which of `kinds` a request is of.
    effort
        How much work a request is beside the mean, for servers that do not count tokens.
    conversation
        The conversation that a request belongs to; -1: none.
    known_tokens
        How much of the prompt the conversation's last turn had, with its answer.
    opening, opening_tokens
        Which system prompt a prompt begins with, which conversations may share; -1: none. How long
        it is.
    expected_tokens
        The answer's length as a router predicts it; nobody who chooses sees `output_tokens`.
    """

    arrives_s: Floats
    input_tokens: Ints
    output_tokens: Ints
    kinds: Sequence[str] = ("any",)
    kind: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    effort: Floats = field(default_factory=lambda: np.zeros(0))
    conversation: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    known_tokens: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    opening: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    opening_tokens: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    expected_tokens: Floats = field(default_factory=lambda: np.zeros(0))

    def __post_init__(self) -> None:
        n = len(self.arrives_s)
        usual = {
            "kind": np.zeros(n, np.int64),
            "effort": np.ones(n),
            "conversation": np.full(n, -1, np.int64),
            "known_tokens": np.zeros(n, np.int64),
            "opening": np.full(n, -1, np.int64),
            "opening_tokens": np.zeros(n, np.int64),
            "expected_tokens": np.asarray(self.output_tokens, np.float64),
        }
        for name, column in usual.items():
            if len(getattr(self, name)) == 0:
                object.__setattr__(self, name, column)
        columns = ("input_tokens", "output_tokens", *usual)
        if any(len(getattr(self, name)) != n for name in columns):
            raise ValueError(f"columns of {n} requests differ in length")
        if n and (np.diff(self.arrives_s) < 0).any():
            raise ValueError("requests must stand in the order in which they arrive")
        if n and (self.output_tokens.min() < 1 or self.input_tokens.min() < 0):
            raise ValueError("an answer has at least one token, a prompt none less than 0")

    def __len__(self) -> int:
        return len(self.arrives_s)
