"""A chain of up to three models, each answer scored by what was learned of that model's answers."""

# ruff: noqa: RUF009  (unfitted() declares a field)

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from routers.answers.normalise import Comparing, Normaliser
from routers.errors import DataError
from routers.numeric import FloatArray, upper_hull
from routers.options import State, prefixed, require_fitted, take, under, unfitted
from routers.steps import Answer, Delegate, Draft, Run, Serve, Skip
from routers.task import Task
from routers.workflows._answer_scorer import (
    AnswerScorer,
    Heard,
    agreement,
    cross_scores,
    heard,
    heard_before,
)
from routers.workflows._chain_search import (
    MAX_STAGES,
    NO_MODEL,
    Chains,
    Judged,
    outcomes,
    search,
)
from routers.workflows._folds import two_folds_at_least
from routers.workflows.acceptors.base import unfit
from routers.workflows.base import WORKFLOWS, Workflow, WorkflowContext
from routers.workflows.cascade import LAST_STAGE

_FEWEST_ROWS = 50
"""With fewer complete queries neither scorers nor thresholds can be learned."""

_N_RATES = 41


@WORKFLOWS.register("frugal-gpt")
@dataclass(kw_only=True)
class FrugalGPT(Workflow):
    """Ask models one after the other until a learned scorer takes an answer.

    Parameters
    ----------
    max_stages
        How many models a chain has at most.
    n_quantiles
        How many thresholds the search tries for a stage.
    slack
        How far below the hull of the single models, in quality, a model may lie to be tried in
        chains; 1 tries all. More chains are more that look good by luck.
    agreement
        Whether the scorer of a second answer knows if the first one says the same.
    normaliser
        How answers are read and compared; as in `agree`.
    least_evidence
        How many standard errors better than single choice the chains have to be, on the training
        data at the same exchange rate; where they are not, single choice answers. `null`: chains
        whatever single choice would reach.
    budget_usd
        Where no router predicts, so that there is no knob: the mean cost of a query that the chain
        of the highest quality may come to. None for the highest quality whatever it costs.

    Notes
    -----
    Scorers are cross-fitted: thresholds are searched on scores of answers that their scorer has
    not learned from. The knob's exchange rate chooses among the best chains of all rates, by what
    this request is expected to cost at each of their models.

    References
    ----------
    Chen et al. 2023, FrugalGPT: how to use large language models while reducing cost and
    improving performance, arXiv:2305.05176.
    """

    kind: ClassVar[str] = "frugal-gpt"
    learns: ClassVar[bool] = True
    heeds_knob: ClassVar[bool] = True

    max_stages: Annotated[int, Field(ge=1, le=MAX_STAGES)] = MAX_STAGES
    n_quantiles: Annotated[int, Field(ge=2, le=100)] = 40
    slack: Annotated[float, Field(ge=0, le=1)] = 0.05
    agreement: bool = True
    normaliser: Normaliser = "auto"
    least_evidence: Annotated[float, Field(ge=0, le=10)] | None = 0.5
    budget_usd: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None

    models_: tuple[str, ...] = unfitted()
    pool_: NDArray[np.intp] = unfitted()  # (n_pool,), columns of the models in chains
    mean_usd_: FloatArray = unfitted()  # (n_pool,)
    scorer_: AnswerScorer = unfitted()
    chains_: Chains = unfitted()  # columns are those of the pool
    rates_: FloatArray = unfitted()  # (n_rates,), ascending, of which `pays_` tells
    pays_: NDArray[np.bool_] = unfitted()  # (n_rates,), whether chains beat single choice
    _compare: Comparing = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._compare = Comparing(by=self.normaliser)

    # --- learning -----------------------------------------------------------------------------

    def fit(self, context: WorkflowContext) -> Self:
        """Learn scorers, then chains and thresholds on scores out of fold.

        Raises
        ------
        DataError
            If there are not enough queries that all models of the pool answered.
        """
        self.models_ = context.labels.models
        self.pool_ = self._chosen_pool(context)
        quality = context.labels.quality[:, self.pool_]
        cost = context.cost_usd[:, self.pool_]
        rows = np.flatnonzero(np.isfinite(quality).all(axis=1) & np.isfinite(cost).all(axis=1))
        if len(rows) < _FEWEST_ROWS:
            raise DataError(
                f"frugal-gpt learns from queries that all of {len(self.pool_)} models answered, of "
                f"which there are {len(rows)}; it needs {_FEWEST_ROWS}"
            )
        folds = two_folds_at_least(context)[rows]
        signals, readings = heard_before(context, self.pool_.tolist(), compare=self._compare)
        signals, quality, cost = signals[rows], quality[rows], cost[rows]
        same = self._same([readings[row] for row in rows])

        def learned(known: NDArray[np.bool_]) -> AnswerScorer:
            return AnswerScorer.fit(signals[known], same[known], quality[known], rng=context.rng)

        first, second = cross_scores(learned, signals, same, folds)
        judged = Judged(
            quality=quality.astype(np.float64),
            cost_usd=cost,
            first=first,
            second=second if self.agreement else np.repeat(first[:, None, :], len(same[0]), axis=1),
        )
        self.mean_usd_ = cost.mean(axis=0)
        self.rates_ = _rates(cost)
        self.chains_ = search(
            judged,
            rates=self.rates_,
            n_quantiles=self.n_quantiles,
            budget_usd=self.budget_usd,
            max_stages=self.max_stages,
        )
        self.pays_ = self._beats_single_choice(context, rows, judged)
        self.scorer_ = learned(np.full(len(rows), fill_value=True))
        return self

    def _chosen_pool(self, context: WorkflowContext) -> NDArray[np.intp]:
        quality = np.nanmean(context.labels.quality.astype(np.float64), axis=0)
        cost = np.nanmean(context.cost_usd, axis=0)
        on = upper_hull(cost, quality)
        reachable = np.interp(cost, cost[on], quality[on])
        return np.flatnonzero(quality >= reachable - self.slack)

    def _same(self, readings: list[list[Any]]) -> FloatArray:
        n = len(self.pool_)
        if not self.agreement:
            return np.zeros((len(readings), n, n))
        return agreement(readings, self._compare)

    def _beats_single_choice(
        self, context: WorkflowContext, rows: NDArray[np.intp], judged: Judged
    ) -> NDArray[np.bool_]:
        """Return for each rate whether chains do better, on the queries that both were tried on."""
        if self.least_evidence is None:
            return np.full(len(self.rates_), fill_value=True)
        chains = self.chains_
        came_to = [
            outcomes(judged, models[models != NO_MODEL].tolist(), thresholds.tolist())[:2]
            for models, thresholds in zip(chains.models, chains.thresholds, strict=True)
        ]
        quality, cost = (np.stack(each, axis=1) for each in zip(*came_to, strict=True))
        expected = _expected_usd(chains, context.predicted_cost_usd[rows][:, self.pool_])
        single_quality = context.labels.quality[rows].astype(np.float64)
        single_cost = context.cost_usd[rows]
        predicted, priced = context.predictions.quality[rows], context.predicted_cost_usd[rows]
        at = np.arange(len(rows))
        pays = []
        for rate in self.rates_:
            chain = _best(chains.quality, expected, rate)
            pick = _best(predicted, priced, rate)
            gain = quality[at, chain] - single_quality[at, pick]
            dearer = cost[at, chain] - single_cost[at, pick]
            better = gain if math.isinf(rate) else rate * gain - dearer
            better = better[np.isfinite(better)]
            error = better.std() / math.sqrt(max(len(better), 1))
            pays.append(len(better) > 0 and better.mean() > self.least_evidence * error)
        return np.array(pays)

    def notes(self) -> dict[str, Any]:
        """Return what of the knob chains answer, and which chain is the best of all."""
        require_fitted(self, "models_")
        best = int(np.argmax(self.chains_.quality))
        return {
            "pool": [self.models_[each] for each in self.pool_],
            "chains": len(self.chains_),
            "best_chain": [self.models_[self.pool_[each]] for each in self._stages(best)],
            "share_of_rates_with_chains": round(float(self.pays_.mean()), 3),
        }

    # --- running ------------------------------------------------------------------------------

    def run(self, task: Task) -> Run:
        """Go from stage to stage of the chain that the knob chooses."""
        require_fitted(self, "models_")
        chain = self._chain(task)
        if isinstance(chain, str):
            return Skip(why=chain)
        stages = self._stages(chain)
        names = [self.models_[self.pool_[each]] for each in stages]
        before: tuple[int, Heard] | None = None
        best: tuple[float, Answer] | None = None
        for stage, threshold, name in zip(
            stages, self.chains_.thresholds[chain].tolist(), names[:-1], strict=False
        ):
            (answer,) = yield (Draft(model_id=name),)
            if answer is None:
                continue
            defect = unfit(answer)
            if defect is not None:
                task.judged(answer, accepted=False, by=self.kind, why=defect)
                continue
            said = heard(answer, task.candidates, compare=self._compare)
            score = self._score(stage, said, before)
            accepted, why = score >= threshold, f"{score:.2f}, {min(threshold, 1):.2f} needed"
            task.judged(answer, accepted=accepted, by=self.kind, score=score, why=why)
            if accepted:
                return Serve(answer=answer, by=self.kind, score=score, why=why)
            before = (stage, said)
            best = max(best or (score, answer), (score, answer), key=lambda each: each[0])
        instead = None if best is None else best[1]
        return Delegate(model_id=names[-1], by=LAST_STAGE, instead=instead)

    def _score(self, model: int, said: Heard, before: tuple[int, Heard] | None) -> float:
        if before is None or not self.agreement:
            return self.scorer_.score(model, said.signals)
        other, earlier = before
        return self.scorer_.score_after(
            model,
            said.signals,
            (other, earlier.signals),
            agrees=self._compare.same(said.reading, earlier.reading),
        )

    def _chain(self, task: Task) -> int | str:
        """Return the number of the chain to go by, or why single choice is to answer."""
        estimates = [task.candidate(self.models_[each]) for each in self.pool_]
        there = np.array([each is not None for each in estimates])
        models = self.chains_.models
        fits = (there[models] | (models == NO_MODEL)).all(axis=1)
        fits &= self.chains_.n_stages <= task.room.calls
        if task.room.cost_usd is not None:
            upper = np.array(
                [math.inf if e is None or (u := e.cost_usd_upper) is None else u for e in estimates]
            )
            fits &= np.where(models == NO_MODEL, 0, upper[models]).sum(axis=1) <= task.room.cost_usd
        rate = task.usd_per_quality
        if rate is not None and not self.pays_[_nearest(self.rates_, rate)]:
            return "single_choice"
        if not fits.any():
            return "no_chain"
        at = np.flatnonzero(fits)
        if rate is None:
            # The first one is the best within the budget.
            return 0 if fits[0] else int(at[np.argmax(self.chains_.quality[at])])
        cost = np.array(
            [
                mean if each is None or each.cost_usd is None else each.cost_usd
                for each, mean in zip(estimates, self.mean_usd_.tolist(), strict=True)
            ]
        )
        expected = _expected_usd(self.chains_, cost[None, :])[0]
        return int(at[_best(self.chains_.quality[at], expected[at], rate)])

    def _stages(self, chain: int) -> list[int]:
        models: list[int] = self.chains_.models[chain].tolist()
        return [each for each in models if each != NO_MODEL]

    # --- what it is with ----------------------------------------------------------------------

    def doubts(self, candidates: Sequence[str]) -> list[str]:
        """Return what keeps chains from being tried, as far as it can be told before fitting."""
        if self.models_ is None:
            return ["a chain needs two candidates at least"] if len(candidates) < 2 else []
        pool = [self.models_[each] for each in self.pool_]
        known = [each for each in pool if each in candidates]
        if len(known) < 2:
            return [f"a chain needs two of the models it was fitted on: {', '.join(pool)}"]
        if not self.pays_.any():
            return ["on the training data no chain was better than single choice"]
        return []

    def state(self) -> dict[str, np.ndarray]:
        """Return scorers and chains."""
        require_fitted(self, "models_")
        chains = self.chains_
        return {
            "pool": self.pool_,
            "mean_usd": self.mean_usd_,
            "rates": self.rates_,
            "pays": self.pays_,
            "chains.models": chains.models,
            "chains.thresholds": chains.thresholds,
            "chains.reach": chains.reach,
            "chains.quality": chains.quality,
            "chains.cost_usd": chains.cost_usd,
            **prefixed("scorer.", self.scorer_.state()),
        }

    def restore(self, state: State, models: Sequence[str]) -> Self:
        """Take over scorers and chains.

        Raises
        ------
        KeyError, ValueError
            If an array is missing or they do not fit together.
        """
        pool, pays, quality, cost, mean_usd, rates = (
            take(state, name, ndim=1)
            for name in ("pool", "pays", "chains.quality", "chains.cost_usd", "mean_usd", "rates")
        )
        stages, limits, reach = (
            take(state, f"chains.{name}", ndim=2) for name in ("models", "thresholds", "reach")
        )
        n = len(stages)
        shapes = (stages.shape, limits.shape, reach.shape, quality.shape, cost.shape)
        sound = (
            n > 0
            and shapes == ((n, MAX_STAGES), (n, MAX_STAGES - 1), (n, MAX_STAGES), (n,), (n,))
            and len(mean_usd) == len(pool)
            and len(rates) == len(pays) > 0
            and NO_MODEL <= stages.min() <= stages.max() < len(pool)
            and 0 <= pool.min() <= pool.max() < len(models)
            and (stages[:, 0] != NO_MODEL).all()
        )
        if not sound:
            raise ValueError("the arrays of frugal-gpt do not fit together")
        self.models_, self.pool_, self.mean_usd_ = tuple(models), pool.astype(np.intp), mean_usd
        self.rates_, self.pays_ = rates, pays.astype(bool)
        self.chains_ = Chains(
            models=stages.astype(np.intp),
            thresholds=limits,
            reach=reach,
            quality=quality,
            cost_usd=cost,
        )
        self.scorer_ = AnswerScorer.restore(under("scorer.", state), len(pool))
        return self


