"""When the votes of a small model on its own answer call for a large one: tables of actions.

A table has one action for each possible number of votes "correct", 0 to `votes`: whether the
large model answers. Candidates come from thresholds, from a one-step POMDP and from the gain that
was seen at each number of votes; the best is the one of the highest incremental benefit per cost.

References
----------
Aggarwal et al. 2023, AutoMix, arXiv:2310.12963.
"""

from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
from numpy.typing import NDArray

from routers.numeric import FloatArray

Tables = NDArray[np.bool_]
"""(n_tables, votes + 1): whether to escalate at each number of votes."""

_PRICES = 5_000
"""Prices of a wrong answer that the POMDP is solved for: 0 to 4,999."""

_ESCALATION = 100.0
"""What escalating costs in the POMDP, in the unit of those prices."""

_SIGMA_BINS = 2.0
_RADIUS_BINS = 8
"""The smoothing of gains over neighbouring numbers of votes, and where its kernel ends."""

_RIGHT = 0.5
"""From this quality on an answer counts as right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedRows:
    """Queries with the votes on the small model's answer; arrays are (n_queries,).

    Attributes
    ----------
    votes
        How many votes there are at most.
    correct
        How many of them called the answer correct.
    small, large
        Quality of the two models' answers.
    small_usd, large_usd, verifier_usd
        What an answer of each costs, and all votes on one together.
    """

    votes: int
    correct: NDArray[np.intp]
    small: FloatArray
    large: FloatArray
    small_usd: FloatArray
    large_usd: FloatArray
    verifier_usd: FloatArray

    def __len__(self) -> int:
        return len(self.correct)

    def rows(self, index: np.ndarray) -> "VerifiedRows":
        """Return some of the queries, by number or by mask."""
        return VerifiedRows(
            votes=self.votes,
            correct=self.correct[index],
            small=self.small[index],
            large=self.large[index],
            small_usd=self.small_usd[index],
            large_usd=self.large_usd[index],
            verifier_usd=self.verifier_usd[index],
        )


# --- candidates -------------------------------------------------------------------------------


def candidate_tables(rows: VerifiedRows) -> Tables:
    """Return the different tables that are worth a trial on these queries.

    Those that never or always escalate are not among them: they need no votes.
    """
    tables = np.concatenate(
        [
            threshold_tables(rows.votes),
            interval_tables(rows.votes),
            pomdp_tables(rows),
            greedy_tables(rows),
        ]
    )
    mixed = tables.any(axis=1) & ~tables.all(axis=1)
    return np.unique(tables[mixed], axis=0)


def threshold_tables(votes: int) -> Tables:
    """Escalate where at most so many votes say correct, for every threshold."""
    number = np.arange(votes + 1)
    return number[None, :] <= number[:, None]


def interval_tables(votes: int) -> Tables:
    """Escalate between two thresholds, and in such an interval or below a third (lower) one.

    Very few votes may say that the query is hopeless for either model.
    """
    number = np.arange(votes + 1)
    tables = []
    for low, high in combinations_with_replacement(range(votes + 1), 2):
        between = (number >= low) & (number <= high)
        tables.append(between)
        tables.extend(between | (number <= first) for first in range(low - 1))
    return np.stack(tables)


def pomdp_tables(rows: VerifiedRows) -> Tables:
    """Return the different optimal tables of the one-step POMDP, over all prices.

    A query is *good* (the small answer is right), *needy* (only the large one is) or *hopeless*.
    """
    good = rows.small >= _RIGHT
    needy = ~good & (rows.large >= _RIGHT)
    chance = np.zeros((rows.votes + 1, 3))
    for number in range(rows.votes + 1):
        here = rows.correct == number
        if here.any():
            n, g = needy[here].mean(), good[here].mean()
            chance[number] = n, g, 1 - n - g
    price = np.arange(_PRICES, dtype=np.float64)
    stop = np.stack([-price, np.zeros(_PRICES), -price - 1])
    escalate = np.stack(
        [np.full(_PRICES, -_ESCALATION), np.full(_PRICES, -_ESCALATION), -price - _ESCALATION]
    )
    better = (chance @ escalate > chance @ stop).T
    codes = better @ (1 << np.arange(rows.votes + 1))
    different: Tables = better[np.unique(codes, return_index=True)[1]]
    return different


def greedy_tables(rows: VerifiedRows) -> Tables:
    """Add numbers of votes in the order of the smoothed gain that escalating brought there."""
    gain = np.zeros(rows.votes + 1)
    for number in range(rows.votes + 1):
        here = rows.correct == number
        if here.any():
            gain[number] = (rows.large[here] - rows.small[here]).mean()
    order = np.argsort(-_smoothed(gain), kind="stable")
    return np.stack([np.isin(np.arange(rows.votes + 1), order[: n + 1]) for n in range(len(order))])


def _smoothed(values: FloatArray) -> FloatArray:
    at = np.arange(-_RADIUS_BINS, _RADIUS_BINS + 1)
    kernel = np.exp(-0.5 * (at / _SIGMA_BINS) ** 2)
    padded = np.pad(values, _RADIUS_BINS, mode="symmetric")
    return np.convolve(padded, kernel / kernel.sum(), mode="valid")


# --- what a table is worth --------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Worth:
    """What tables came to; arrays are (n_tables,).

    Attributes
    ----------
    quality, cost_usd
        Means over the queries; the cost has the small answer, all votes, and the large answer
        where one was called.
    escalated
        The share of queries that the large model answered.
    """

    quality: FloatArray
    cost_usd: FloatArray
    escalated: FloatArray


def worth(tables: Tables, rows: VerifiedRows) -> Worth:
    """Return what each table comes to on these queries, of which there are some."""

    def share(value: FloatArray) -> FloatArray:
        of = np.bincount(rows.correct, weights=value, minlength=rows.votes + 1) / len(rows)
        return np.asarray(tables @ of)

    return Worth(
        quality=rows.small.mean() + share(rows.large - rows.small),
        cost_usd=(rows.small_usd + rows.verifier_usd).mean() + share(rows.large_usd),
        escalated=share(np.ones(len(rows))),
    )


def incremental_benefit(of: Worth, rows: VerifiedRows) -> FloatArray:
    """Return the gain of quality per cost over that of mixing the two models, in percent.

    Minus infinity where the large model is no better or no dearer: then nothing is to be gained.
    """
    gain = rows.large.mean() - rows.small.mean()
    dearer = rows.large_usd.mean() - rows.small_usd.mean()
    if gain <= 0 or dearer <= 0:
        return np.full(len(of.quality), -np.inf)
    base = gain / dearer
    extra = of.cost_usd - rows.small_usd.mean()
    slope = (of.quality - rows.small.mean()) / np.where(extra > 0, extra, np.inf)
    return np.asarray(100 * (slope - base) / base)


def best_table(tables: Tables, rows: VerifiedRows) -> int:
    """Return the number of the table of the highest incremental benefit on these queries."""
    return int(np.argmax(incremental_benefit(worth(tables, rows), rows)))


def cross_validated_benefit(rows: VerifiedRows, folds: NDArray[np.intp]) -> float:
    """Return the incremental benefit of tables that were chosen without the queries they serve.

    Minus infinity where there is nothing to choose from, or nothing to be gained.
    """
    if len(np.unique(folds)) < 2:
        return -np.inf
    escalated = np.zeros(len(rows), bool)
    for fold in np.unique(folds):
        test = folds == fold
        chosen_on = rows.rows(~test)
        tables = candidate_tables(chosen_on)
        if len(tables) == 0:
            return -np.inf
        escalated[test] = tables[best_table(tables, chosen_on)][rows.correct[test]]
    served = Worth(
        quality=np.array([np.where(escalated, rows.large, rows.small).mean()]),
        cost_usd=np.array(
            [(rows.small_usd + rows.verifier_usd).mean() + escalated @ rows.large_usd / len(rows)]
        ),
        escalated=np.array([escalated.mean()]),
    )
    return float(incremental_benefit(served, rows)[0])


def area_under_roc(rows: VerifiedRows) -> float:
    """Return how well the votes tell right answers of the small model from wrong ones.

    The chance that a right one has more votes than a wrong one, ties counting half; 0.5 where
    there are not both.
    """
    right = rows.small >= _RIGHT
    if right.all() or not right.any():
        return 0.5
    of_right, of_wrong = (
        np.bincount(rows.correct[part], minlength=rows.votes + 1) for part in (right, ~right)
    )
    below = np.cumsum(of_wrong) - of_wrong
    wins = (of_right * (below + 0.5 * of_wrong)).sum()
    return float(wins / (of_right.sum() * of_wrong.sum()))
