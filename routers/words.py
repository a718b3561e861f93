"""The words and marks of an ASCII text, split once for all who read them."""

import re
from functools import lru_cache

# Sets of characters: for sre they are several times faster than `\w`, which asks Unicode.
_ASCII_WORDS = re.compile(r"[a-z0-9]+|[^a-z0-9\s]")

_REMEMBERED = 4
"""Texts: a prompt and what stands around it, while their features are made. The callers bound
their length."""


@lru_cache(maxsize=_REMEMBERED)
def ascii_words(text: str) -> list[str]:
    """Return runs of letters and digits, and every other character by itself, in lower case.

    White space separates. The tokeniser and the terms read the same prompt one after the other,
    so the last answers are kept: whoever asks must not change them.

    Parameters
    ----------
    text
        ASCII only.
    """
    return _ASCII_WORDS.findall(text.lower())
