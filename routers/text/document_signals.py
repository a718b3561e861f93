"""What the documents of a request come to in numbers: how many, how long, how well they fit.

Words are compared as words, whatever they mean: two texts that share as many words with the
question, and with each other, give the same numbers. So nothing that a document says, such as how
hard the question is or who should answer it, reaches a router.
"""

import itertools
import math
import re
from collections.abc import Sequence

from routers.text.window import head_and_tail
from routers.types import Document, DocumentNumbers

DOCUMENT_SIGNALS: tuple[str, ...] = (
    "any",
    "log_documents",
    "log_characters",
    "mean_log_characters",
    "unread_share",
    "coverage",
    "best_coverage",
    "mean_coverage",
    "name_coverage",
    "answer_type",
    "agreement",
    "scored",
    "best_score",
    "mean_score",
    "score_spread",
    "score_gap",
    "log_question_words",
)
"""The signals in the order of the vector's columns, each within [0, 1]; all but the last are 0 of a
request without documents."""

MAX_READ = 32
"""Of more documents the first are read: retrieval puts the best ones first."""

READ_CHARS = 4_000
"""Of a longer document, head and tail of that many characters are read."""

_QUESTION_CHARS = 2_000
_MOST_DOCUMENTS, _MOST_CHARS, _MOST_WORDS = (math.log1p(n) for n in (64, 131_072, 64))
_COMPARED = 8
"""Of so many documents every two are compared."""

_WORD = re.compile(r"[^\W_]+")
_NUMERAL = re.compile(r"\d")
_NAME = re.compile(r"\b[A-Z][a-z]")
_SCRIPT = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_STOP = (
    "a about an and any are as at be been but by can could did do does for from give had has have "
    "he her his how i if in into is it its me my no not of on or our please she should so some "
    "tell than that the their them then there these they this to was we were what when where which "
    "who whom whose why will with would you your "
    "das dem den der des die ein eine im ist mit oder sind und von wann warum was wer wie wo zu "
    "comment de des du en est et la le les ou pourquoi quand que qui sont un une "
    "como cuando del el es las los para por quien son una y"
)
_STOP_WORDS = frozenset(_STOP.split())
_ASKS_NUMBER = re.compile(
    r"\b(?:when|how (?:many|much|old|long|far|tall|big)|year|date|number)\b", re.IGNORECASE
)
_ASKS_NAME = re.compile(
    r"\b(?:who|whom|whose|where|which (?:city|country|person|company))\b", re.IGNORECASE
)


def measure_documents(prompt: str, documents: Sequence[Document]) -> DocumentNumbers:
    """Measure what documents come to beside what is asked."""
    question = "".join(filter(None, head_and_tail(prompt, _QUESTION_CHARS)))
    asked = content_words(question)
    n_asked = min(math.log1p(len(asked)) / _MOST_WORDS, 1.0)
    if not documents:
        return DocumentNumbers(0, 0.0, (*[0.0] * (len(DOCUMENT_SIGNALS) - 1), n_asked))
    n_chars = [len(each.text) for each in documents]
    read = [_read(each.text) for each in documents[:MAX_READ]]
    words = [content_words(each) for each in read]
    covered = [len(asked & each) / max(len(asked), 1) for each in words]
    together = asked & frozenset().union(*words)
    coverage = len(together) / max(len(asked), 1)
    signals = (
        1.0,
        min(math.log1p(len(documents)) / _MOST_DOCUMENTS, 1.0),
        min(math.log1p(sum(n_chars)) / _MOST_CHARS, 1.0),
        min(math.log1p(sum(n_chars) / len(documents)) / _MOST_CHARS, 1.0),
        n_chars.count(0) / len(documents),
        coverage,
        max(covered),
        sum(covered) / len(covered),
        _names(question, together),
        _answer_type(question, read),
        _agreement(words, asked),
        *_scores(documents),
        n_asked,
    )
    return DocumentNumbers(len(documents), coverage, signals)


def content_words(text: str) -> frozenset[str]:
    """Return the words of a text that say something; of scripts without blanks, pairs of signs."""
    found: set[str] = set()
    for word in _WORD.findall(text.casefold()):
        if _SCRIPT.search(word):
            found.update(map("".join, itertools.pairwise(word)))
            if len(word) == 1:
                found.add(word)
        elif word not in _STOP_WORDS and (len(word) > 1 or word.isdigit()):
            # Of English plurals alone: rules for more would be wrong as often as right.
            found.add(word[:-1] if len(word) > 3 and word[-1] == "s" and word[-2] != "s" else word)
    return frozenset(found)


def _read(text: str) -> str:
    head, tail = head_and_tail(text, READ_CHARS)
    return f"{head}\n{tail}" if tail else head


def _names(question: str, together: frozenset[str]) -> float:
    """Return the share of names and numerals in the question that some document has."""
    marked = [
        word
        for place, word in enumerate(_WORD.findall(question))
        if word[0].isdigit() or (place and word[0].isupper())
    ]
    named = content_words(" ".join(marked))
    return len(named & together) / len(named) if named else 0.5


def _answer_type(question: str, read: Sequence[str]) -> float:
    """Return whether there is anything of the kind that is asked for: a numeral, or a name."""
    for asks, has in ((_ASKS_NUMBER, _NUMERAL), (_ASKS_NAME, _NAME)):
        if asks.search(question):
            return sum(has.search(each) is not None for each in read) / len(read)
    return 0.5


def _agreement(words: Sequence[frozenset[str]], asked: frozenset[str]) -> float:
    """Return how much two documents share of what the smaller says beyond the question."""
    own = [each - asked for each in words[:_COMPARED]]
    shared = [
        len(first & second) / max(min(len(first), len(second)), 1)
        for first, second in itertools.combinations(own, 2)
    ]
    return sum(shared) / len(shared) if shared else 0.0


def _scores(documents: Sequence[Document]) -> list[float]:
    scores = sorted(
        (_bounded(each.score) for each in documents if each.score is not None), reverse=True
    )
    if not scores:
        return [0.0] * 5
    mean = sum(scores) / len(scores)
    spread = math.sqrt(sum((each - mean) ** 2 for each in scores) / len(scores))
    gap = scores[0] - scores[1] if len(scores) > 1 else 0.0
    return [len(scores) / len(documents), scores[0], mean, min(2 * spread, 1.0), gap]


def _bounded(score: float) -> float:
    """Map a score of any scale into [0, 1] without changing who comes first."""
    return 0.5 * (1 + score / (1 + abs(score)))
