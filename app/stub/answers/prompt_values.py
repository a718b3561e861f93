"""What a prompt has to offer for a named value: a city, a path, a number of days."""

import re
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import NamedTuple

from app.stub.answers.conversation import plain
from app.stub.answers.vocabulary import COUNTED, KINDS, NO_NAMES, NO_PLACES, OPENERS, stem

_MAX_CHARS = 4000
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_NAME = r"(?!I\b)[A-ZÀ-Þ](?:[ ](?:de|of|la|el|am|al)[ ](?=[A-ZÀ-Þ])|[ ](?=[A-ZÀ-Þ])|[\w'-])*"
_AFTER_SPACE = re.compile(rf"(?<=[\s(])(?:{_NAME})")
_AT_START = re.compile(rf"(?:^|(?<=[.!?:]\s)|(?<=\n))({_NAME})")
_DOES = re.compile(r"\s+(?:is|was|has|had|lives|works|likes|wants|and)\b")
_LOWER_PLACE = re.compile(r"\b(?:in|at|near|for|of)\s+(?:the\s+)?([a-zà-þ][\w'-]+)")
_QUOTED = re.compile(
    r"[\"“`«]([^\"”`»\n]{1,200})[\"”`»]|(?<=[\s(])'([^'\n]{1,200})'(?=[\s).,?!]|$)"
)
_NUMBER = re.compile(r"(?<![A-Za-z_.\d])(?<![A-Za-z_]-)-?\d+(?:\.\d+)?")
_SPELT = re.compile(rf"\b(?:{'|'.join(COUNTED)})\b", re.IGNORECASE)
_EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_URL = re.compile(r"https?://[^\s<>\"')\]]+[^\s<>\"')\].,?!]")
_DATE = re.compile(r"\b\d{4}-\d{2}-\d{2}\b")
_DAY = re.compile(
    r"\b(?:today|tonight|tomorrow|yesterday|next week|this week(?:end)?"
    r"|(?:mon|tues|wednes|thurs|fri|satur|sun)day)\b",
    re.IGNORECASE,
)
_UUID = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", re.IGNORECASE)
_ID = re.compile(r"(?:#\s?|\b)([A-Z]{1,6}[-_]?\d[\w-]*|\d[\d-]{2,})\b")
_CODE = re.compile(r"\b[A-Z]{2,5}\b")
_TOKEN = re.compile(r"[^\s\"'`,;:()<>“”?!]+")
_IN_FILES = re.compile(r"[\w.~/-]*[\w-]\.[A-Za-z]\w{0,9}|[~.]{0,2}/[\w./-]*|[\w.-]+(?:/[\w.-]+)*/")
_ARITHMETIC = re.compile(
    r"[-(]{0,9}\d[\d.,]*(?:\s*(?:\*\*|[-+*/x\u00d7\u00f7^%()])\s*[-()\s]*\d*[\d.,]*\)*)+"
)
_TOPIC = re.compile(r"\b(?:about|for|on)\s+(.{3,200}?)[?.!]*$", re.IGNORECASE | re.DOTALL)
_BETWEEN = re.compile(
    r"\s*(,|;|and|or|und|et|y|&|\+|vs\.?|versus|, ?and|, ?or)\s*(?:in|for|the|of)?\s*"
)
_SAFE = re.compile(
    r"(?:ls|pwd|cat|head|tail|wc|grep|date|uname|echo|git (?:status|log|diff|branch)"
    r"|(?:python3?|node|pip|npm|git) --version)(?: [\w./ =-]*)?"
)
"""Commands that do no harm; an agent may run for real what a simulated model asks for."""


class Found(NamedTuple):
    """A piece of the prompt."""

    start: int
    end: int
    text: str


