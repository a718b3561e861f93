"""Where a request for two things, one after the other, comes apart, and which comes first."""

import itertools
import re
from collections.abc import Iterator

_MAX_CUTS = 8
"""Places that are tried in one request."""

_FEWEST_CHARS = 4

_LEADING = re.compile(r"^\W*(after|once|when|before|first)\b[\s,]*(.*)$", re.IGNORECASE | re.DOTALL)
_COMMA = re.compile(r"[,;]\s*(?:then\s+)?")
_IN_TURN = re.compile(
    r"\s*(?:[,;.:\n]+\s*)?\b(?:and\s+)?(?:then|afterwards?|after\s+that|next|finally|subsequently|"
    r"followed\s+by|once\s+(?:you(?:'re|\s+are)?\s+|that(?:'s|\s+is)?\s+)?(?:done|ready|finished)(?:\s+with\s+that)?|"
    r"when\s+(?:you(?:'re|\s+are)?\s+|that(?:'s|\s+is)?\s+)(?:done|ready|finished)|"
    r"before\s+(?:you\s+)?)\b[\s,]*"
    r"|\s*[,;.\n]+\s*(?:and\s+)?|\s+and\s+(?:also\s+)?|\s*(?:->|→|=>|>)\s*",
    re.IGNORECASE,
)
_REVERSED = re.compile(
    r"\s*,?\s*\b(?:but\s+)?(?:only\s+)?(?:after|once|as\s+soon\s+as)\s+"
    r"(?:you(?:'ve|\s+have)?\s+|having\s+|it\s+(?:has\s+been|is)\s+|it's\s+)?",
    re.IGNORECASE,
)


def clauses(text: str) -> Iterator[tuple[str, str]]:
    """Yield the ways in which a request comes apart in two, in the order in which to do them."""
    pairs = (pair for pair in _pairs(text.strip()) if _long_enough(*pair))
    yield from pairs


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    leading = _LEADING.match(text)
    word, rest = ("", text) if leading is None else (leading.group(1).lower(), leading.group(2))
    if word == "first":
        text = rest
    elif word:
        for comma in _cuts(_COMMA, rest):
            said, other = rest[: comma.start()], rest[comma.end() :]
            yield (other, said) if word == "before" else (said, other)
        if word == "before":
            return  # whatever else separates, the order of what is written is the wrong one
    for cut in _cuts(_REVERSED, text):
        yield text[cut.end() :], text[: cut.start()]
    for cut in _cuts(_IN_TURN, text):
        yield text[: cut.start()], text[cut.end() :]


def _cuts(pattern: re.Pattern[str], text: str) -> list[re.Match[str]]:
    return list(itertools.islice(pattern.finditer(text), _MAX_CUTS))


def _long_enough(*parts: str) -> bool:
    return all(len(part.strip()) >= _FEWEST_CHARS for part in parts)
