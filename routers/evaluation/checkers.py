"""Score an answer against what is expected: pure functions, 0 to 1."""

import re
from collections.abc import Callable, Mapping
from enum import StrEnum

_TOLERANCE = 1e-6
"""Relative difference up to which two numbers are the same."""

_FENCE = re.compile(r"^```[^\n`]*\n(.*?)\n?```$", re.DOTALL)
_NUMBER = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?(?:[eE][-+]?\d+)?|[-+]?\.\d+")
_LETTER = re.compile(r"(?<![A-Za-z'])\(?([A-Z])\)?(?![A-Za-z'])")
_SAYS = re.compile(
    r"(?:answer|option|choice)(?:\s+is)?\s*[:=]?\s*\**\(?([A-Z])\)?(?![A-Za-z'])", re.IGNORECASE
)
_MARKUP = str.maketrans("", "", "*_`\"'“”‘’$")  # noqa: RUF001  (typographic quotes are meant)


class Checker(StrEnum):
    """How an answer is compared."""

    EXACT = "exact"
    NUMBER = "number"
    CHOICE = "choice"
    REGEX = "regex"


def score(checker: Checker, expected: str, answer: str) -> float:
    """Return how right `answer` is, from 0 to 1.

    Parameters
    ----------
    checker
        `exact`: the whole answer or its last line, but for case, white space, markup and a final
        full stop. `number`: the last number of the answer. `choice`: the letter of an option,
        the one that is announced ("answer: B"), else the last that stands alone. `regex`: the
        whole answer, out of its code fence, matches.
    expected
        The answer, number, capital letter or regular expression.
    """
    return float(_CHECKS[checker](expected, answer.strip()))


def defect(checker: Checker, expected: str) -> str | None:
    """Return what is wrong with `expected`, None if nothing is."""
    if checker is Checker.NUMBER and last_number(expected) is None:
        return f"{expected!r} is no number"
    if checker is Checker.CHOICE and not re.fullmatch(r"[A-Z]", expected):
        return f"{expected!r} is no capital letter"
    if checker is Checker.REGEX:
        try:
            re.compile(expected)
        except re.error as error:
            return f"{expected!r} is no regular expression ({error})"
    return None if expected.strip() else "the expected answer is empty"


def last_number(text: str) -> float | None:
    """Return the last number of a text, with or without thousands separators."""
    found = _NUMBER.findall(text.replace("\N{MINUS SIGN}", "-"))
    return float(found[-1].replace(",", "")) if found else None


def _exact(expected: str, answer: str) -> bool:
    plain = _out_of_fence(answer)
    last = plain.rsplit("\n", 1)[-1]
    return _plain(expected) in {_plain(plain), _plain(last)}


def _plain(text: str) -> str:
    words = " ".join(text.translate(_MARKUP).casefold().split())
    return words.removesuffix(".").strip()


def _number(expected: str, answer: str) -> bool:
    wanted, found = last_number(expected), last_number(answer)
    if wanted is None or found is None:
        return False
    return abs(wanted - found) <= _TOLERANCE * max(1.0, abs(wanted))


def _choice(expected: str, answer: str) -> bool:
    announced = _SAYS.findall(answer)
    if announced:
        return bool(announced[-1].upper() == expected)
    alone = _LETTER.findall(answer.upper() if len(answer) <= 3 else answer)
    return bool(alone) and alone[-1] == expected


def _regex(expected: str, answer: str) -> bool:
    return re.fullmatch(expected, _out_of_fence(answer)) is not None


def _out_of_fence(answer: str) -> str:
    fenced = _FENCE.match(answer)
    return fenced[1].strip() if fenced else answer


_CHECKS: Mapping[Checker, Callable[[str, str], bool]] = {
    Checker.EXACT: _exact,
    Checker.NUMBER: _number,
    Checker.CHOICE: _choice,
    Checker.REGEX: _regex,
}
