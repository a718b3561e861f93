"""The best chains of models for every price of quality: which models, and when an answer will do.

References
----------
Chen et al. 2023, FrugalGPT, arXiv:2305.05176.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from routers.numeric import FloatArray

MAX_STAGES = 3

NO_MODEL = -1
"""In the place of a stage that a chain does not have."""

NEVER = 2.0
"""A threshold that no score reaches."""

_TIE = 1e-12
"""Values closer than this are the same, and the chain that was tried first stays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chains:
    """Chains of up to three models; the last one's answer is always accepted.

    Attributes
    ----------
    models
        intp (n_chains, 3): columns; `NO_MODEL` after the last stage.
    thresholds
        (n_chains, 2): the answer of a stage is accepted from this score on; 0 where it is not
        asked for one.
    reach
        (n_chains, 3), the share of queries that came to each stage.
    quality, cost_usd
        (n_chains,), means over the queries.
    """

    models: NDArray[np.intp]
    thresholds: FloatArray
    reach: FloatArray
    quality: FloatArray
    cost_usd: FloatArray

    def __len__(self) -> int:
        return len(self.models)

    @property
    def n_stages(self) -> NDArray[np.intp]:
        """How many models each chain has, (n_chains,)."""
        return np.asarray((self.models != NO_MODEL).sum(axis=1), np.intp)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """Queries that all models answered, with the score of every answer.

    Attributes
    ----------
    quality, cost_usd
        (n_queries, n_models).
    first
        (n_queries, n_models): how good an answer looks by itself.
    second
        (n_queries, n_models, n_models): `[:, i, j]` is how good the answer of j looks once that
        of i is known.
    """

    quality: FloatArray
    cost_usd: FloatArray
    first: FloatArray
    second: FloatArray

    def __len__(self) -> int:
        return len(self.quality)


def thresholds_of(scores: FloatArray, n_quantiles: int) -> FloatArray:
    """Return thresholds that turn down from few to all of some answers, `n_quantiles` at most.

    Each but the last is a score that was seen; one that turns down nothing is not among them.
    """
    distinct = np.unique(scores)
    if len(distinct) > n_quantiles:
        shares = np.linspace(0, 1, n_quantiles)
        distinct = np.unique(np.quantile(scores, shares, method="nearest"))
    return np.append(distinct[1:], NEVER)


def search(
    judged: Judged,
    *,
    rates: FloatArray,
    n_quantiles: int,
    budget_usd: float | None = None,
    max_stages: int = MAX_STAGES,
) -> Chains:
    """Return the best chain for each rate and first model, each of them once.

    Parameters
    ----------
    rates
        US dollars that one more unit of quality may cost; the value of a chain is its mean
        quality times the rate, less its mean cost.
    n_quantiles
        How many thresholds are tried for a stage: quantiles of the scores of what came to it.
    budget_usd
        A mean cost; the chain of the highest quality within it comes first. None for any.

    Notes
    -----
    Every permutation of up to `max_stages` models is tried with every pair of thresholds. Once
    the second stage's answers are sorted by score, sums over what each threshold turns down are
    those for all third models at once.
    """
    n_models = judged.quality.shape[1]
    bests = [_Best(rates, budget_usd) for _ in range(n_models)]
    for first, best in enumerate(bests):
        for block in _blocks(judged, first, n_quantiles, max_stages):
            best.offer(block)
    within = min((each.within for each in bests), key=lambda found: (-found[0], found[1]))
    found = [within[2], *(chain for each in bests for chain in each.chains)]
    return _measured(judged, list(dict.fromkeys(found)))


_Chain = tuple[tuple[int, ...], tuple[float, ...]]
"""Models and thresholds."""


@dataclass(frozen=True, slots=True)
class _Thirds:
    """The chains of a block by number, made when one is asked for."""

    first: int
    threshold: float
    seconds: Sequence[int]
    thresholds: Sequence[FloatArray]
    n_models: int

    def __getitem__(self, at: int) -> _Chain:
        second, third = divmod(at, self.n_models)
        for model, each in zip(self.seconds, self.thresholds, strict=True):
            if second < len(each):
                return (self.first, model, third), (self.threshold, float(each[second]))
            second -= len(each)
        raise IndexError(at)


@dataclass(frozen=True, slots=True)
class _Block:
    """Chains that begin alike; arrays are (n_seconds, n_thresholds, n_thirds)."""

    quality: FloatArray
    cost_usd: FloatArray
    chains: Sequence[_Chain] | _Thirds


