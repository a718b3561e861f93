"""Cheap signals of a prompt's surface: how long, which characters, which patterns."""

import math
import re
from collections.abc import Iterable
from functools import cache

import numpy as np
from numpy.typing import NDArray

from routers.conversation_text import ConversationText
from routers.embedders._base import head_and_tail
from routers.token_estimate import byte_histogram
from routers.types import FloatVector

LEXICAL_VERSION = 1
"""To be raised whenever the meaning of a signal changes; artifacts store it."""

WINDOW_CHARS = 4_000
"""Patterns and characters are counted in this much of the prompt (head and tail)."""

# Shares of the window's characters, by the first byte of each in UTF-8.
_SHARES: dict[str, Iterable[int]] = {
    "letters": [*range(0x41, 0x5B), *range(0x61, 0x7B)],
    "upper_case": range(0x41, 0x5B),
    "digits": range(0x30, 0x3A),
    "white_space": b" \t\n\r",
    "sentence_marks": b".,;:!?'\"",
    "brackets": b"()[]{}<>",
    "operators": b"+-*/=^%<>|&~",
    "code_marks": b"{}[];_=#@`",
    "latex_marks": b"\\$^_",
    "non_ascii": range(0xC0, 0xF8),
    "cjk": range(0xE3, 0xEE),
}

# Occurrences in the window; the number is the count at which a signal reaches 1. The patterns
# start with a literal or a set of characters: others make the scan several times slower.
_PATTERNS: dict[str, tuple[str, int]] = {
    "question_marks": (r"\?", 4),
    "numbers": (r"[0-9]+", 32),
    "blanks": (r"_(?!\w)", 2),
    "code_fences": (r"```", 4),
    "calls": (r"\((?<=\w\()", 8),
    "choices": (r"[A-J](?<![\w.].)[).:]\s", 4),
    "few_shot": (r"\n(?:Q|A|Question|Answer|Input|Output|Example)\s?\d*:", 8),
    "bullets": (r"\n[ \t]*(?:[-*]|\d+[.)])\s", 8),
    "links": (r"https?://", 2),
}

_WORDS: dict[str, tuple[str, int]] = {
    "code_words": (
        (
            "def class return import function const void public static assert print lambda elif"
            " SELECT FROM WHERE struct namespace int bool null None"
        ),
        8,
    ),
    "question_words": (
        "what why how which who when where What Why How Which Who When Where",
        4,
    ),
    "reasoning_words": (
        (
            "prove derive calculate compute explain solve step steps therefore assume find evaluate"
            " Prove Derive Calculate Compute Explain Solve Step Steps Therefore Assume Find"
        ),
        4,
    ),
}

_LETTERS = bytes(
    byte if byte in range(0x41, 0x5B) or byte in range(0x61, 0x7B) else 0x20 for byte in range(256)
)
"""Translates every other byte to a space: splitting then gives the words, faster than a pattern."""

_MOST_CHARACTERS = math.log1p(32_768)
_MOST_WORDS = math.log1p(8_192)
_MOST_LINES = math.log1p(1_024)
_MOST_TURNS = math.log1p(64)
_MOST_HISTORY = math.log1p(131_072)
"""Logarithms of the sizes at which a signal reaches 1."""

LEXICAL_SIGNALS: tuple[str, ...] = (
    "log_characters",
    "log_words",
    "log_lines",
    "word_length",
    *(f"{name}_share" for name in _SHARES),
    *_PATTERNS,
    *_WORDS,
    "ends_with_question",
    "log_turns",
    "log_history_characters",
    "has_system_prompt",
)
"""The signals in the order of the vector's columns, each within [0, 1]."""


@cache
def _share_masks() -> NDArray[np.float64]:
    """Return (256, n_shares): which first bytes count for which share, and all of them last."""
    masks = np.zeros((256, len(_SHARES) + 1))
    for column, byte_values in enumerate(_SHARES.values()):
        masks[list(byte_values), column] = 1
    masks[:, -1] = 1
    masks[0x80:0xC0, -1] = 0  # continuation bytes are no characters
    return masks


@cache
def _patterns() -> tuple[tuple[re.Pattern[str], int], ...]:
    return tuple((re.compile(regex), full) for regex, full in _PATTERNS.values())


@cache
def _word_classes() -> dict[bytes, str]:
    """Return which of `_WORDS` a word belongs to; none belongs to two."""
    return {word.encode(): name for name, (words, _) in _WORDS.items() for word in words.split()}


def _log_scale(count: float, log_full: float) -> float:
    """Map 0 to 0 and what `log_full` is the logarithm of, or more, to 1, logarithmically."""
    return min(math.log1p(count) / log_full, 1.0)


def lexical_signals(text: ConversationText) -> FloatVector:
    """Measure the newest user turn, and the size of what stands around it.

    Returns
    -------
    FloatVector
        (len(LEXICAL_SIGNALS),), each value in [0, 1], in the order of `LEXICAL_SIGNALS`. The
        work is bounded whatever the size of the conversation.
    """
    return np.array(measure(text), np.float32)


def measure(text: ConversationText) -> list[float]:
    """Return the values of `lexical_signals` as plain numbers."""
    prompt = text.prompt
    head, tail = head_and_tail(prompt, WINDOW_CHARS)
    window = f"{head}\n{tail}" if tail else head
    counts = byte_histogram(window).astype(np.float64) @ _share_masks()
    n_characters = max(float(counts[-1]), 1.0)
    n_words = len(window.split())
    # What the window does not show is taken to be like what it shows.
    unseen = len(prompt) / max(len(window), 1)
    values = [
        _log_scale(len(prompt), _MOST_CHARACTERS),
        _log_scale(n_words * unseen, _MOST_WORDS),
        _log_scale(window.count("\n") * unseen, _MOST_LINES),
        min(n_characters / max(n_words, 1) / 16, 1.0),
    ]
    values += (counts[:-1] / n_characters).tolist()
    lines = f"\n{window}"
    values += [min(len(regex.findall(lines)) / full, 1.0) for regex, full in _patterns()]
    words = window.encode("utf-8", "surrogatepass").translate(_LETTERS).split()
    classes = [*map(_word_classes().get, words)]
    values += [min(classes.count(name) / full, 1.0) for name, (_, full) in _WORDS.items()]
    values += [
        float(window.rstrip().endswith("?")),
        _log_scale(text.n_messages - 1, _MOST_TURNS),
        _log_scale(text.history_chars, _MOST_HISTORY),
        float(bool(text.system)),
    ]
    return values
