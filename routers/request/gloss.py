"""A word-by-word reading of requests in other languages, in English.

What makes a request demanding is learned mostly from English; some hundred words of a language
("prove", "design", "recipe", "deadlock") carry most of what a request asks for. A lexicon maps
them to English, and everything that reads a request reads the gloss.
"""

import re
from collections.abc import Mapping

import numpy as np

from routers.text.memo import WordMemo

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
# Runs of letters and marks, without a look at every character whether it is unspaced.
_LETTER = rf"[^\W_{_UNSPACED}]"
_WORD = rf"(?:{_LETTER}+(?:[{_MARKS}]+{_LETTER}*)*|(?:[{_MARKS}]+{_LETTER}*)+)"
_PIECES = re.compile(rf"[{_UNSPACED}]+|{_WORD}(?:['’]{_WORD})*")
_FIRST_UNSPACED = "\u0e00"
_is_unspaced = re.compile(rf"[{_UNSPACED}]").match

_REMEMBERED_WORDS = 16_384

_ENGLISH = frozenset(
    # None that is a common word of another language too, as "was", "in" or "is" are.
    """
    the of and to are were been its this that these those for with from by my your our their
    his she they us them you it be not could should would does did have had what how why
    when where which who whose write make give tell show find explain describe create using
    use if then than but about into between each any some there here please help need want
    get let say think know good best new
    """.split()  # noqa: SIM905  (a list of words, not of strings)
)
_ENGLISH_FROM = 0.12
"""Share of common English words from which a text in ASCII counts as English."""


def _english_share(words: list[str]) -> float:
    """Return the share of common English words."""
    return sum(map(_ENGLISH.__contains__, words)) / max(len(words), 1)


def _fewest(word: str) -> int:
    """Return how many letters the beginning of a word must have to stand for it."""
    first = word[0]
    if "\uac00" <= first <= "\ud7a3":
        return _FEWEST_SYLLABLES
    return _FEWEST_SIGNS if "\u0590" <= first <= "\u0dff" else _FEWEST_PREFIX


class _Words:
    """The forms of words of scripts that put spaces between them, and their inflections."""

    def __init__(self, entries: Mapping[str, str]) -> None:
        self._words = dict(entries)
        # The beginnings of long forms stand for their inflections.
        self._stems: dict[str, str] = {}
        for form, word in entries.items():
            fewest = _fewest(form)
            for cut in range(max(fewest, len(form) - 2), len(form) + 1):
                self._stems.setdefault(form[:cut], word)

    def find(self, word: str) -> str | None:
        """Return the English of a word; None where neither it nor its beginning is known."""
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
                    return self.find(word[len(article) :])
        return None


class Glossary:
    """The words of a lexicon, and how to find them in a text.

    Parameters
    ----------
    entries
        Forms of words, in lower case, and the English for each.
    """

    def __init__(self, entries: Mapping[str, str]) -> None:
        self._unspaced = {form: word for form, word in entries.items() if _is_unspaced(form)}
        spaced: dict[str, str] = {}
        # Of several words, by the first of them, longest first.
        self._phrases: dict[str, list[tuple[list[str], str]]] = {}
        for form, word in entries.items():
            parts = form.split()
            if form in self._unspaced:
                continue
            if len(parts) > 1:
                self._phrases.setdefault(parts[0], []).append((parts, word))
            else:
                spaced[form] = word
        for phrases in self._phrases.values():
            phrases.sort(key=lambda phrase: -len(phrase[0]))
        self._found: WordMemo[str | None] = WordMemo(_Words(spaced).find, limit=_REMEMBERED_WORDS)
        # By their first two signs, the lengths of the forms that begin with them, longest first.
        lengths: dict[str, set[int]] = {}
        for form in self._unspaced:
            if len(form) > 1:
                lengths.setdefault(form[:2], set()).add(len(form))
        self._lengths = {signs: sorted(each, reverse=True) for signs, each in lengths.items()}

    @classmethod
    def from_bytes(cls, lines: np.ndarray) -> "Glossary":
        """Read UTF-8 lines of form, tab, English.

        Raises
        ------
        ValueError
            If a line is none.
        """
        text = bytes(lines).decode()
        pairs = [line.split("\t") for line in text.split("\n")] if text else []
        if any(len(pair) != 2 for pair in pairs):
            raise ValueError("a line of the lexicon is not a form and its English")
        return cls({pair[0]: pair[1] for pair in pairs})

    def gloss(self, text: str) -> str:
        """Return the English of the words that are known, in order.

        English comes back as it is. Of other languages, words that are not known stay where they
        are in ASCII (names, code, borrowed words) and are dropped elsewhere.
        """
        lowered = text.lower()
        ascii_only = lowered.isascii()
        if ascii_only and _english_share(lowered.split()) >= _ENGLISH_FROM:
            return text
        find = self._found.__getitem__
        out: list[str] = []
        n_found = upto = 0
        pieces = _PIECES.findall(lowered)
        for at, piece in enumerate(pieces):
            if at < upto:
                continue
            if piece in self._phrases:
                phrase = self._phrase(pieces, at)
                if phrase is not None:
                    n_words, english = phrase
                    n_found += n_words
                    out.append(english)
                    upto = at + n_words
                    continue
            if piece[0] >= _FIRST_UNSPACED and _is_unspaced(piece):
                words = self._segment(piece)
                n_found += len(words)
                out += words
                continue
            word = find(piece)
            if word is not None:
                n_found += 1
                out.append(word)
            elif piece.isascii():
                out.append(piece)
        if n_found == 0 and ascii_only:
            return text
        return " ".join(out)

    def _phrase(self, pieces: list[str], at: int) -> tuple[int, str] | None:
        """Return how many words from `at` on are a known phrase, and its English."""
        for parts, english in self._phrases[pieces[at]]:
            if pieces[at : at + len(parts)] == parts:
                return len(parts), english
        return None

    def _segment(self, run: str) -> list[str]:
        """Take the longest known words of a run of unspaced script, from left to right."""
        forms, lengths = self._unspaced, self._lengths
        out, at = [], 0
        while at < len(run):
            for length in lengths.get(run[at : at + 2], ()):
                found = forms.get(run[at : at + length])
                if found is not None:
                    break
            else:
                found, length = forms.get(run[at]), 1
            if found is not None:
                out.append(found)
            at += length
        return out
