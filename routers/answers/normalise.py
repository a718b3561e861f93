"""What an answer comes down to, so that two of them can be held against each other.

A normaliser reads a *literal* from a text: a letter, a number, a value. Two answers agree where
their literals do. Nothing is run and nothing is looked up; a text that says nothing of the kind
has no literal, and agrees with none.
"""

import ast
import io
import json
import re
import tokenize
import warnings
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from decimal import Decimal, DecimalException
from functools import cache
from typing import Literal

from routers.embedders.base import Embedder, make_embedder
from routers.types import FloatVector

Normaliser = Literal["auto", "exact", "number", "option", "json", "code", "similar"]
"""How answers are compared.

`exact`: the same words; case, white space and closing marks do not count. `number`: the final
number. `option`: the letter of a choice. `json`: the same value. `code`: the same program, names
and all; layout and comments do not count. `similar`: texts of close meaning. `auto`: whichever of
them the answer itself looks like.
"""

_MAX_CHARS = 200_000
"""Of a longer text its end is read: what an answer comes down to stands there."""

_SIMILAR_CHARS = 8_000
_CODE_CHARS = 10_000
"""Parsing takes a millisecond for each 2,000 of them."""
_NUMBER = re.compile(r"[-+]?(?:\d{1,3}(?:[,\u202f'\u00a0]\d{3})+|\d+)(?:\.\d+)?(?:[eE][-+]?\d+)?%?")
_FRACTION = re.compile(rf"(?P<number>{_NUMBER.pattern})(?:\s*/\s*(?P<below>\d+))?")
_LATEX_FRACTION = re.compile(r"\\[dt]?frac\s*\{\s*(-?\d+)\s*\}\s*\{\s*(\d+)\s*\}")
_MAX_EXPONENT = 400
_STATED = re.compile(
    r"(?:final answer|answer|result|solution|total)\b[^\n.:=]{0,40}?(?:\bis\b|\bare\b|:|=)\s*",
    re.IGNORECASE,
)
_BOXED = re.compile(r"\\boxed\s*\{")
_OPTION_STATED = re.compile(
    r"(?:answer|option|choice)\b[^\n]{0,30}?(?:\bis\b|:)?\s*[*_`\"'(\[]*\(?(?<![/A-Za-z0-9])([A-Ja-j])\)?(?![A-Za-z0-9'])",
    re.IGNORECASE,
)
_OPTION_ALONE = re.compile(r"^[\s*_`\"'(\[]*([A-Ja-j])[)\].:*_`\"'\s]*$")
_OPTION_LEADS = re.compile(r"^[\s*_`\"'(\[]*([A-J])[)\].:]")
_FENCE = re.compile(r"```([\w+#.-]*)[ \t]*\n(.*?)(?:```|\Z)", re.DOTALL)
_MARKS = " \t\r\n.,;:!?*_`\"'\u201c\u201d\u2018\u2019"


@dataclass(frozen=True, slots=True)
class Reading:
    """What an answer comes down to.

    Attributes
    ----------
    how
        By which normaliser it was read; readings of different ones never agree.
    literal
        Compared for equality; None where meanings are compared.
    vector
        The meaning, of length 1.
    """

    how: str
    literal: Hashable = None
    vector: FloatVector | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparing:
    """One way to compare answers.

    Attributes
    ----------
    least_similarity
        The cosine from which texts are of one meaning, where meanings are compared.
    """

    by: Normaliser = "auto"
    least_similarity: float = 0.9

    def read(self, text: str, *, literal: str | None = None) -> Reading | None:
        """Return what an answer comes down to; None where it says nothing of the kind.

        Parameters
        ----------
        literal
            What is known of it already; empty where it is known to say nothing.
        """
        if literal is not None:
            return Reading("told", literal) if literal else None
        text = text[-_MAX_CHARS:]
        if not text.strip():
            return None
        if self.by == "auto":
            return _read_any(text)
        if self.by == "similar":
            return _read_meaning(text)
        found = _READERS[self.by](text)
        return None if found is None else Reading(self.by, found)

    def same(self, a: Reading | None, b: Reading | None) -> bool:
        """Return whether two answers say the same."""
        if a is None or b is None or a.how != b.how:
            return False
        if a.vector is not None and b.vector is not None:
            return float(a.vector @ b.vector) >= self.least_similarity
        return a.literal == b.literal


def exact(text: str) -> str | None:
    """Return the words of a text, case and white space and closing marks aside."""
    words = " ".join(text.split()).strip(_MARKS).casefold()
    return words or None


def number(text: str) -> Decimal | None:
    """Return the number that a text ends up with: boxed, stated as the answer, or the last one."""
    for part in (_boxed(text), _after_last(_STATED, text)):
        found = None if part is None else _FRACTION.search(_unspaced(part))
        if found is not None:
            return _decimal(found["number"], found["below"])
    found_all = _NUMBER.findall(_unspaced(text))
    return _decimal(found_all[-1]) if found_all else None


