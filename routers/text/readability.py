"""How easy an English text is to read.

References
----------
Flesch 1948, A new readability yardstick, Journal of Applied Psychology 32.
"""

import re

LEAST_WORDS = 30
"""A shorter text tells nothing of how somebody writes."""

_LEFT_OUT = re.compile(
    r"```.*?(?:```|\Z)"  # code
    r"|\$\$.*?\$\$|\$[^$\n]*\$|\\\[.*?\\\]|\\\(.*?\\\)"  # formulas
    r"|^[ \t]*\|[^\n]*\|[ \t]*$"  # rows of tables
    r"|https?://\S+|`[^`\n]*`",
    re.DOTALL | re.MULTILINE,
)
_ENDS = re.compile(r"[.!?:;]+(?=\s|$)|\n+")
_WORD = re.compile(r"[A-Za-z]+(?:['\u2019][A-Za-z]+)?")
_VOWELS = re.compile(r"[aeiouy]+")
_SILENT = re.compile(r"(?:[^laeiouy]es|[^td]ed|[^l]e)$")


def reading_ease(text: str) -> float | None:
    """Return Flesch's reading ease: about 100 where it is very easy, 0 and below where it is hard.

    206.835 - 1.015 words per sentence - 84.6 syllables per word. Code, formulas, tables and
    addresses are left out, a line of a list is a sentence, and syllables are told by groups of
    vowels; None below `LEAST_WORDS` words.
    """
    plain = _LEFT_OUT.sub(" ", text)
    n_words = n_sentences = n_syllables = 0
    for sentence in _ENDS.split(plain):
        words = _WORD.findall(sentence)
        if words:
            n_sentences += 1
            n_words += len(words)
            n_syllables += sum(map(_syllables, words))
    if n_words < LEAST_WORDS:
        return None
    return 206.835 - 1.015 * n_words / n_sentences - 84.6 * n_syllables / n_words


def _syllables(word: str) -> int:
    lower = word.lower()
    found = len(_VOWELS.findall(lower))
    if found > 1 and _SILENT.search(lower):
        found -= 1
    return max(found, 1)
