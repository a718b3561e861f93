"""The rerouting attack: words in front of any request that make a router buy a strong model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from routers.numeric import FloatArray
from routers.types import Conversation

Score = Callable[[Sequence[Conversation]], FloatArray]
"""Gives (n_requests,), how much the router believes each to need a strong model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """What an attacker spends.

    Attributes
    ----------
    n_words
        Length of the gadget.
    n_rounds, n_candidates
        Positions that are tried one after another, and words tried at each.
    n_queries
        Requests over which a gadget's score is averaged.
    """

    n_words: int = 10
    n_rounds: int = 30
    n_candidates: int = 16
    n_queries: int = 6

    @property
    def n_questions(self) -> int:
        """How many decisions it takes."""
        return (self.n_rounds * self.n_candidates + 1) * self.n_queries


def find_gadget(
    score: Score,
    requests: Sequence[str],
    words: Sequence[str],
    *,
    effort: Effort,
    rng: np.random.Generator,
) -> str:
    """Climb to a prefix that raises the mean score of `requests`, whatever they ask.

    Parameters
    ----------
    requests
        The attacker's own; at least `effort.n_queries`.
    words
        What gadgets are made of.

    References
    ----------
    Shafran et al. 2025, Rerouting LLM Routers, arXiv:2501.01818 (confounder gadgets, black box).
    """
    asked = list(requests[: effort.n_queries])
    gadget = [str(word) for word in rng.choice(words, effort.n_words)]
    best = float(score(with_gadget(" ".join(gadget), asked)).mean())
    for _ in range(effort.n_rounds):
        at = int(rng.integers(effort.n_words))
        tried = [
            [*gadget[:at], str(word), *gadget[at + 1 :]]
            for word in rng.choice(words, effort.n_candidates)
        ]
        posed = [each for words_ in tried for each in with_gadget(" ".join(words_), asked)]
        found = np.asarray(score(posed)).reshape(len(tried), len(asked)).mean(axis=1)
        if found.max() > best:
            best, gadget = float(found.max()), tried[int(found.argmax())]
    return " ".join(gadget)


def with_gadget(gadget: str, requests: Sequence[str]) -> list[Conversation]:
    """Return the requests with the gadget in front."""
    return [Conversation.of(f"{gadget} {each}".strip()) for each in requests]