class _Best:
    """The best chain with one first model for every rate, and the best within the budget."""

    def __init__(self, rates: FloatArray, budget_usd: float | None) -> None:
        # An infinite rate is one beside which no cost counts but to settle ties.
        finite = rates[np.isfinite(rates)]
        self._rates = np.where(np.isfinite(rates), rates, 1e6 * finite.max(initial=1.0))
        self._budget_usd = np.inf if budget_usd is None else budget_usd
        self._values = np.full(len(rates), -np.inf)
        self.chains: list[_Chain] = [((NO_MODEL,), ())] * len(rates)
        self.within: tuple[float, float, _Chain] = (-np.inf, np.inf, ((NO_MODEL,), ()))

    def offer(self, block: _Block) -> None:
        quality, cost = block.quality.ravel(), block.cost_usd.ravel()
        if not quality.size:
            return  # of one or two models there are no longer chains
        values = self._rates[:, None] * quality - cost
        at = values.argmax(axis=1)
        found = values[np.arange(len(at)), at]
        better = found > self._values + _TIE * np.maximum(np.abs(found), 1e-9)
        for rate in np.flatnonzero(better):
            self._values[rate] = found[rate]
            self.chains[rate] = block.chains[int(at[rate])]
        allowed = np.where(np.isfinite(cost) & (cost <= self._budget_usd), quality, -np.inf)
        best = int(np.lexsort((cost, -allowed))[0])
        if (-allowed[best], cost[best]) < (-self.within[0], self.within[1]):
            self.within = (float(allowed[best]), float(cost[best]), block.chains[best])


def _blocks(judged: Judged, first: int, n_quantiles: int, max_stages: int) -> Iterator[_Block]:
    n, n_models = judged.quality.shape
    others = [each for each in range(n_models) if each != first]
    score = judged.first[:, first]
    base_usd = judged.cost_usd[:, first].sum()
    yield _Block(
        quality=judged.quality[:, [first]].mean(axis=0),
        cost_usd=np.array([base_usd / n]),
        chains=[((first,), ())],
    )
    if max_stages < 2 or not others:
        return
    for threshold in thresholds_of(score, n_quantiles):
        down = np.flatnonzero(score < threshold)
        kept = judged.quality[score >= threshold, first].sum()
        yield _Block(
            quality=(kept + judged.quality[down][:, others].sum(axis=0)) / n,
            cost_usd=(base_usd + judged.cost_usd[down][:, others].sum(axis=0)) / n,
            chains=[((first, second), (float(threshold),)) for second in others],
        )
        if max_stages < MAX_STAGES or len(others) < 2:
            continue
        qualities, costs, thresholds = [], [], []
        for second in others:
            tried, quality, cost = _second(judged, down, first, second, n_quantiles)
            qualities.append((kept + quality) / n)
            costs.append((base_usd + cost) / n)
            thresholds.append(tried)
        yield _Block(
            quality=np.concatenate(qualities),
            cost_usd=np.concatenate(costs),
            chains=_Thirds(first, float(threshold), others, thresholds, n_models),
        )


def _second(
    judged: Judged, down: NDArray[np.intp], first: int, second: int, n_quantiles: int
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return thresholds, and sums of quality and cost (n_thresholds, n_models) by third model."""
    score = judged.second[down, first, second]
    order = np.argsort(score, kind="stable")
    # To turn down everything is a chain without the second model's answer.
    tried = thresholds_of(score, n_quantiles)[:-1]
    n_down = np.searchsorted(score[order], tried, side="left")
    at = down[order]
    quality, cost = judged.quality[at], judged.cost_usd[at]
    accepted = quality[:, second].sum() - _sums_of_first(quality[:, [second]], n_down)
    by_third = accepted + _sums_of_first(quality, n_down)
    spent = cost[:, second].sum() + _sums_of_first(cost, n_down)
    spent[:, [first, second]] = np.inf  # nobody is asked twice
    return tried, by_third, spent


def _sums_of_first(values: FloatArray, counts: NDArray[np.intp]) -> FloatArray:
    """Return sums over the first rows, so many each time, (n_counts, n_columns)."""
    running = np.cumsum(values, axis=0)
    return np.where(counts[:, None] > 0, running[np.maximum(counts, 1) - 1], 0.0)


# --- what chains come to ----------------------------------------------------------------------


def outcomes(
    judged: Judged, models: Sequence[int], thresholds: Sequence[float]
) -> tuple[FloatArray, FloatArray, tuple[float, ...]]:
    """Return quality and cost of a chain on every query, and the share that reached each stage."""
    first, *later = models
    quality, cost = judged.quality[:, first].copy(), judged.cost_usd[:, first].copy()
    down = np.full(len(judged), fill_value=True)
    reach = [1.0]
    score = judged.first[:, first]
    for model, threshold in zip(later, thresholds, strict=False):
        down &= score < threshold
        quality[down] = judged.quality[down, model]
        cost[down] += judged.cost_usd[down, model]
        reach.append(float(down.mean()))
        score = judged.second[:, first, model]
    return quality, cost, tuple(reach)


def _measured(judged: Judged, chains: Sequence[_Chain]) -> Chains:
    models = np.full((len(chains), MAX_STAGES), NO_MODEL, np.intp)
    thresholds = np.zeros((len(chains), MAX_STAGES - 1))
    reach = np.zeros((len(chains), MAX_STAGES))
    means = np.zeros((len(chains), 2))
    for i, (stages, limits) in enumerate(chains):
        quality, cost, reached = outcomes(judged, stages, limits)
        models[i, : len(stages)], thresholds[i, : len(limits)] = stages, limits
        reach[i, : len(stages)] = reached
        means[i] = quality.mean(), cost.mean()
    return Chains(
        models=models,
        thresholds=thresholds,
        reach=reach,
        quality=means[:, 0],
        cost_usd=means[:, 1],
    )
