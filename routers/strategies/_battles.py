"""Comparisons of models, as given or made out of outcomes."""

import numpy as np

from routers.base import Battles, Labels
from routers.numeric import row_blocks
from routers.types import FloatMatrix, FloatVector


def battles_of(labels: Labels, *, pairs_per_query: int, rng: np.random.Generator) -> Battles:
    """Return the battles that the labels carry, or else those that their outcomes imply."""
    if labels.battles is not None:
        return labels.battles
    return from_outcomes(labels.quality, pairs_per_query=pairs_per_query, rng=rng)


def from_outcomes(
    quality: FloatMatrix, *, pairs_per_query: int, rng: np.random.Generator
) -> Battles:
    """Let random pairs of models compete on every query: the higher quality wins.

    Parameters
    ----------
    quality
        (n_queries, n_models); NaN where a model was not tried.
    pairs_per_query
        At most so many different pairs are drawn from those that were both tried.
    """
    n_models = quality.shape[1]
    first, second = np.triu_indices(n_models, 1)
    k = min(pairs_per_query, len(first))
    rows, pairs = [np.empty(0, np.intp)], [np.empty(0, np.intp)]
    for block in row_blocks(len(quality), len(first)):
        known = ~np.isnan(quality[block])
        key = rng.random((len(known), len(first)))
        key[~(known[:, first] & known[:, second])] = np.inf
        drawn = np.argpartition(key, k - 1, axis=1)[:, :k] if k else np.empty((len(known), 0), int)
        at, place = np.nonzero(np.isfinite(np.take_along_axis(key, drawn, axis=1)))
        rows.append(at + block.start)
        pairs.append(drawn[at, place])
    row, pair = np.concatenate(rows), np.concatenate(pairs)
    # Which of the two stands first is drawn too, so that nothing can be learned from it.
    swap = rng.random(len(row)) < 0.5
    a = np.where(swap, second[pair], first[pair])
    b = np.where(swap, first[pair], second[pair])
    outcome = (np.sign(quality[row, a] - quality[row, b]) + 1) / 2
    return Battles(row=row, a=a, b=b, outcome=outcome.astype(np.float32))


def win_share_error(battles: Battles, n_models: int) -> FloatVector:
    """Return the standard error of every model's share of battles won, (n_models,)."""
    fought = np.bincount(battles.a, minlength=n_models) + np.bincount(battles.b, minlength=n_models)
    won = np.bincount(battles.a, battles.outcome, minlength=n_models)
    won = won + np.bincount(battles.b, 1 - battles.outcome, minlength=n_models)
    # One more win and one more loss: nobody is certain after a few battles.
    share = (won + 1) / (fought + 2)
    return np.asarray(np.sqrt(share * (1 - share) / (fought + 2)), np.float32)