def option(text: str) -> str | None:
    """Return the letter, A to J, of the option that a text ends up with."""
    boxed = _boxed(text)
    if boxed is not None:
        inside = re.sub(r"\\(?:text|mathrm|mathbf|textbf)\s*\{([^}]*)\}", r"\1", boxed)
        found = _OPTION_ALONE.match(inside)
        if found is not None:
            return found.group(1).upper()
    stated = [each for each in _OPTION_STATED.finditer(text) if _is_letter(each)]
    if stated:
        return stated[-1].group(1).upper()
    lines = [line for line in text.splitlines() if line.strip()]
    for line in (lines[-1], lines[0]) if lines else ():
        found = _OPTION_ALONE.match(line) or _OPTION_LEADS.match(line)
        if found is not None:
            return found.group(1).upper()
    return None


def json_value(text: str) -> str | None:
    """Return the JSON value that a text is, or holds between fences, with its keys in order."""
    for part in (text, *[body for _, body in reversed(_FENCE.findall(text))]):
        try:
            value = json.loads(part.strip(), parse_constant=_no_constant)
        except (ValueError, RecursionError):
            continue
        return json.dumps(_plain(value), sort_keys=True, ensure_ascii=False)
    return None


def code(text: str) -> str | None:
    """Return the program in a text, without comments and layout."""
    blocks = _FENCE.findall(text[-_CODE_CHARS:])
    language, body = (
        max(blocks, key=lambda block: len(block[1])) if blocks else ("", text[-_CODE_CHARS:])
    )
    if language.casefold() in {"", "python", "py", "python3"}:
        program = _python(body)
        if program is not None:
            return program
    return " ".join(body.split()) or None if blocks else None


_READERS: dict[str, Callable[[str], Hashable | None]] = {
    "exact": exact,
    "number": number,
    "option": option,
    "json": json_value,
    "code": code,
}


def _read_any(text: str) -> Reading | None:
    """Read an answer the way that it looks like."""
    stripped = text.strip()
    if stripped[:1] in "{[" or "```json" in stripped:
        value = json_value(stripped)
        if value is not None:
            return Reading("json", value)
    if _FENCE.search(stripped):
        program = code(stripped)
        return None if program is None else Reading("code", program)
    letter = option(stripped)
    if letter is not None:
        return Reading("option", letter)
    is_short = len(stripped) <= 80 and "\n" not in stripped
    if _boxed(stripped) is not None or _STATED.search(stripped) or _NUMBER.fullmatch(stripped):
        found = number(stripped)
        if found is not None:
            return Reading("number", found)
    if is_short:
        words = exact(stripped)
        return None if words is None else Reading("exact", words)
    return _read_meaning(stripped)


def _read_meaning(text: str) -> Reading | None:
    (vector,) = _embedder().encode([text[-_SIMILAR_CHARS:]])
    return Reading("similar", None, vector) if vector.any() else None


@cache
def _embedder() -> Embedder:
    return make_embedder("static", {})


def _boxed(text: str) -> str | None:
    """Return what stands in the last box of a formula, braces within it included."""
    opened = None
    for opened in _BOXED.finditer(text):  # noqa: B007  (the last one)
        pass
    if opened is None:
        return None
    depth, start = 1, opened.end()
    for at in range(start, min(len(text), start + 2_000)):
        depth += (text[at] == "{") - (text[at] == "}")
        if depth == 0:
            return text[start:at]
    return None


def _after_last(pattern: re.Pattern[str], text: str) -> str | None:
    found = None
    for found in pattern.finditer(text):  # noqa: B007  (the last one)
        pass
    return None if found is None else text[found.end() : found.end() + 80]


def _unspaced(text: str) -> str:
    text = text.replace("\\,", "").replace("\\!", "").replace("\u2212", "-")
    return _LATEX_FRACTION.sub(r"\1/\2", text)


def _decimal(found: str, below: str | None = None) -> Decimal | None:
    try:
        value = Decimal(re.sub(r"[,\u202f'\u00a0%]", "", found))
        # Exponents that nobody can mean would make huge integers when printed or hashed.
        if abs(value.adjusted()) > _MAX_EXPONENT:
            return None
        divisor = Decimal(100 if found.endswith("%") else 1) * Decimal(below or 1)
        return (value / divisor).normalize()
    except DecimalException:
        return None


def _is_letter(found: re.Match[str]) -> bool:
    """Tell an option's letter from the article or the pronoun that looks like one."""
    letter = found.group(1)
    return letter.isupper() or found.group().rstrip().endswith((")", "]"))


def _no_constant(name: str) -> float:
    raise ValueError(name)


def _plain(value: object) -> object:
    """Fold what JSON writes in two ways: 1 and 1.0."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return value


def _python(body: str) -> str | None:
    try:
        with warnings.catch_warnings():  # of escapes that mean nothing
            warnings.simplefilter("ignore")
            return ast.dump(ast.parse(body))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        pass
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(body).readline))
    except (tokenize.TokenError, SyntaxError, IndentationError):
        return None
    skipped = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.ENDMARKER}
    words = [each.string for each in tokens if each.type not in skipped]
    return " ".join(words) or None