def _rates(cost: FloatArray) -> FloatArray:
    """Return exchange rates from always cheapest to always best; the last stands for infinity."""
    scale = max(float(np.median(cost.max(axis=1))), 1e-12)
    return np.concatenate([[0.0], scale * np.geomspace(1e-3, 1e4, _N_RATES)])


def _nearest(rates: FloatArray, rate: float) -> int:
    """Return the place of the rate next to one, by the logarithm of both."""
    if rate <= 0:
        return 0
    inner = rates[1:]
    return 1 + int(np.argmin(np.abs(np.log(inner) - math.log(min(rate, float(inner[-1]))))))


def _expected_usd(chains: Chains, cost: FloatArray) -> FloatArray:
    """Return what chains are expected to cost, (n_queries, n_chains), of (n_queries, n_pool)."""
    of_stages = np.where(chains.models == NO_MODEL, 0.0, cost[:, chains.models])
    return np.asarray((of_stages * chains.reach).sum(axis=-1))


def _best(
    quality: NDArray[np.floating], cost: NDArray[np.floating], rate: float
) -> NDArray[np.intp]:
    """Return the place of the highest value in the last axis; the cheaper of two equal ones."""
    if math.isinf(rate):
        best = quality.max(axis=-1, keepdims=True)
        return np.asarray(np.where(quality >= best, cost, np.inf).argmin(axis=-1))
    return np.asarray((rate * quality - cost).argmax(axis=-1))
