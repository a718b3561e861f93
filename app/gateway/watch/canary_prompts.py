"""Questions whose answers are known by construction, from easy to hard; always the same ones."""

import calendar
import datetime as dt
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from routers.answers.references import exact_match

_SEED = 20_260_101
_WORDS = (
    *("lantern", "orchard", "velvet", "harbour", "compass", "thunder", "meadow", "granite"),
    *("whistle", "copper", "saffron", "pebble", "glacier", "timber", "marble", "juniper"),
)
_ROMAN = (
    *((1000, "M"), (900, "CM"), (500, "D"), (400, "CD"), (100, "C"), (90, "XC"), (50, "L")),
    *((40, "XL"), (10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I")),
)
_ASKED = "Reply with the answer alone: no words around it, no explanation."


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryPrompt:
    """One question.

    Attributes
    ----------
    hardness
        Roughly what share of models gets it wrong, in [0, 1]; what the simulated ones go by.
    """

    name: str
    question: str
    answer: str
    hardness: float

    @property
    def prompt(self) -> str:
        """What a model is asked."""
        return f"{self.question}\n{_ASKED}"

    def is_right(self, text: str) -> bool:
        """Return whether an answer is right; its last line counts where it has several."""
        lines = [line for line in text.strip().splitlines() if line.strip()]
        if not lines:
            return False
        said = lines[-1].replace(",", "").rpartition("=")[2]
        return exact_match(said, (self.answer,)) == 1.0


def _product(rng: random.Random) -> tuple[str, str]:
    a, b = rng.randint(12, 99), rng.randint(12, 99)
    return f"What is {a} * {b}?", str(a * b)


def _long_product(rng: random.Random) -> tuple[str, str]:
    a, b = rng.randint(123, 987), rng.randint(123, 987)
    return f"What is {a} * {b}?", str(a * b)


def _sum(rng: random.Random) -> tuple[str, str]:
    terms = [rng.randint(101, 989) for _ in range(4)]
    return f"What is {' + '.join(map(str, terms))}?", str(sum(terms))


def _remainder(rng: random.Random) -> tuple[str, str]:
    a, b = rng.randint(1_000, 9_999), rng.randint(7, 29)
    return f"What is the remainder when {a} is divided by {b}?", str(a % b)


def _letters(rng: random.Random) -> tuple[str, str]:
    words = rng.sample(_WORDS, 3)
    letter = rng.choice([each for each in "aeorlt" if each in "".join(words)])
    text = " ".join(words)
    return f'How many times does the letter "{letter}" occur in "{text}"?', str(text.count(letter))


def _reversed(rng: random.Random) -> tuple[str, str]:
    word = rng.choice(_WORDS) + rng.choice(_WORDS)[:3]
    return f'Write "{word}" backwards.', word[::-1]


def _weekday(rng: random.Random) -> tuple[str, str]:
    day = dt.date(2021, 1, 1) + dt.timedelta(days=rng.randrange(1_400))
    return f"Which day of the week was {day.isoformat()}?", calendar.day_name[day.weekday()]


def _sorted(rng: random.Random) -> tuple[str, str]:
    words = rng.sample(_WORDS, 4)
    text = ", ".join(words)
    return f"Of these words, which comes third in alphabetical order: {text}?", sorted(words)[2]


def _roman(rng: random.Random) -> tuple[str, str]:
    number = left = rng.randint(300, 2_999)
    written = ""
    for value, sign in _ROMAN:
        n, left = divmod(left, value)
        written += sign * n
    return f"Which number is {written} in decimal digits?", str(number)


def _binary(rng: random.Random) -> tuple[str, str]:
    number = rng.randint(70, 500)
    return f"Which decimal number is {number:b} in binary?", str(number)


_KINDS: tuple[tuple[str, float, Callable[[random.Random], tuple[str, str]]], ...] = (
    ("sum", 0.1, _sum),
    ("product", 0.2, _product),
    ("roman", 0.25, _roman),
    ("sorted", 0.3, _sorted),
    ("binary", 0.45, _binary),
    ("remainder", 0.5, _remainder),
    ("letters", 0.6, _letters),
    ("weekday", 0.65, _weekday),
    ("reversed", 0.7, _reversed),
    ("long_product", 0.8, _long_product),
)
_N_EACH = 3


def _made() -> Iterator[CanaryPrompt]:
    rng = random.Random(_SEED)  # noqa: S311  (the same ones everywhere, so that they compare)
    for number in range(_N_EACH):
        for name, hardness, make in _KINDS:
            question, answer = make(rng)
            yield CanaryPrompt(
                name=f"{name}-{number + 1}", question=question, answer=answer, hardness=hardness
            )


CANARY_PROMPTS = tuple(_made())
