"""Signs of trouble in an answer that anybody can read: refusals, hedges, an end that is missing."""

import re

_WINDOW_CHARS = 4_000
"""Of a longer answer head and tail are looked at: there it refuses, and there it concludes."""

_REFUSAL = re.compile(
    r"\b(?:i (?:cannot|can't|can not|am unable to|'m unable to|won't|will not) "
    r"(?:help|assist|answer|provide|comply|do that|fulfil)|"
    r"i(?:'m| am) sorry|as an ai\b|i (?:do not|don't) have (?:enough|access|the ability))"
)
_OF_REFUSALS = ("can", "unable to", "won't", "will not", "sorry", "as an ai", " have ")
"""One of these is in every refusal: looking for them takes a tenth of the time."""

_WORDS = re.compile(r"[a-z]+")
_HEDGES = frozenset(
    [
        "might",
        "perhaps",
        "possibly",
        "assume",
        "assuming",
        "however",
        "wait",
        "mistake",
        "closest",
        "approximately",
        "seem",
        "seems",
        "appear",
        "appears",
        "unclear",
    ]
)
_HEDGING = ("not sure", "cannot be determined", "can't be determined", "none of the above")


def refuses(text: str) -> bool:
    """Tell whether an answer begins by refusing, or apologises that it cannot be given."""
    read = _window(text)
    return any(each in read for each in _OF_REFUSALS) and _REFUSAL.search(read) is not None


def hedges(text: str) -> int:
    """Count the words by which an answer takes back some of what it says."""
    read = _window(text)
    words = sum(word in _HEDGES for word in _WORDS.findall(read))
    return words + sum(read.count(each) for each in _HEDGING)


def _window(text: str) -> str:
    """Return head and tail in small letters, with plain apostrophes."""
    if len(text) > _WINDOW_CHARS:
        half = _WINDOW_CHARS // 2
        text = f"{text[:half]}\n{text[-half:]}"
    return text.lower().replace("\u2019", "'")
