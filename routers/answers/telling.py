"""What can be seen of an answer without knowing whether it is right."""

import math

from routers.numeric import FloatArray

SIGNALS = ("log_characters", "log_literal", "digits", "lines")
"""Length of the answer and of what it comes down to, the share of digits in that, and lines."""

_READ = 1000
"""Of a longer literal the beginning tells what it is made of."""

_STRAY = "'\"\\` \t\r\n"
_FENCE_END = "}```"

BLANK = "\x00"
"""Stands for a literal that is empty and an answer all the same, such as an empty string."""


def tidied(literal: str) -> str:
    """Return a recorded literal without what reading it left around it.

    Quotes, backslashes and white space at its ends, and what follows the end of a fenced object.
    """
    if not literal:
        return ""
    end = literal.find(_FENCE_END)
    return (literal if end < 0 else literal[:end]).strip(_STRAY) or BLANK


def signals(text: str | None, literal: str) -> tuple[float, ...]:
    """Return the values of `SIGNALS`; NaN where the text is not known.

    Parameters
    ----------
    literal
        What the answer comes down to; empty where that could not be read.
    """
    begins = literal[:_READ]
    n_digits = sum(map(str.isdigit, begins))
    return (
        math.nan if text is None else math.log1p(len(text)),
        math.log1p(len(literal)),
        n_digits / max(1, len(begins)),
        math.nan if text is None else math.sqrt(text.count("\n")),
    )


def standardised(values: FloatArray, mean: FloatArray, scale: FloatArray) -> FloatArray:
    """Return how unusual signals are for a model, within 3; 0 where they are not known."""
    z = (values - mean) / scale
    z[z != z] = 0.0  # noqa: PLR0124  (NaN)
    z[z > 3] = 3.0
    z[z < -3] = -3.0
    return z
