"""A made-up world of questions with documents: who answers best changes with what they say.

`alone` knows much by itself and makes little of documents; `reader`, the cheapest, knows little and
answers by good documents; `large`, the dearest, is a little better than `alone` at everything.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from routers.types import Conversation, Document

MODELS = ("alone", "reader", "large")
USD_PER_ANSWER = (3.0, 1.0, 10.0)
_KNOWS = (0.7, 0.45, 0.76)
_BY_GOOD = (0.72, 0.93, 0.79)
_BY_OTHER = (0.68, 0.42, 0.76)

_SYLLABLES = ("ba", "ce", "di", "fo", "gu", "ka", "le", "mi", "no", "pu", "ra", "se", "ti", "vo")
_FILLERS = "the of and in was a is that by for it on as with from at"
_FILLER = tuple(_FILLERS.split())


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Questions, the documents that were found for each, and the chance of a good answer.

    Attributes
    ----------
    good
        bool (n,): whether the documents tell what is asked.
    chance, quality
        (n, n_models), with the documents; `bare_chance` and `bare_quality` without them.
    """

    questions: tuple[str, ...]
    documents: tuple[tuple[str, ...], ...]
    good: np.ndarray
    chance: np.ndarray
    quality: np.ndarray
    bare_chance: np.ndarray
    bare_quality: np.ndarray

    def with_documents(self) -> list[Conversation]:
        """Return the requests as they come."""
        return [ask(*each) for each in zip(self.questions, self.documents, strict=True)]

    def bare(self) -> list[Conversation]:
        """Return the questions alone."""
        return [Conversation.of(question) for question in self.questions]

    def shuffled(self, rng: np.random.Generator) -> list[Conversation]:
        """Return every question with the documents of another one."""
        order = np.roll(rng.permutation(len(self.questions)), 1)
        return [
            ask(question, self.documents[other])
            for question, other in zip(self.questions, order, strict=True)
        ]


def ask(question: str, documents: Sequence[str]) -> Conversation:
    """Return a question with documents declared."""
    return Conversation.of(question) if not documents else _with(question, documents)


def _with(question: str, documents: Sequence[str]) -> Conversation:
    plain = Conversation.of(question)
    return replace(plain, documents=tuple(Document(each, declared=True) for each in documents))


def draw(n: int, *, seed: int) -> World:
    """Draw questions; of every second the documents are good."""
    rng = np.random.default_rng(seed)
    names = [_name(rng) for _ in range(4 * n)]
    questions, documents = [], []
    good = rng.random(n) < 0.5
    for i in range(n):
        asked = names[4 * i : 4 * i + 3]
        questions.append(f"When did {asked[0].title()} {asked[1]} the {asked[2]}?")
        told = asked if good[i] else rng.choice(names, 3).tolist()
        documents.append(tuple(_document(told, names[4 * i + 3], rng) for _ in range(4)))
    chance = np.where(good[:, None], _BY_GOOD, _BY_OTHER)
    bare_chance = np.broadcast_to(np.array(_KNOWS), chance.shape).copy()
    return World(
        questions=tuple(questions),
        documents=tuple(documents),
        good=good,
        chance=chance,
        quality=(rng.random(chance.shape) < chance).astype(np.float32),
        bare_chance=bare_chance,
        bare_quality=(rng.random(chance.shape) < bare_chance).astype(np.float32),
    )


def _name(rng: np.random.Generator) -> str:
    return "".join(rng.choice(_SYLLABLES, 4))


def _document(told: Sequence[str], other: str, rng: np.random.Generator) -> str:
    words = [*told, other, str(rng.integers(1000, 2000)), *rng.choice(_FILLER, 20).tolist()]
    return " ".join(rng.permutation(words).tolist())


def records(world: World) -> list[dict[str, object]]:
    """Return the outcomes as lines of training data, those without documents beside the others."""
    return [
        {
            "query_id": str(row),
            "prompt": question,
            "documents": list(world.documents[row]),
            "model": model,
            "quality": float(world.quality[row, column]),
            "quality_without": float(world.bare_quality[row, column]),
            "output_tokens": 100,
            "cost_usd": USD_PER_ANSWER[column] * 1e-4,
        }
        for row, question in enumerate(world.questions)
        for column, model in enumerate(MODELS)
    ]
