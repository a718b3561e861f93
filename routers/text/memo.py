"""A pure function as a mapping."""

from collections.abc import Callable
from typing import TypeVar

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")

_LONGEST_WORD_CHARS = 64


class Memo(dict[_Key, _Value]):
    """A pure function as a mapping, so that a known key costs one lookup in C.

    Starts over when `limit` entries are reached: simple, and safe between threads, because
    every value can be computed again and each dict operation is atomic.
    """

    def __init__(self, function: Callable[[_Key], _Value], *, limit: int) -> None:
        super().__init__()
        self._function = function
        self._limit = limit

    def __missing__(self, key: _Key) -> _Value:
        value = self._function(key)
        if len(self) >= self._limit:
            self.clear()
        self[key] = value
        return value


class WordMemo(Memo[str, _Value]):
    """A function of words. What is too long to be one is not remembered: it would fill memory."""

    def __missing__(self, key: str) -> _Value:
        if len(key) > _LONGEST_WORD_CHARS:
            return self._function(key)
        return super().__missing__(key)
