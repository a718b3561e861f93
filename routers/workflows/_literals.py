"""Which answers to a query say the same, live and recorded."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

from routers.answers.normalise import Comparing, Normaliser, Reading
from routers.answers.recorded import RecordedAnswers
from routers.answers.telling import BLANK, SIGNALS, signals, tidied, worded
from routers.numeric import FloatArray
from routers.steps import Answer
from routers.workflows._crowd_fit import UNKNOWN, UNREAD
from routers.workflows.acceptors.base import unfit

_BLANKS_TOLD = 20
"""From so many answers on whose literal is empty it can be told whether that is an answer."""

_WORDINGS_TOLD, _WORDINGS_MATTER = 20, 0.2
"""From so many answers on that word a literal in another way than one before it can be told whether
that matters to who grades them, and from which share of them on, graded otherwise, it does."""


_RIGHT = 0.5
_WORDINGS_READ = 1000
"""Queries whose answers are looked at for that."""


@dataclass(frozen=True, slots=True)
class Heard:
    """An answer that was heard.

    Attributes
    ----------
    column
        Of its model.
    literal
        The number of what it says among what was said to the query; None where it says nothing.
    """

    answer: Answer
    column: int
    reading: Reading | None
    literal: int | None
    signals: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LiteralReader:
    """How answers are compared.

    Attributes
    ----------
    blank_answers
        Whether a recorded literal that is empty is an answer like others (an empty string), as
        opposed to one that could not be read.
    as_worded
        Whether recorded literals that are equal are other answers where the texts have them with
        other white space or quotes.
    """

    by: Normaliser
    blank_answers: bool = False
    as_worded: bool = False
    _compare: Comparing = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_compare", Comparing(by=self.by))

    @classmethod
    def fit(cls, answers: RecordedAnswers, quality: np.ndarray, by: Normaliser) -> Self:
        """Tell from grades whether empty literals are answers, and whether wordings matter."""
        told = np.asarray(answers.literals != None, bool) & ~np.isnan(quality)  # noqa: E711
        blank = told & np.asarray(answers.literals == "", bool)
        others = told & ~blank
        answer = bool(
            blank.sum() >= _BLANKS_TOLD
            and others.any()
            and quality[blank].mean() > quality[others].mean() / 2
        )
        return cls(by=by, blank_answers=answer, as_worded=_wordings_matter(answers, quality))

    def read(self, text: str | None, literal: str | None) -> Reading | None:
        """Return what an answer comes down to; None where it says nothing."""
        if literal is None:
            return None if text is None else self._compare.read(text)
        found = tidied(literal) or (BLANK if self.blank_answers else "")
        if self.as_worded and text is not None:
            found = worded(found, text)
        return Reading("told", found) if found else None

    def same(self, a: Reading, b: Reading) -> bool:
        """Return whether two answers say the same."""
        return self._compare.same(a, b)

    def hear(self, answer: Answer, column: int, heard: Sequence[Heard]) -> Heard:
        """Return an answer among those that were heard before it."""
        # Without texts a recording gives the literal in their place, which tells no length.
        text = None if answer.text == answer.literal else answer.text or None
        usable = answer.literal is not None or unfit(answer) is None
        reading = self.read(text, answer.literal) if usable else None
        literal = None
        if reading is not None:
            before = {each.literal: each.reading for each in reversed(heard) if each.reading}
            literal = next(
                (n for n, said in before.items() if self.same(said, reading)), len(before)
            )
        return Heard(answer, column, reading, literal, seen_of(text, reading))


def _wordings_matter(answers: RecordedAnswers, quality: np.ndarray) -> bool:
    """Return whether answers of one literal in other words are often graded otherwise."""
    if answers.texts is None:
        return False
    told = otherwise = 0
    for row in range(min(len(answers), _WORDINGS_READ)):
        literals, texts = answers.literals[row], answers.texts[row]
        first: dict[str, tuple[str, float]] = {}
        for literal, text, grade in zip(literals, texts, quality[row].tolist(), strict=True):
            if not literal or not text or grade != grade:  # noqa: PLR0124  (NaN)
                continue
            tidy = tidied(literal)
            wording = worded(tidy, text)
            known, known_grade = first.setdefault(tidy, (wording, grade))
            if known != wording:
                told += 1
                otherwise += (grade > _RIGHT) != (known_grade > _RIGHT)
    return told >= _WORDINGS_TOLD and otherwise > _WORDINGS_MATTER * told


def seen_of(text: str | None, reading: Reading | None) -> tuple[float, ...]:
    """Return the signals of an answer."""
    literal = "" if reading is None or reading.literal is None else str(reading.literal)
    return signals(text, literal)


def read_recorded(
    reader: LiteralReader, answers: RecordedAnswers
) -> tuple[NDArray[np.intp], FloatArray]:
    """Return which recorded answers say the same, and what is seen of each.

    Returns
    -------
    literals, signals
        (n_queries, n_models), numbered within a query, UNREAD or UNKNOWN; and with n_signals more.
    """
    shape = answers.literals.shape
    literals = np.full(shape, UNKNOWN, np.intp)
    seen = np.full((*shape, len(SIGNALS)), np.nan)
    for row in range(shape[0]):
        told = answers.literals[row]
        texts = [None] * shape[1] if answers.texts is None else answers.texts[row]
        said: list[Reading] = []
        for column, (literal, text) in enumerate(zip(told, texts, strict=True)):
            if literal is None and text is None:
                continue
            reading = reader.read(text or None, literal)
            seen[row, column] = seen_of(text or None, reading)
            if reading is None:
                literals[row, column] = UNREAD
                continue
            number = next((n for n, each in enumerate(said) if reader.same(each, reading)), None)
            if number is None:
                number = len(said)
                said.append(reading)
            literals[row, column] = number
    return literals, seen
