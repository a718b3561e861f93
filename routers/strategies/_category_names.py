"""Which category a label means: subjects have many names, and benchmarks names of their own."""

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from routers.errors import RoutingConfigError
from routers.request.layout import DOMAINS

OTHER = "other"
"""Whatever belongs to no category: learned, to be told from them, and never a specialty."""

_FEWEST_QUERIES = 8
"""Labels of fewer rows are read less exactly: the benchmark in place of the subject."""

_MAX_NAME_CHARS = 60
_WORD = re.compile(r"[^\W_]+")
_UNPRINTABLE = re.compile(r"[^ -~]+")


@dataclass(frozen=True, slots=True)
class Subject:
    """A subject that many benchmarks have.

    Attributes
    ----------
    also
        What else people call it.
    labels
        Words, or several in a row with blanks between, by which benchmarks call their parts.
    """

    also: str = ""
    labels: str = ""

    @property
    def phrases(self) -> tuple[tuple[str, ...], ...]:
        """All of it as phrases of words."""
        return tuple(words(each) for each in f"{self.also}, {self.labels}".split(",") if each)


SUBJECTS: Mapping[str, Subject] = {
    "everyday": Subject("general", "commonsense, common sense, hellaswag, winogrande, winograde"),
    "language": Subject("writing, translation", "linguistics, flores, wmt, commongen"),
    "science": Subject(
        "sciences, stem",
        "physics, chemistry, biology, astronomy, gpqa, arc challenge, arc easy, openbook, sciq",
    ),
    "mathematics": Subject(
        "math, maths",
        "algebra, geometry, calculus, statistics, precalculus, number theory, gsm8k, aime, "
        "math500, olympiad",
    ),
    "software": Subject(
        "code, coding, programming, computer science",
        "mbpp, humaneval, human eval, livecodebench, swe bench, javascript, python, apps, "
        "machine learning, security",
    ),
    "data": Subject("data science, sql", "spider, bird, tables"),
    "engineering": Subject("", "electrical, mechanical"),
    "medicine": Subject(
        "health, medical, clinical",
        "anatomy, nutrition, virology, genetics, aging, medqa, pubmedqa, medmcqa",
    ),
    "law": Subject("legal", "jurisprudence, legalbench"),
    "finance": Subject("economics", "econometrics, accounting, macroeconomics, microeconomics"),
    "business": Subject("", "management, marketing, business ethics, public relations"),
    "humanities": Subject(
        "history, philosophy", "prehistory, religions, moral, logical fallacies, ethics"
    ),
    "arts": Subject("art", "music, film, literature"),
    "education": Subject("", "teaching"),
    "society": Subject(
        "psychology, sociology, politics",
        "political science, government and politics, geography, sexuality, foreign policy",
    ),
}
"""By the names of `routers.request.layout.DOMAINS`."""


def words(text: str) -> tuple[str, ...]:
    """Return the words of a label in lower case, whatever stands between them."""
    return tuple(_WORD.findall(text.casefold()))


def phrases_of(name: str, given: Sequence[str] = ()) -> tuple[tuple[str, ...], ...]:
    """Return by which phrases labels mean a category: the given ones, else what is known of it."""
    if given:
        return tuple(words(each) for each in given)
    domain = domain_of(name)
    known = () if domain is None else ((domain,), *SUBJECTS[domain].phrases)
    return (words(name), *known)


def domain_of(name: str) -> str | None:
    """Return which of `DOMAINS` a subject belongs to; None where that is not known."""
    label = words(name)
    found = [
        (len(phrase), domain)
        for domain, subject in SUBJECTS.items()
        for phrase in ((domain,), *subject.phrases)
        if _contains(label, phrase)
    ]
    return max(found, key=lambda each: each[0])[1] if found else None


def domains_of(names: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Return, for each of `DOMAINS` that a name stands for, the position of that name.

    Raises
    ------
    RoutingConfigError
        If a name stands for none.
    """
    found: dict[str, int] = {}
    for position, (name, given) in enumerate(names.items()):
        domains = {domain_of(each) for each in given or (name,)}
        if None in domains:
            raise RoutingConfigError(
                f"the category {name!r} is none that requests are described by; known: "
                f"{', '.join(DOMAINS)}; say under names which of them it stands for"
            )
        for domain in domains:
            if domain is not None:
                found.setdefault(domain, position)
    return found


def name_rows(
    groups: Sequence[str], names: Mapping[str, Sequence[str]], *, benchmark: bool
) -> list[str]:
    """Return the category of every row by its label (`set/benchmark/subject`), empty without one.

    Parameters
    ----------
    names
        Categories by name, and the phrases in labels that mean each (`phrases_of` where there are
        none); rows that none of them claims are `OTHER`. Without names the labels themselves are
        the categories.
    benchmark
        Whether the benchmark is the category, whatever its subjects.
    """
    paths = [_path(group) for group in groups]
    if names:
        phrases = {name: phrases_of(name, given) for name, given in names.items()}
        wholes = [tuple(part for part in group.split("/") if part) for group in groups]
        claimed = {path: _claimed(path, phrases) if path else "" for path in set(wholes)}
        return [claimed[path] for path in wholes]
    if benchmark:
        return [printable(path[0]) if path else "" for path in paths]
    counts = Counter(part for path in paths for part in itertools.accumulate(path, "{}/{}".format))
    return [_commonest(path, counts) for path in paths]


def printable(name: str) -> str:
    """Return a name as headers and tables can hold it."""
    ascii_only = name.replace("/", " ").encode("ascii", "backslashreplace").decode()
    return _UNPRINTABLE.sub("?", ascii_only).strip()[:_MAX_NAME_CHARS] or "?"


def _path(group: str) -> tuple[str, ...]:
    """Return the parts of a label behind the set, which is no category."""
    first, *others = group.split("/")
    return tuple(part for part in others or [first] if part)


def _claimed(path: tuple[str, ...], phrases: Mapping[str, Iterable[tuple[str, ...]]]) -> str:
    """Return the name with the longest phrase in the last part that anybody claims."""
    for part in reversed(path):
        label = words(part)
        found = [
            (len(phrase), name)
            for name, each in phrases.items()
            for phrase in each
            if _contains(label, phrase)
        ]
        if found:
            return max(found, key=lambda each: each[0])[1]
    return OTHER


def _commonest(path: tuple[str, ...], counts: Mapping[str, int]) -> str:
    whole = list(itertools.accumulate(path, "{}/{}".format))
    for part, so_far in zip(reversed(path), reversed(whole), strict=True):
        if counts[so_far] >= _FEWEST_QUERIES:
            return printable(part)
    return ""


def _contains(label: tuple[str, ...], phrase: tuple[str, ...]) -> bool:
    n = len(phrase)
    return n > 0 and any(label[i : i + n] == phrase for i in range(len(label) - n + 1))
