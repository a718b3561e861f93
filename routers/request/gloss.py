"""A word-by-word reading of requests in other languages, in English.

What makes a request demanding is learned mostly from English; some hundred words of a language
("prove", "design", "recipe", "deadlock") carry most of what a request asks for. A lexicon maps
them to English, and everything that reads a request reads the gloss.
"""

import re
from collections.abc import Mapping

import numpy as np

_FEWEST_PREFIX = 5
"""Shorter words are looked up as they are: their beginnings mean too little."""

_FEWEST_SYLLABLES, _FEWEST_SIGNS = 2, 4
"""The same for Hangul, whose letters are syllables, and for scripts that leave vowels to signs."""

_LONGEST_SUFFIX = 4
_ARABIC_ARTICLES = ("وال", "بال", "لل", "ال", "و", "ب", "ل")

UNSPACED = (
    (0x0E00, 0x0E7F),  # Thai
    (0x3040, 0x30FF),  # Hiragana, Katakana
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
)
"""Scripts that put no space between words."""

_UNSPACED = "".join(f"{chr(low)}-{chr(high)}" for low, high in UNSPACED)
# Vowel signs of Indic scripts and points of Hebrew and Arabic are no letters to Unicode.
_MARKS = "\u0300-\u036f\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0900-\u0963\u0970-\u0dff"
_LETTER = rf"(?:(?![{_UNSPACED}])[^\W_]|[{_MARKS}])"
_PIECES = re.compile(rf"[{_UNSPACED}]+|{_LETTER}+(?:['’]{_LETTER}+)*")
_FIRST_UNSPACED = "\u0e00"

_ENGLISH = frozenset(
    # None that is a common word of another language too, as "was", "in" or "is" are.
    "the of and to are were been its this that these those for with from by my your our their his "
    "she they us them you it be not could should would does did have had what how why when where "
    "which who whose write make give tell show find explain describe create using use if then than "
    "but about into between each any some there here please help need want get let say think know "
    "good best new".split()) >= _ENGLISH_FROM:
            return text
        pieces = _PIECES.findall(lowered)
        out: list[str] = []
        n_found = 0
        for piece in pieces:
            if piece[0] >= _FIRST_UNSPACED and self._is_unspaced(piece):
                found = self._segment(piece)
                n_found += len(found)
                out += found
                continue
            word = self._find(piece)
            if word is not None:
                n_found += 1
                out.append(word)
            elif piece.isascii():
                out.append(piece)
        if n_found == 0 and ascii_only:
            return text
        return " ".join(out)

    @staticmethod
    def _is_unspaced(piece: str) -> bool:
        code = ord(piece[0])
        return any(low <= code <= high for low, high in UNSPACED)

    def _find(self, word: str) -> str | None:
        found = self._words.get(word)
        fewest = _fewest(word)
        if found is not None or len(word) <= fewest:
            return found
        for cut in range(len(word), max(fewest, len(word) - _LONGEST_SUFFIX) - 1, -1):
            found = self._stems.get(word[:cut])
            if found is not None:
                return found
        if "\u0600" <= word[0] <= "\u06ff":
            for article in _ARABIC_ARTICLES:
                if word.startswith(article):
                    return self._find(word[len(article) :])
        return None

    def _segment(self, run: str) -> list[str]:
        """Take the longest known words of a run of unspaced script, from left to right."""
        out, at = [], 0
        while at < len(run):
            for length in self._lengths.get(run[at], ()):
                found = self._unspaced.get(run[at : at + length])
                if found is not None:
                    out.append(found)
                    at += length
                    break
            else:
                at += 1
        return out