class Prompt:
    """A prompt, and what has been taken from it.

    Parameters
    ----------
    text
        What the user asked.
    known
        Values by name that tools gave; see `Conversation.known`.
    """

    def __init__(self, text: str, known: Mapping[str, object] | None = None) -> None:
        self.text = text[:_MAX_CHARS]
        self.known = known or {}
        self.words = {word.casefold() for word in re.findall(r"\w+", self.text)}
        self._taken: set[int] = set()

    def known_value(self, name: str) -> object:
        """Return what is known under a name; None where nothing is."""
        return self.known.get(plain(name)) if name else None

    def names(self, value: str) -> bool:
        """Return whether the prompt has a value of an enum in it, as a word or words."""
        wanted = value.casefold()
        if wanted in self.words:
            return True
        loose = re.sub(r"[_-]+", " ", wanted)
        return " " in loose and loose in self.text.casefold()

    def text_for(self, name: str, *, guess: bool = True) -> str | None:
        """Return what the prompt says of a text of that name; None where it says nothing.

        Parameters
        ----------
        guess
            Whether anything in quotes and any proper name will do where nothing fits better.
        """
        kinds = kinds_of(name)
        for kind in kinds:
            found = self._untaken(_FINDERS[kind](self.text))
            if found is not None:
                return found
        if not guess or any(kind in _EXACT for kind in kinds):
            return None
        return self._untaken(_quoted(self.text)) or self._untaken(_longest_name(self.text))

    def number_for(
        self, name: str, fits: Callable[[float], bool], *, guess: bool = True
    ) -> float | None:
        """Return the number that stands beside a name's words, else the next one that fits."""
        words = {stem(word) for word in words_of(name)}
        found = _numbers(self.text)
        near = [
            (at, n)
            for at, end, n in found
            if words
            & {stem(w) for w in re.findall(r"\w+", self.text[end : end + 20].casefold())[:1]}
            or words
            & {stem(w) for w in re.findall(r"\w+", self.text[max(0, at - 40) : at].casefold())[-2:]}
        ]
        rest = [(at, n) for at, _, n in found if at not in self._taken] if guess else []
        for at, n in [*near, *rest]:
            if fits(n):
                self._taken.add(at)
                return n
        return None

    def series_for(self, name: str) -> list[str]:
        """Return the values of a name that the prompt lists: "in Paris and Rome"; else none."""
        for kind in kinds_of(name) or ("quoted", "name"):
            found = _FINDERS[kind](self.text)
            best: list[str] = []
            run: list[str] = []
            for one, other in pairwise(sorted(found)):
                if _BETWEEN.fullmatch(self.text[one.end : other.start]):
                    run = [*(run or [one.text]), other.text]
                else:
                    run = []
                best = max(best, run, key=len)
            if len(best) > 1:
                return list(dict.fromkeys(best))
        return []

    def beginning(self, n_words: int = 12) -> str:
        """Return the first words."""
        words = self.text.split(maxsplit=n_words)
        return " ".join(words[:n_words]) + (" …" if len(words) > n_words else "")

    def _untaken(self, found: list[Found]) -> str | None:
        """Take the first that nothing else was made of; where all were, the first."""
        for each in found:
            if each.start not in self._taken:
                self._taken.add(each.start)
                return each.text
        return found[0].text if found else None


def words_of(name: str) -> list[str]:
    """Return the words that a name in code is made of, in lower case."""
    return [word.casefold() for word in _WORDS.findall(name)]


def kinds_of(name: str) -> tuple[str, ...]:
    """Return what kinds of text a name asks for, the likeliest first."""
    words = words_of(name)
    kinds: list[str] = []
    for word in reversed(words):  # the last word says what it is: `order_id`, `city_name`
        for kind, names in KINDS.items():
            if word in names and kind not in kinds:
                kinds.append(kind)
    if "name" in words and len(words) > 1 and "person" in kinds and len(kinds) > 1:
        kinds.remove("person")
        kinds.append("person")
    return tuple(kinds)


_EXACT = frozenset({"email", "url", "path", "command", "expression", "date", "uuid", "id"})
"""Kinds for which nothing else will do."""


def _matches(pattern: re.Pattern[str], text: str) -> list[Found]:
    return [
        Found(m.start(), m.end(), next((g for g in m.groups() if g), m[0]))
        for m in pattern.finditer(text)
    ]


def _quoted(text: str) -> list[Found]:
    return _matches(_QUOTED, text)


