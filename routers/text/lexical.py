"""Cheap signals of a prompt's surface: how long, which characters, which patterns."""

import math
import re
import string
from functools import cache

import numpy as np

from routers.text.conversation import ConversationText
from routers.text.window import head_and_tail
from routers.types import FloatVector

LEXICAL_VERSION = 1
"""To be raised whenever the meaning of a signal changes; artifacts store it."""

WINDOW_CHARS = 4_000
"""Patterns and characters are counted in this much of the prompt (head and tail)."""

# Shares of the window's characters, by the first byte of each in UTF-8.
_SHARES: dict[str, bytes] = {
    "letters": string.ascii_letters.encode(),
    "upper_case": string.ascii_uppercase.encode(),
    "digits": string.digits.encode(),
    "white_space": b" \t\n\r",
    "sentence_marks": b".,;:!?'\"",
    "brackets": b"()[]{}<>",
    "operators": b"+-*/=^%<>|&~",
    "code_marks": b"{}[];_=#@`",
    "latex_marks": b"\\$^_",
    "non_ascii": bytes(range(0xC0, 0xF8)),
    "cjk": bytes(range(0xE3, 0xEE)),
}
_LOWER_CASE, _BLANK = string.ascii_lowercase.encode(), b" "
"""What most texts mostly consist of."""

_LETTERS_AT, _WHITE_SPACE_AT = (list(_SHARES).index(name) for name in ("letters", "white_space"))

# Occurrences in the window; the count at which a signal reaches 1; characters without any of
# which there is no match, so that most prompts meet few patterns. The patterns start with a
# literal or a set of characters: others make the scan several times slower.
_PATTERNS: dict[str, tuple[str, int, bytes]] = {
    "question_marks": (r"\?", 4, b"?"),
    "numbers": (r"[0-9]+", 32, b"0123456789"),
    "blanks": (r"_(?!\w)", 2, b"_"),
    "code_fences": (r"```", 4, b"`"),
    "calls": (r"\((?<=\w\()", 8, b"("),
    "choices": (r"[A-J](?<![\w.].)[).:]\s", 4, b"ABCDEFGHIJ"),
    "few_shot": (r"\n(?:Q|A|Question|Answer|Input|Output|Example)\s?\d*:", 8, b":"),
    "bullets": (r"\n[ \t]*(?:[-*]|\d+[.)])\s", 8, b"-*.)"),
    "links": (r"https?://", 2, b":"),
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

_LETTERS = bytes(byte if byte in _SHARES["letters"] else 0x20 for byte in range(256))
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
def _patterns() -> tuple[tuple[re.Pattern[str], int, frozenset[int]], ...]:
    return tuple(
        (re.compile(regex), full, frozenset(needed)) for regex, full, needed in _PATTERNS.values()
    )


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
    return measure_prompt(text.prompt) + measure_context(text)


def measure_context(text: ConversationText) -> list[float]:
    """Return the last values of `measure`: what stands around the newest user turn."""
    return [
        _log_scale(max(text.n_messages - 1, 0), _MOST_TURNS),
        _log_scale(text.history_chars, _MOST_HISTORY),
        float(bool(text.system)),
    ]


def measure_prompt(prompt: str) -> list[float]:
    """Return the first values of `measure`: the newest user turn by itself."""
    head, tail = head_and_tail(prompt, WINDOW_CHARS)
    window = f"{head}\n{tail}" if tail else head
    data = window.encode("utf-8", "surrogatepass")
    # Taking bytes out and comparing lengths beats a histogram by numpy several times, once the
    # bulk is gone that only two of the shares count.
    rest = data.translate(None, _LOWER_CASE)
    marks = rest.translate(None, _BLANK)
    n_characters, n_marks = max(len(window), 1), len(marks)
    counts = [n_marks - len(marks.translate(None, of_share)) for of_share in _SHARES.values()]
    counts[_LETTERS_AT] += len(data) - len(rest)
    counts[_WHITE_SPACE_AT] += len(rest) - n_marks
    n_words = len(window.split())
    # What the window does not show is taken to be like what it shows.
    unseen = len(prompt) / max(len(window), 1)
    values = [
        _log_scale(len(prompt), _MOST_CHARACTERS),
        _log_scale(n_words * unseen, _MOST_WORDS),
        _log_scale(window.count("\n") * unseen, _MOST_LINES),
        min(n_characters / max(n_words, 1) / 16, 1.0),
    ]
    values += [count / n_characters for count in counts]
    lines = f"\n{window}"
    present = set(marks)
    values += [
        0.0 if needed.isdisjoint(present) else min(len(regex.findall(lines)) / full, 1.0)
        for regex, full, needed in _patterns()
    ]
    words = data.translate(_LETTERS).split()
    classes = [*filter(None, map(_word_classes().get, words))]
    values += [min(classes.count(name) / full, 1.0) for name, (_, full) in _WORDS.items()]
    values.append(float(window.rstrip().endswith("?")))
    return values
