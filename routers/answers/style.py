"""How models write: how easy their answers are to read, and how long they are."""

from collections import defaultdict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass

import numpy as np

from routers.text.readability import reading_ease


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """What a model's answers are like.

    Attributes
    ----------
    readability
        Flesch's reading ease, on the mean query; None where no answer is long enough to tell.
    n_answers
        How many it rests on.
    median_words
        Of all answers.
    """

    readability: float | None
    n_answers: int
    median_words: float


def styles(texts: Mapping[str, Mapping[Hashable, str]]) -> dict[str, Style]:
    """Return what the answers of every model are like, on the same queries.

    What is asked decides more of how an answer reads than who answers. So a model's ease is how
    far it differs, on the queries it answered, from the mean of all models that answered them,
    added to the mean over queries; models that answered different ones can be compared as far as
    some answered both.

    Parameters
    ----------
    texts
        Of answers, by model and query.
    """
    ease = {
        model: {
            query: found
            for query, text in answers.items()
            if (found := reading_ease(text)) is not None
        }
        for model, answers in texts.items()
    }
    by_query: dict[Hashable, list[float]] = defaultdict(list)
    for told in ease.values():
        for query, value in told.items():
            by_query[query].append(value)
    means = {query: float(np.mean(values)) for query, values in by_query.items()}
    overall = float(np.mean(list(means.values()))) if means else 0.0
    return {
        model: Style(
            readability=overall + float(np.mean([ease[model][q] - means[q] for q in ease[model]]))
            if ease[model]
            else None,
            n_answers=len(ease[model]),
            median_words=float(np.median([len(text.split()) for text in answers.values()])),
        )
        for model, answers in texts.items()
    }