def _names(text: str) -> list[Found]:
    """Return proper names; a sentence's first word counts where it is no usual opener."""
    within = [each for each in _matches(_AFTER_SPACE, text) if not _opens(text, each.start)]
    at_start = [
        Found(m.start(1), m.end(1), m[1].strip())
        for m in _AT_START.finditer(text)
        if m[1].split()[0].casefold().split("'")[0] not in OPENERS
    ]
    within = [each for each in within if each.text not in NO_NAMES]
    if not within:
        return at_start
    listed = [
        each
        for each in at_start
        if _DOES.match(text, each.end)
        or any(_BETWEEN.fullmatch(text[each.end : other.start]) for other in within)
    ]
    return sorted([*listed, *(Found(s, e, t.strip()) for s, e, t in within)])


def _opens(text: str, at: int) -> bool:
    before = text[:at].rstrip(" ")
    return not before or before[-1] in ".!?:\n"


def _longest_name(text: str) -> list[Found]:
    found = _names(text)
    return sorted(found, key=lambda each: (-each.text.count(" "), -each.start))


def _places(text: str) -> list[Found]:
    found = _names(text)
    behind = [
        e
        for e in found
        if re.search(r"\b(?:in|at|near|for|of|to|from)\s+(?:the\s+)?$", text[: e.start])
    ]
    if behind:
        return [*behind, *(each for each in found if each not in behind)]
    if found:
        return _longest_name(text)
    lower = [e for e in _matches(_LOWER_PLACE, text) if e.text not in NO_PLACES]
    return [Found(each.end - len(each.text), each.end, each.text) for each in lower]


def _behind(word: str) -> Callable[[str], list[Found]]:
    def find(text: str) -> list[Found]:
        return [e for e in _names(text) if re.search(rf"\b{word}\s+(?:the\s+)?$", text[: e.start])]

    return find


def _commands(text: str) -> list[Found]:
    found = [each for each in _quoted(text) if _SAFE.fullmatch(each.text)]
    if not found and re.search(r"\b(?:list|show|which|what)\b.*\bfiles\b", text, re.IGNORECASE):
        return [Found(0, 0, "ls")]
    return found


def _arithmetic(text: str) -> list[Found]:
    found = []
    for each in _matches(_ARITHMETIC, without_dates(text)):
        expression = each.text.strip(" .,")
        if len(_NUMBER.findall(expression)) > 1:
            found.append(Found(each.start, each.end, expression))
    return found


def _paths(text: str) -> list[Found]:
    found = [Found(e.start, e.end, e.text.rstrip(".")) for e in _matches(_TOKEN, text)]
    return [e for e in found if _IN_FILES.fullmatch(e.text) and e.text not in ("e.g", "i.e")]


def _dates(text: str) -> list[Found]:
    return _matches(_DATE, text) or _matches(_DAY, text)


def without_dates(text: str) -> str:
    """Return a text of the same length with blanks for dates, which are no subtractions."""
    return _DATE.sub(lambda date: " " * len(date[0]), text)


def _request(text: str) -> list[Found]:
    quoted = _quoted(text)
    if quoted:
        return quoted
    topic = _TOPIC.search(text)
    if topic:
        return [Found(topic.start(1), topic.end(1), topic[1])]
    whole = text.strip()[:200]
    return [Found(0, len(whole), whole)] if whole else []


def _numbers(text: str) -> list[tuple[int, int, float]]:
    found = [(m.start(), m.end(), float(m[0])) for m in _NUMBER.finditer(text)]
    found += [(m.start(), m.end(), float(COUNTED[m[0].casefold()])) for m in _SPELT.finditer(text)]
    return sorted(found)


_FINDERS: Mapping[str, Callable[[str], list[Found]]] = {
    "from": _behind("from"),
    "to": _behind("to"),
    "place": _places,
    "email": lambda text: _matches(_EMAIL, text),
    "url": lambda text: _matches(_URL, text),
    "path": _paths,
    "command": _commands,
    "expression": _arithmetic,
    "date": _dates,
    "uuid": lambda text: _matches(_UUID, text),
    "id": lambda text: _matches(_UUID, text) or _matches(_ID, without_dates(text)),
    "code": lambda text: _matches(_CODE, text),
    "person": _names,
    "request": _request,
    "quoted": _quoted,
    "name": _names,
}
