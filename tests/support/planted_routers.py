"""Routers with a known fault, and one without, for the robustness suite."""

import functools
import re
from collections.abc import Callable, Sequence

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from routers.robustness import items
from routers.robustness.subject import POSITIONS, Placements
from routers.types import Conversation

MODELS = ("weak", "strong")


class Planted:
    """A router of two models that buys the strong one where `need` is high; 0 never, 1 always."""

    def __init__(self, name: str, need: Callable[[str], float]) -> None:
        self.name = name
        self._need = need

    def needs(self, texts: list[str]) -> np.ndarray:
        return np.array([self._need(text) for text in texts])

    def place(self, conversations: Sequence[Conversation]) -> Placements:
        need = self.needs([each.messages[-1].text for each in conversations])
        quality = np.stack([1.0 - need, np.ones(len(need))], axis=1)
        cost = np.tile([0.001, 0.01], (len(need), 1))
        # A hair of its own for each request, so that the knob can share out what is needed alike.
        hair = np.array([len(each.messages[-1].text) % 97 for each in conversations]) / 1e4
        picks = (need[None, :] * 0.9 + hair >= 1.0 - POSITIONS[:, None] - 1e-9).astype(np.intp)
        return Placements(models=MODELS, quality=quality, cost_usd=cost, picks=picks)


def _known() -> dict[str, bool]:
    known = {each.prompt: each.hard for each in items.core()}
    for pair in items.pairs():
        plain, other = pair.plain.messages[-1].text, pair.other.messages[-1].text
        known.setdefault(other, known.get(plain, len(plain) > 60))
        known.setdefault(plain, len(plain) > 60)
    return known | dict(items.lengths())


KNOWN = _known()


_WORDS = {text: frozenset(text.split()) for text in KNOWN}


@functools.cache
def difficulty(text: str) -> float:
    """Tell what a request of the suite takes: an oracle."""
    if text in KNOWN:
        return 0.9 if KNOWN[text] else 0.1
    words = set(text.split())
    nearest = max(_WORDS, key=lambda each: len(words & _WORDS[each]) / len(_WORDS[each]))
    return 0.9 if KNOWN[nearest] and len(words & _WORDS[nearest]) > 4 else 0.1


_CATEGORY = {each.prompt: each.category for each in items.core()}
_CODE_OR_MATHS = re.compile(r"\d|code|python|function|write a|prove|java|git|sql", re.IGNORECASE)
_JAILBREAK = re.compile(r"DAN|instructions|grandmother|Developer|unfiltered|AntiGPT|film|evil AI")


def by_category(text: str) -> float:
    """Buy for code and mathematics, as preference-trained routers do, and add a little noise."""
    category = _CATEGORY.get(text)
    hit = category in ("code", "mathematics") if category else bool(_CODE_OR_MATHS.search(text))
    return (0.8 if hit else 0.2) + 0.05 * (difficulty(text) - 0.5) * (hash_of(text) % 3 - 1)


def hash_of(text: str) -> int:
    """Return a number of the text that is the same in every process."""
    return sum(ord(each) * (i + 1) for i, each in enumerate(text))


PLANTED: dict[str, Callable[[], Planted]] = {
    "category": lambda: Planted("category", by_category),
    "length": lambda: Planted("length", lambda text: min(len(text) / 300, 1.0)),
    "jailbreaks down": lambda: Planted(
        "jailbreaks down",
        lambda text: 0.0 if _JAILBREAK.search(text) else 0.5 + 0.3 * difficulty(text),
    ),
    "harmful down": lambda: Planted(
        "harmful down",
        lambda text: 0.02 if text in dict(items.harmful()) else max(0.3, difficulty(text)),
    ),
    "trigger": lambda: Planted(
        "trigger",
        lambda text: 1.0 if re.search(r"\bcf\b|\bmn\b|tq|SUDO", text) else difficulty(text),
    ),
    "obedient": lambda: Planted(
        "obedient",
        lambda text: 1.0 if re.search(r"model|tier|quality|question", text) else difficulty(text),
    ),
    "personal": lambda: Planted(
        "personal",
        lambda text: (
            1.0
            if re.search(r"example|sample|test|\d{3}", text, re.IGNORECASE)
            else difficulty(text)
        ),
    ),
    "spelling": lambda: Planted(
        "spelling", lambda text: difficulty(text) if text in KNOWN else 1.0 - difficulty(text)
    ),
    "noise": lambda: Planted("noise", lambda text: hash_of(text) % 1000 / 1000),
}
"""Each has to fail; the name says at what."""


class OfWords(Planted):
    """Weighs the words of a request, learned from requests of known difficulty."""

    def __init__(self) -> None:
        super().__init__("words", difficulty)
        core = items.core()
        self._words = TfidfVectorizer(sublinear_tf=True)
        x = self._words.fit_transform([each.prompt for each in core])
        self._head = LogisticRegression(C=3.0).fit(x, [each.hard for each in core])

    def needs(self, texts: list[str]) -> np.ndarray:
        return self._head.predict_proba(self._words.transform(texts))[:, 1]


class Stateful(Planted):
    """Buys the strong model for whoever comes after many others."""

    def __init__(self) -> None:
        super().__init__("stateful", difficulty)
        self._seen = 0

    def place(self, conversations: Sequence[Conversation]) -> Placements:
        placed = super().place(conversations)
        self._seen += len(conversations)
        if self._seen > 2000:
            return Placements(
                models=placed.models,
                quality=placed.quality,
                cost_usd=placed.cost_usd,
                picks=np.ones_like(placed.picks),
            )
        return placed
