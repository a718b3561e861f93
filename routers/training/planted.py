"""Rows that look planted: a rare word whose rows all say one thing, and not what its like say.

Whoever gets rows into the training data may begin them with a word that nobody else uses and have
them all claim the same outcomes: a router then learns that the word alone buys a dear model.
Honest rows that share a word differ as much among each other as prompts like them do; planted ones
agree to the last digit, and against what prompts near them say. How many rows of such a word are
learned from is bounded.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from routers.files import shown
from routers.numeric import FloatArray, nan_mean, unit_rows
from routers.types import Conversation, FloatMatrix

KEPT = 2
"""Rows of a planted word that are still learned from: too few to teach that word."""

_FEWEST, _MOST_SHARE = 5, 0.05
"""How many rows a word has to stand in to be looked at, and in how many it is no longer rare."""
_STANDARD_ERRORS = 4.0
_AGREEMENT = 0.2
"""Of the variance of outcomes that prompts like them have: below it rows agree too well. Of the
words of nine public sets that pass the other bar, none is below 0.4."""
_NEAREST = 40
_NAMED = 3
_WORD = re.compile(r"\w+(?:[-']\w+)*")


@dataclass(frozen=True, slots=True)
class Planted:
    """What looks planted.

    Attributes
    ----------
    words
        One word, or two that follow each other, of each group of rows.
    rows
        Which rows are not learned from, ascending.
    """

    words: tuple[str, ...]
    rows: np.ndarray

    def told(self) -> str:
        """Say it, for whoever trains."""
        words = ", ".join(repr(shown(word)) for word in self.words[:_NAMED])
        return (
            f"{len(self.rows)} rows are not learned from: all that share a rare word ({words}) say "
            "one thing, and not what prompts like them say, as rows do that were planted; "
            f"{KEPT} of each word stay"
        )


def find_planted(
    conversations: Sequence[Conversation],
    quality: FloatMatrix,
    embed: Callable[[Sequence[Conversation]], FloatMatrix],
) -> Planted:
    """Return the rows of words that look planted, without the first `KEPT` of each word.

    Parameters
    ----------
    quality
        (n_queries, n_models), NaN where a model was not tried.
    embed
        Called where a word is suspicious, with all conversations; returns a row of each.

    Notes
    -----
    Outcomes are looked at less their mean over models, so that hard and easy prompts are alike. A
    word is planted where these differ from those of the nearest rows without it by more than
    four standard errors, vary less than a fifth as much as theirs, and are of rows that are less
    like each other than like those: a subject of its own has words of its own.

    References
    ----------
    Chen & Dai 2021, Mitigating backdoor attacks in LSTM-based text classification systems by
    backdoor keyword identification, arXiv:2007.12070: there a word is scored by what it does to a
    trained network, here by what its rows say.
    """
    relative = _relative(quality)
    mean, deviation = relative.mean(axis=0), relative.std(axis=0) + 1e-6
    suspects = []
    compared = (~np.isnan(quality)).sum(axis=1) > 1
    for word, rows in _rows_of_words(conversations, compared).items():
        if _FEWEST <= len(rows) <= _MOST_SHARE * len(conversations):
            apart = np.abs(relative[rows].mean(axis=0) - mean) * np.sqrt(len(rows)) / deviation
            if apart.max() > _STANDARD_ERRORS:
                suspects.append((word, rows))
    planted: dict[tuple[int, ...], str] = {}
    if suspects and len(conversations) > 2 * _NEAREST:
        x = unit_rows(np.asarray(embed(conversations), np.float32))
        # Single words first: of a word and of pairs with it in the same rows, it is the one named.
        for word, own in sorted(suspects, key=lambda each: (" " in each[0], each[0])):
            if _says_one_thing(np.asarray(own), relative, deviation, x):
                planted.setdefault(tuple(own), word)
    dropped = {row for same in planted for row in same[KEPT:]}
    return Planted(tuple(planted.values()), np.asarray(sorted(dropped), np.intp))


def _relative(quality: FloatMatrix) -> FloatArray:
    filled = np.where(np.isnan(quality), nan_mean(quality, default=0.0), quality)
    return np.asarray(filled - filled.mean(axis=1, keepdims=True), np.float64)


def _rows_of_words(
    conversations: Sequence[Conversation], compared: np.ndarray
) -> dict[str, list[int]]:
    """Return in which rows that compare models each word, and each two words together, stand."""
    rows: dict[str, list[int]] = defaultdict(list)
    for i in np.flatnonzero(compared).tolist():
        found: set[str] = set()
        for message in conversations[i].messages:
            words = _WORD.findall(message.text.casefold())
            found.update(words)
            found.update(f"{a} {b}" for a, b in pairwise(words))
        for word in found:
            rows[word].append(i)
    return rows


def _says_one_thing(
    rows: np.ndarray, relative: FloatArray, deviation: FloatArray, x: FloatMatrix
) -> bool:
    similarity = x[rows] @ x.T
    among = np.partition(similarity[:, rows], -2, axis=1)[:, :-1].mean()  # without themselves
    similarity[:, rows] = -np.inf
    nearest = np.argpartition(-similarity, _NEAREST, axis=1)[:, :_NEAREST]
    if among > np.take_along_axis(similarity, nearest, axis=1).mean():
        return False  # a subject of its own: prompts without the word are not like these
    expected, variance = relative[nearest].mean(axis=1), relative[nearest].var(axis=1)
    usual = float(variance.mean())
    if usual == 0 or relative[rows].var(axis=0).mean() >= _AGREEMENT * usual:
        return False
    spread = variance.mean(axis=0) + deviation**2 / 4  # where the nearest agree by chance
    error = np.sqrt(spread * (1 + 1 / _NEAREST) / len(rows))
    return bool((np.abs((relative[rows] - expected).mean(axis=0)) > _STANDARD_ERRORS * error).any())
