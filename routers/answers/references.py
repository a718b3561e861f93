"""What a short answer is worth by references: whether it is one of them, and by its words."""

import re
from collections import Counter
from collections.abc import Collection, Sequence

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_NO_WORD = re.compile(r"[^\w\s]")


def normalised(text: str) -> str:
    """Return a short answer without case, punctuation and articles, as SQuAD compares them."""
    return " ".join(_ARTICLES.sub(" ", _NO_WORD.sub(" ", text.casefold())).split())


def exact_match(answer: str, references: Collection[str]) -> float:
    """Return 1 where an answer is one of the references, else 0."""
    return float(normalised(answer) in {normalised(each) for each in references})


def f1(answer: str, references: Collection[str]) -> float:
    """Return the best F1 of the words of an answer over the references."""
    return max(_f1(normalised(answer).split(), normalised(each).split()) for each in references)


def _f1(said: Sequence[str], right: Sequence[str]) -> float:
    common = sum((Counter(said) & Counter(right)).values())
    return 0.0 if common == 0 else 2 * common / (len(said) + len(right))
