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


_FOLDED = dict.fromkeys(map(ord, _STRAY))
_QUOTES = ("'", '"')
_LEAST_WORDED = 2
"""A shorter literal is worded in one way."""


def worded(literal: str, text: str) -> str:
    """Return a literal the way that an answer has it, where it stands last.

    Recorded literals may have lost their white space and quotes: `tmoajhouse` may be `tm oajhouse`.

    Parameters
    ----------
    literal
        As `tidied` returned it; returned as it is where the text does not have it.
    """
    bare = literal.translate(_FOLDED)
    at = text.translate(_FOLDED).rfind(bare) if len(bare) >= _LEAST_WORDED else -1
    if at < 0:
        return literal
    begin = _place(text, at)
    end = _place(text, at + len(bare) - 1) + 1
    # White space at an end belongs to it where a quote closes it in.
    after, before = text[end:].lstrip(" "), text[:begin].rstrip(" ")
    if after.lstrip("\\").startswith(_QUOTES):
        end = len(text) - len(after)
    if before.endswith(_QUOTES):
        begin = len(before)
    return text[begin:end].replace('\\"', '"').replace("\\'", "'").replace("\\\\", "\\")


def _place(text: str, at: int) -> int:
    """Return where in a text the character is that folding it left at some place."""
    kept = -1
    for place, character in enumerate(text):
        kept += character not in _STRAY
        if kept == at:
            return place
    return len(text) - 1


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
