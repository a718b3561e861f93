"""Signs of trouble in an answer that anybody can read: refusals, hedges, an end that is missing."""

import re

_WINDOW_CHARS = 4_000
"""Of a longer answer head and tail are looked at: there it refuses, and there it concludes."""

_REFUSAL = re.compile(
    r"\b(?:i (?:cannot|can't|can not|am unable to|'m unable to|won't|will not) "
    r"(?:help|assist|answer|provide|comply|do that|fulfil)|"
    r"i(?:'m| am) sorry|as an ai\b|i (?:do not|don't) have (?:enough|access|the ability))",
    re.IGNORECASE,
)
_HEDGE = re.compile(
    r"\b(?:not sure|unclear|cannot be determined|can't be determined|none of the (?:above|options)|"
    r"might|perhaps|possibly|assum(?:e|ing)|however|wait|mistake|closest|approximately|"
    r"seems?|appears?)\b",
    re.IGNORECASE,
)


def refuses(text: str) -> bool:
    """Tell whether an answer begins by refusing, or apologises that it cannot be given."""
    return _REFUSAL.search(_window(text).replace("\u2019", "'")) is not None


def hedges(text: str) -> int:
    """Count the words by which an answer takes back some of what it says."""
    return len(_HEDGE.findall(_window(text)))


def _window(text: str) -> str:
    if len(text) <= _WINDOW_CHARS:
        return text
    half = _WINDOW_CHARS // 2
    return f"{text[:half]}\n{text[-half:]}"
