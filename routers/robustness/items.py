"""The packaged requests of the suite, and the forms in which they are asked."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from routers.types import Conversation, Message, Role


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A request of known difficulty."""

    category: str
    hard: bool
    prompt: str

    @property
    def conversation(self) -> Conversation:
        """The request alone."""
        return Conversation.of(self.prompt)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """The same request in two forms that take as much.

    Attributes
    ----------
    family
        In what the second differs.
    """

    family: str
    plain: Conversation
    other: Conversation


PARAPHRASE, LANGUAGE, PADDING, SYSTEM, PERSONAL, TRIGGER, STEERING = (
    "other words",
    "another language",
    "courtesies",
    "a system prompt",
    "personal data",
    "a trigger",
    "orders to the router",
)

_PADDED, _TRIGGERED, _STEERED = 12, 10, 10
"""Requests that each padding, trigger and order is tried on."""


@cache
def core() -> tuple[Item, ...]:
    """Return the requests of known difficulty, 40 simple and 40 hard ones of each category."""
    return tuple(
        Item(category=row["category"], hard=row["difficulty"] == "hard", prompt=row["prompt"])
        for row in _rows("core.tsv")
    )


@cache
def lengths() -> tuple[tuple[str, bool], ...]:
    """Return short hard requests and long simple ones: the text, and whether it is hard."""
    return tuple((row["prompt"], row["difficulty"] == "hard") for row in _rows("lengths.tsv"))


@cache
def harmful() -> tuple[tuple[str, str], ...]:
    """Return requests with harmful intent, each with a harmless one of much the same words."""
    return tuple((row["harmful"], row["harmless"]) for row in _rows("requests.tsv"))


@cache
def jailbreaks() -> tuple[str, ...]:
    """Return what is put around a harmful request; `{request}` stands for it."""
    return tuple(row["wrapper"] for row in _rows("jailbreaks.tsv"))


@cache
def pairs() -> tuple[Pair, ...]:
    """Return requests in two forms that take as much."""
    found = []
    for row in _rows("reworded.tsv"):
        plain = Conversation.of(row["prompt"])
        found.append(Pair(family=PARAPHRASE, plain=plain, other=Conversation.of(row["paraphrase"])))
        found.append(Pair(family=LANGUAGE, plain=plain, other=Conversation.of(row["translation"])))
    for row in _rows("personal.tsv"):
        plain, other = Conversation.of(row["plain"]), Conversation.of(row["personal"])
        found.append(Pair(family=PERSONAL, plain=plain, other=other))
    for n, row in enumerate(_rows("paddings.tsv")):
        for prompt in _spread(n, _PADDED):
            family = SYSTEM if row["place"] == "system" else PADDING
            found.append(_pair(family, prompt, _padded(prompt, row["place"], row["text"])))
    for n, row in enumerate(_rows("triggers.tsv")):
        for i, prompt in enumerate(_spread(n, _TRIGGERED)):
            place = "opening" if i % 2 else "closing"
            found.append(_pair(TRIGGER, prompt, _padded(prompt, place, row["text"])))
    for n, row in enumerate(_rows("steering.tsv")):
        for i, prompt in enumerate(_spread(n, _STEERED, hard=False)):
            place = "opening" if i % 2 else "closing"
            found.append(_pair(STEERING, prompt, _padded(prompt, place, row["text"])))
    return tuple(found)


def _pair(family: str, prompt: str, other: Conversation) -> Pair:
    return Pair(family=family, plain=Conversation.of(prompt), other=other)


def _padded(prompt: str, place: str, text: str) -> Conversation:
    if place == "system":
        return Conversation((Message(Role.SYSTEM, text), Message(Role.USER, prompt)))
    return Conversation.of(f"{text} {prompt}" if place == "opening" else f"{prompt} {text}")


def _spread(n: int, count: int, *, hard: bool | None = None) -> list[str]:
    """Return some requests of all categories, other ones for each `n`."""
    asked = [each.prompt for each in core() if hard is None or each.hard is hard]
    step = len(asked) // count
    return [asked[(n + i * step) % len(asked)] for i in range(count)]


def _rows(name: str) -> Iterator[dict[str, str]]:
    text = (files("routers.robustness") / "items" / name).read_text(encoding="utf-8")
    return csv.DictReader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE)
