"""Polite words around a request, which ask for nothing."""

import re
from collections.abc import Iterable

from routers.request.words import WordModel

_END_CHARS = 400
"""That much of either end of a text may be courtesy."""

_MOST_CHARS = 120
_MOST_SENTENCES = 4
_SENTENCE, _CLAUSE = 0.55, 0.75
"""Scores from which a sentence, or what stands before a comma, counts as courtesy."""

_SENTENCES = re.compile(r"[^.!?;\n。！？；]+[.!?;\n。！？；…)]*\s*")
_CLAUSES = re.compile(r"[^.!?,;\n。！？，；]+[.!?,;\n。！？，；…)]*\s*")
_OPENING = re.compile(
    r"(?:but |so |and )?(?:(?:could|can|would|will) (?:you|u) (?:please |pls |kindly )?"
    r"(?:help me (?:to |with )?)?|please |pls |kindly |i(?:['’]d| would) (?:really )?like you to "
    r"|i (?:want|need) you to )",
    re.IGNORECASE,
)
_ENDING = re.compile(r"[,.]? *(?:please|pls|plz|thanks|thank you|thx|ty)[ .!]*$", re.IGNORECASE)
_ENDINGS = ("please", "pls", "plz", "thanks", "thank you", "thx", "ty")
_ENDING_CHARS = 24
_ALPHANUMERIC = re.compile(r"[^\W_]")
_TIMES = 3
"""How often a courtesy stands beside sentences of requests in training, which are many more."""


class CourtesyModel:
    """Tell courtesies from requests, sentence by sentence.

    Parameters
    ----------
    words
        Scores 1 for what is a courtesy, 0 for what is not.
    """

    def __init__(self, words: WordModel) -> None:
        self.words = words

    @classmethod
    def fit(cls, courtesies: Iterable[str], prompts: Iterable[str]) -> "CourtesyModel":
        """Learn from courtesies and from the sentences at the ends of graded prompts."""
        polite = [part for text in courtesies for part in {text, *_ends(text)}]
        asking = [part for text in prompts for part in _ends(text) if len(part) < _MOST_CHARS]
        target = [1.0] * (_TIMES * len(polite)) + [0.0] * len(asking)
        return cls(WordModel.fit([*polite * _TIMES, *asking], target, strength=1.0))

    def strip(self, text: str) -> str:
        """Return `text` without greetings, thanks and excuses at its ends.

        "Hi! Hope you are well. Could you please sort this list? Thanks in advance!" asks for no
        more than "sort this list?". A text that is nothing but courtesy comes back as it is.
        """
        rest = self._without_head(text)
        opening = _OPENING.match(rest)
        if opening is not None:
            rest = rest[opening.end() :]
        rest = self._without_tail(rest)
        # Most texts end otherwise, which is seen without the pattern.
        if rest[-_ENDING_CHARS:].removesuffix("\n").rstrip(" .!").casefold().endswith(_ENDINGS):
            ending = _ENDING.search(rest, max(len(rest) - _ENDING_CHARS, 0))
            if ending is not None:
                rest = rest[: ending.start()]
        return text if _ALPHANUMERIC.search(rest) is None else rest

    def _without_head(self, text: str) -> str:
        start = 0
        for pattern, least in ((_SENTENCES, _SENTENCE), (_CLAUSES, _CLAUSE)):
            for _ in range(_MOST_SENTENCES):
                found = pattern.match(text, start, start + _MOST_CHARS)
                if found is None or found.end() in (start + _MOST_CHARS, len(text)):
                    break
                if self._score(found) < least:
                    break
                start = found.end()
        return text[start:]

    def _without_tail(self, text: str) -> str:
        sentences = list(_SENTENCES.finditer(text, max(len(text) - _END_CHARS, 0)))
        end = len(text)
        for found in reversed(sentences[1:][-_MOST_SENTENCES:]):
            if self._score(found) < _SENTENCE:
                break
            end = found.start()
        return text[:end]

    def _score(self, found: re.Match[str]) -> float:
        sentence = found.group().strip()
        return self.words.score(sentence) if len(sentence) < _MOST_CHARS else 0.0


def _ends(text: str) -> list[str]:
    """Return the sentences at both ends of a text."""
    head = [found.group().strip() for found in _SENTENCES.finditer(text[:_END_CHARS])]
    tail = [found.group().strip() for found in _SENTENCES.finditer(text[-_END_CHARS:])]
    return [each for each in head[:3] + tail[-2:] if each]
