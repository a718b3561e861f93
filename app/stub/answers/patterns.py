"""A short text that a regular expression matches, for expressions of the plain kind."""

import re
import string
from collections.abc import Sequence

_CLASSES = {
    "d": string.digits,
    "w": string.ascii_letters,
    "s": " ",
    "D": string.ascii_letters,
    "W": "-",
    "S": string.ascii_letters,
}
_CONTROL = {"n": "\n", "t": "\t", "r": "\r"}
_REPEATED = re.compile(r"\{(\d+)(?:(,)(\d*))?\}")
_COMMON = "a0A" + string.ascii_letters + string.digits + string.punctuation + " "
_MAX_REPEATS = 1000


def matching(pattern: str, *, extra: int = 0, turn: int = 0) -> str | None:
    """Return a text that the pattern matches; None where none was found.

    Parameters
    ----------
    extra
        How many times more than it must what is repeated without end is repeated.
    turn
        Which character of those is taken that a class allows.
    """
    try:
        compiled = re.compile(pattern)
        text = _Reader(pattern, extra, turn).alternatives()
    except (re.error, IndexError, RecursionError, OverflowError):
        return None
    return text if compiled.search(text) else None


class _Reader:
    """Reads a pattern from left to right and writes the first thing that it allows."""

    def __init__(self, pattern: str, extra: int, turn: int) -> None:
        self._pattern = pattern
        self._extra = extra
        self._turn = turn
        self._at = 0

    def alternatives(self) -> str:
        """Return what the first alternative says, having read all of them."""
        options = [self._sequence()]
        while self._peek() == "|":
            self._at += 1
            options.append(self._sequence())
        return options[0]

    def _peek(self) -> str:
        return self._pattern[self._at : self._at + 1]

    def _take(self) -> str:
        self._at += 1
        return self._pattern[self._at - 1]

    def _sequence(self) -> str:
        said = ""
        while self._peek() not in ("", "|", ")"):
            atom = self._atom()
            said += atom * self._times()
        return said

    def _atom(self) -> str:
        character = self._take()
        if character == "(":
            return self._group()
        if character == "[":
            return self._set()
        if character == "\\":
            return self._escaped()
        if character in "^$":
            return ""
        return "a" if character == "." else character

    def _group(self) -> str:
        looks = self._pattern[self._at : self._at + 2] in ("?=", "?!")
        behind = self._pattern[self._at : self._at + 3] in ("?<=", "?<!")
        if named := re.compile(r"\?P?<\w+>|\?:").match(self._pattern, self._at):
            self._at = named.end()
        elif looks or behind:
            self._at += 2 if looks else 3
        said = self.alternatives()
        self._take()
        return "" if looks or behind else said

    def _escaped(self) -> str:
        character = self._take()
        if character in "bBAZ":
            return ""
        if character in "pP":  # \p{L} and its like, which Python does not know either
            raise re.error("no such class")
        if character in _CLASSES:
            return self._one_of(_CLASSES[character])
        return _CONTROL.get(character, character)

    def _set(self) -> str:
        start = self._at - 1
        if self._peek() == "^":
            self._at += 1
        if self._peek() == "]":
            self._at += 1
        while self._peek() != "]":
            if self._take() == "\\":
                self._at += 1
        self._at += 1
        one_of = re.compile(self._pattern[start : self._at])
        return self._one_of([each for each in _COMMON if one_of.fullmatch(each)])

    def _one_of(self, characters: Sequence[str]) -> str:
        return characters[self._turn % len(characters)] if characters else "a"

    def _times(self) -> int:
        """Return how often what stands before is said."""
        times = 1
        if self._peek() in ("?", "*", "+"):
            sign = self._take()
            times = {"?": 0, "*": self._extra, "+": 1 + self._extra}[sign]
        elif repeated := _REPEATED.match(self._pattern, self._at):
            self._at = repeated.end()
            low, comma, high = repeated.groups()
            most = int(low) if comma is None else int(high or _MAX_REPEATS)
            times = min(int(low) + self._extra, most)
        else:
            return times
        if self._peek() in ("?", "+"):  # lazy or possessive
            self._at += 1
        return min(times, _MAX_REPEATS)
