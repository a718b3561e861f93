"""BERT's uncased WordPiece tokenisation, exact and fast, without a dependency."""

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable
from functools import cache
from itertools import chain

from routers.text.memo import Memo, WordMemo
from routers.text.words import ascii_words

_CACHED_WORDS = 32_768
_CACHED_CHARACTERS = 8_192
_MAX_WORD_CHARS = 100
_PREFIX_CHARS = 3

_DROPPED_CATEGORIES = ("Cc", "Cf", "Co", "Cs")  # the reference keeps unassigned characters (Cn)
_ASCII_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]+")

# 2B920 should read 2B820: BERT's own slip, which every port keeps.
_CJK = "3400-4DBF 4E00-9FFF F900-FAFF 20000-2A6DF 2A700-2B73F 2B740-2B81F 2B920-2CEAF 2F800-2FA1F"
# Marks and punctuation that Unicode gained after the tables of the reference implementation
# were made (2015): it takes them for ordinary characters. Found by comparing every code point.
_NEWER_THAN_REFERENCE = (
    "61D 7FD 890-8E2 9FD-9FE A76 AFA-AFF B55 C04-C3C C77 C84 D00 D3B-D3C D81 EBA 180F-1886 "
    "1ABF-1ACE 1B7D-1B7E 1DF6-1DFB 2E43-2E5D A82C A8C5 A8FF A9BD 10D24-10F89 11070-11074 "
    "110C2-110CD 111C9 111CF 1123E 1133B 11438-1145E 11660-1166C 116B9 1182F-1183B "
    "1193B-11FFF 12FF1-13438 16E97-16F4F 16FE2-16FE4 1CF00-1CF46 1E000-1E2EF 1E944-1E95F"
)


@cache
def _bounds(ranges: str) -> tuple[int, ...]:
    """Parse ascending ranges of code points into (first, last + 1, first, last + 1, ...)."""
    bounds: list[int] = []
    for entry in ranges.split():
        low, _, high = entry.partition("-")
        bounds += (int(low, 16), int(high or low, 16) + 1)
    return tuple(bounds)


def _within(code: int, ranges: str) -> bool:
    return bisect_right(_bounds(ranges), code) % 2 == 1


def _category(code: int) -> str:
    """Return the general category as the reference sees it."""
    if _within(code, _NEWER_THAN_REFERENCE):
        return "Cn"
    return unicodedata.category(chr(code))


def _clean(code: int) -> str:
    """Drop what does not print, fold white space, set CJK characters apart."""
    character = chr(code)
    if character in "\t\n\r":
        return " "
    category = _category(code)
    if code == 0xFFFD or category in _DROPPED_CATEGORIES:
        return ""
    if category.startswith("Z"):
        return " "
    if _within(code, _CJK):
        return f" {character} "
    return character


def _fold(code: int) -> str:
    """Drop accents (after NFD), lower the case, set punctuation apart."""
    character = chr(code)
    category = _category(code)
    if category == "Mn":
        return ""
    if category.startswith("P") or (code < 128 and category.startswith("S")):
        return f" {character} "
    return character.lower()


_UNORDERED = "\ue000"
"""Stands for a character whose place depends on its neighbours. No text is left with it: it is for
private use, and such characters are dropped."""


def _normal(code: int) -> str:
    """Normalise one character.

    NFD takes characters apart one by one; only then it puts the combining ones of a row in order.
    These are dropped but for a few that the reference does not know.
    """
    decomposed = unicodedata.normalize("NFD", _clean(code))
    folded = [_fold(ord(each)) for each in decomposed]
    if any(map(unicodedata.combining, "".join(folded))):
        return _UNORDERED
    return "".join(folded)


class _Pieces:
    """The pieces of a vocabulary, and how words are split into them."""

    def __init__(self, vocabulary: Iterable[str]) -> None:
        self._ids = {piece: index for index, piece in enumerate(vocabulary)}
        self._unknown = (self._ids["[UNK]"],)
        self._longest: dict[str, int] = {}
        for piece in self._ids:
            self._note_length(piece)

    def _note_length(self, piece: str) -> None:
        """Remember how long a piece with this beginning can be, so that matching starts there.

        Without it a 100-character word of rare letters costs 5,000 lookups.
        """
        marker = "##" if piece.startswith("##") else ""
        body = piece[len(marker) :]
        key = marker + body[:_PREFIX_CHARS]
        self._longest[key] = max(self._longest.get(key, 0), len(body))

    def split(self, word: str) -> tuple[int, ...]:
        """Split one word greedily into its longest known pieces; [UNK] where that fails."""
        if len(word) > _MAX_WORD_CHARS:
            return self._unknown
        ids: list[int] = []
        start, marker = 0, ""
        while start < len(word):
            key = marker + word[start : start + _PREFIX_CHARS]
            stop = min(start + self._longest.get(key, _PREFIX_CHARS - 1), len(word))
            while stop > start:
                found = self._ids.get(marker + word[start:stop])
                if found is not None:
                    break
                stop -= 1
            else:
                return self._unknown
            ids.append(found)
            start, marker = stop, "##"
        return tuple(ids)


class WordPiece:
    """Split text into BERT-uncased WordPiece ids, without [CLS] and [SEP].

    The ids are those of the reference implementation (`BertNormalizer` with lower-casing and
    accent stripping, `BertPreTokenizer`, greedy longest-match WordPiece, words over 100
    characters unknown); a property test compares the two. Safe to share between threads.

    Parameters
    ----------
    vocabulary
        The pieces in the order of their ids, continuation pieces with their `##`; must hold
        `[UNK]`.

    References
    ----------
    Wu et al. 2016, Google's Neural Machine Translation System, arXiv:1609.08144;
    Devlin et al. 2018, BERT, arXiv:1810.04805.
    """

    def __init__(self, vocabulary: Iterable[str]) -> None:
        # What splits words does not refer back to what remembers them: a tokeniser of several
        # megabytes goes with its last user, and need not wait for the garbage collector.
        split = _Pieces(vocabulary).split
        self._words: WordMemo[tuple[int, ...]] = WordMemo(split, limit=_CACHED_WORDS)
        self._normal: Memo[int, str] = Memo(_normal, limit=_CACHED_CHARACTERS)
        self._clean: Memo[int, str] = Memo(_clean, limit=_CACHED_CHARACTERS)
        self._fold: Memo[int, str] = Memo(_fold, limit=_CACHED_CHARACTERS)

    def ids(self, text: str) -> list[int]:
        """Return the piece ids of `text`, in order."""
        if text.isascii():
            # Most texts of one line print as they are, which is known in no time.
            if not text.isprintable() and _ASCII_CONTROL.search(text):
                text = _ASCII_CONTROL.sub("", text)
            words = ascii_words(text)
        else:
            normal = text.translate(self._normal)
            if _UNORDERED in normal:
                cleaned = unicodedata.normalize("NFD", text.translate(self._clean))
                normal = cleaned.translate(self._fold)
            words = normal.split()
        # Known words never enter Python code again: the map runs dict.__getitem__ in C.
        return list(chain.from_iterable(map(self._words.__getitem__, words)))
