"""Several answers of a cheap model in place of one of a dear one, where they are likely as good."""

# ruff: noqa: RUF009  (unfitted() declares a field)

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from routers.answers.normalise import Normaliser
from routers.decisions import CandidateEstimate
from routers.errors import DataError
from routers.heads.base import Head, HeadConfig
from routers.numeric import FloatArray, isotonic
from routers.options import State, prefixed, require_fitted, take, under, unfitted
from routers.steps import Delegate, Run, Serve, Skip
from routers.task import Task
from routers.text.token_estimate import estimate_tokens
from routers.types import FloatVector
from routers.workflows._best_of_samples import expected_best, match_chances
from routers.workflows._folds import two_folds_at_least
from routers.workflows.base import WORKFLOWS, Workflow, WorkflowContext
from routers.workflows.best_of import BestOf
from routers.workflows.cascade import not_among

_FEWEST_ROWS = 50
"""With fewer queries of that many answers nothing is learned of the best of them."""

_THRESHOLDS = np.append(np.linspace(0, 1, 41), 1.5)
"""Of the chance to be as good as the reference; nothing reaches the last one."""


@WORKFLOWS.register("best-route")
@dataclass(kw_only=True)
class BestRoute(Workflow):
    """Ask the cheapest model as often as its best answer is likely as good as the reference's.

    Parameters
    ----------
    reference
        The dear model that others are to match. None for the best of the training data.
    n_max
        How often a model is asked at most.
    threshold
        From which chance on the answers of a cheaper model will do, where there is no knob. With
        one the threshold is that of the best balance of quality and cost on the training data.
    prompt_billed
        Whether the prompt of several answers is paid for `once` (upstreams that take `n`) or for
        `each`.
    chooser, normaliser
        Who chooses among the answers, and how a vote compares them; as in `best-of`.
    chooser_skill
        How much of what the best of several answers is better than one the chooser finds: 1 for
        all, 0 for nothing. Measure it where you can; nobody chooses as well as the labels do.
    head
        What predicts the chances from what the router sees.

    References
    ----------
    Ding et al. 2025, BEST-Route: adaptive LLM routing with test-time optimal compute,
    arXiv:2506.22716.
    """

    kind: ClassVar[str] = "best-route"
    learns: ClassVar[bool] = True
    reads_features: ClassVar[bool] = True
    heeds_knob: ClassVar[bool] = True

    reference: str | None = None
    n_max: Annotated[int, Field(ge=1, le=9)] = 5
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.8
    prompt_billed: Literal["once", "each"] = "each"
    chooser: dict[str, Any] = field(default_factory=lambda: {"kind": "vote"})
    normaliser: Normaliser = "auto"
    chooser_skill: Annotated[float, Field(ge=0, le=1)] = 0.5
    head: HeadConfig = field(default_factory=lambda: HeadConfig(kind="logistic"))

    models_: tuple[str, ...] = unfitted()
    reference_: int = unfitted()
    ways_: NDArray[np.intp] = unfitted()  # (n_ways, 2): a model's column, and how often it is asked
    head_: Head | None = unfitted()  # one output for each way; None without any
    prompt_per_output_: FloatArray = unfitted()  # (n_models,), price of a token of each
    curve_: FloatArray = unfitted()  # (n_thresholds, 2): quality and cost on held-out chances
    figures_: FloatArray = unfitted()  # most answers, of one and the best of them; see notes
    _best_of: BestOf = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._best_of = self._asking(None, max(self.n_max, 2))

    def _asking(self, model_id: str | None, n: int) -> BestOf:
        return BestOf(model=model_id, n=n, chooser=self.chooser, normaliser=self.normaliser)

    @property
    def wants_logprobs(self) -> bool:
        """As the chooser does."""
        return self._best_of.wants_logprobs

    @property
    def reads_text_only(self) -> bool:
        """As the chooser does."""
        return self._best_of.reads_text_only

    def asks(self, candidates: Iterable[str]) -> tuple[str, ...]:
        """Return those that the chooser asks."""
        return self._best_of.asks(candidates)

    # --- learning -----------------------------------------------------------------------------

    def fit(self, context: WorkflowContext) -> Self:
        """Learn how likely each number of answers of each model is as good as the reference.

        Raises
        ------
        DataError
            If the reference is not in the data.
        """
        labels = context.labels
        self.models_ = labels.models
        self.reference_ = self._chosen_reference(context)
        told = labels.quality[:, :, None] if labels.samples is None else labels.samples
        samples = np.asarray(told, np.float64)
        reference = samples[:, self.reference_]
        chances, qualities, ways = [], [], []
        for column in range(len(labels.models)):
            if column == self.reference_:
                continue
            match = match_chances(samples[:, column], reference, self.n_max)
            best = expected_best(samples[:, column], self.n_max)
            for n in range(1, self.n_max + 1):
                if (~np.isnan(match[:, n - 1])).sum() < _FEWEST_ROWS:
                    break
                ways.append((column, n))
                chances.append(match[:, n - 1])
                # Nobody chooses as well as who knows which answer is the best one.
                qualities.append(best[:, 0] + self.chooser_skill * (best[:, n - 1] - best[:, 0]))
        self.ways_ = np.array(ways, np.intp).reshape(-1, 2)
        self.prompt_per_output_ = _prices_of_prompts(context)
        self.figures_ = _figures(samples, self.n_max)
        if not ways:
            self.head_, self.curve_ = None, np.zeros((len(_THRESHOLDS), 2))
            return self
        wanted = np.stack(chances, axis=1).astype(np.float32)
        held_out = self._cross_fitted(context, wanted)
        self.curve_ = self._curve(context, held_out, np.stack(qualities, axis=1))
        self.head_ = self.head.build().fit(context.x, wanted, rng=context.rng)
        return self

    def _chosen_reference(self, context: WorkflowContext) -> int:
        models = context.labels.models
        if self.reference is None:
            return int(np.nanargmax(np.nanmean(context.labels.quality, axis=0)))
        if self.reference not in models:
            raise DataError(
                f"best-route is to match {self.reference!r}, of which there are no outcomes"
            )
        return models.index(self.reference)

    def _cross_fitted(self, context: WorkflowContext, wanted: np.ndarray) -> FloatArray:
        held_out = np.zeros(wanted.shape)
        folds = two_folds_at_least(context)
        for fold in np.unique(folds):
            test = folds == fold
            train = wanted[~test]
            # What only this fold tells of is not known to the others.
            known = ~np.isnan(train).all(axis=0)
            if not known.any():
                continue
            head = self.head.build().fit(context.x[~test], train[:, known], rng=context.rng)
            part = np.zeros((int(test.sum()), wanted.shape[1]))
            part[:, known] = head.predict_mean(context.x[test])
            held_out[test] = part
        return _monotone(held_out, self.ways_)

    def _curve(
        self, context: WorkflowContext, chances: FloatArray, quality: FloatArray
    ) -> FloatArray:
        """Return mean quality and cost of each threshold, on chances that were held out."""
        columns, n = self.ways_[:, 0], self.ways_[:, 1]
        prompts = np.array([estimate_tokens(each) for each in context.conversations], np.float64)
        outputs = context.predictions.output_tokens[:, columns].astype(np.float64)
        factor = self._times(prompts[:, None], outputs, columns, n)
        spent, expected = (
            factor * usd[:, columns] for usd in (context.cost_usd, context.predicted_cost_usd)
        )
        alone = [
            each[:, self.reference_].astype(np.float64)
            for each in (context.labels.quality, context.cost_usd, context.predicted_cost_usd)
        ]
        known = np.isfinite(quality).all(axis=1) & np.isfinite(alone[0]) & np.isfinite(alone[1])
        points = []
        for threshold in _THRESHOLDS:
            usd = np.where(chances >= threshold, expected, np.inf)
            at = usd.argmin(axis=1)
            rows = np.arange(len(usd))
            cheaper = usd[rows, at] < alone[2]
            came = np.where(cheaper, quality[rows, at], alone[0])
            cost = np.where(cheaper, spent[rows, at], alone[1])
            points.append((came[known].mean(), cost[known].mean()) if known.any() else (0, 0))
        return np.array(points, np.float64)

    def _times(
        self,
        prompt: FloatArray | float,
        output: FloatArray | float,
        column: NDArray[np.intp],
        n: NDArray[np.intp],
    ) -> FloatArray:
        """Return what n answers cost, in answers."""
        if self.prompt_billed == "each":
            return np.broadcast_to(n, np.broadcast_shapes(np.shape(output), n.shape)).astype(float)
        of_prompt = self.prompt_per_output_[column] * prompt
        share = of_prompt / np.maximum(of_prompt + output, 1e-12)
        return np.asarray(share + n * (1 - share))

    def notes(self) -> dict[str, Any]:
        """Return whom it matches, and how far the best of several answers is above one."""
        require_fitted(self, "models_")
        n, one, best = self.figures_.tolist()
        found = one + self.chooser_skill * (best - one)
        return {
            "reference": self.models_[self.reference_],
            "ways": len(self.ways_),
            "most_answers": int(n),
            "quality_of_one": round(one, 4),
            "quality_of_best": round(best, 4),
            "quality_of_chosen": round(found, 4),
        }

    # --- running ------------------------------------------------------------------------------

    def run(self, task: Task) -> Run:
        """Take the cheapest way that is likely as good as the reference, or the reference."""
        require_fitted(self, "models_")
        if self.head_ is None or task.x is None:
            return Skip(why="nothing_to_go_by")
        way = self._way(task, task.x)
        if way is None:
            return Skip(why="no_reference")
        model_id, n, chance = way
        reference = self.models_[self.reference_]
        why = "" if model_id == reference else f"{chance:.2f} as good as {reference}"
        if n == 1:
            return Delegate(model_id=model_id, by=self.kind, why=why)
        end = yield from self._asking(model_id, n).run(task)
        if isinstance(end, Serve):
            return end
        last = model_id if task.candidate(reference) is None else reference
        return Delegate(model_id=last, by=self.kind, why="no answer to choose from")

    def chances(self, x: np.ndarray) -> FloatArray:
        """Return the chance of each way to be as good as the reference, (n_queries, n_ways)."""
        if self.head_ is None:
            return np.zeros((len(x), 0))
        return _monotone(self.head_.predict_mean(x).astype(np.float64), self.ways_)

    def _way(self, task: Task, x: FloatVector) -> tuple[str, int, float] | None:
        """Return whom to ask how often, and the chance that this is as good as the reference.

        None where neither the reference nor anything as good may be called.
        """
        reference = self.models_[self.reference_]
        known = {each.model_id: each for each in task.candidates}
        best, best_usd = None, np.inf
        if reference in known and task.may_cost([reference]):
            usd = known[reference].cost_usd
            best, best_usd = (reference, 1, 1.0), np.inf if usd is None else usd
        threshold = self._threshold(task.usd_per_quality)
        (chances,) = self.chances(x[None, :]).tolist()
        for (column, n), chance in zip(self.ways_.tolist(), chances, strict=True):
            name = self.models_[column]
            estimate = known.get(name)
            if chance < threshold or estimate is None or n > task.room.calls:
                continue
            usd = self._expected_usd(estimate, column, n)
            if usd < best_usd and task.may_cost([name] * n):
                best, best_usd = (name, n, chance), usd
        return best

    def _expected_usd(self, estimate: CandidateEstimate, column: int, n: int) -> float:
        if estimate.cost_usd is None:
            return np.inf
        output = 0.0 if estimate.output_tokens is None else estimate.output_tokens
        times = self._times(float(estimate.input_tokens), output, np.array([column]), np.array([n]))
        return float(estimate.cost_usd * times[0])

    def _threshold(self, rate: float | None) -> float:
        if rate is None:
            return self.threshold
        quality, cost = self.curve_.T
        if not np.isfinite(rate):
            return float(_THRESHOLDS[np.lexsort((cost, -quality))[0]])
        return float(_THRESHOLDS[np.argmax(rate * quality - cost)])

    # --- what it is with ----------------------------------------------------------------------

    def doubts(self, candidates: Sequence[str]) -> list[str]:
        """Return what keeps it from asking anybody twice, as far as it can be told before."""
        if self.models_ is None:
            named = filter(None, (self.reference,))
            return [*not_among(candidates, named), *self._best_of.doubts(candidates)]
        doubts = not_among(candidates, [self.models_[self.reference_]])
        others = {self.models_[each] for each in self.ways_[:, 0]} & set(candidates)
        if not others:
            doubts.append("of no candidate it is known how often it matches the reference")
        elif self.n_max > 1 and self.ways_[:, 1].max() < 2:
            doubts.append(
                "no model answered the same query several times in the training data, so that "
                "nothing is known of the best of several answers"
            )
        return doubts + self._best_of.doubts(candidates)

    def state(self) -> dict[str, np.ndarray]:
        """Return the heads and what thresholds came to."""
        require_fitted(self, "models_")
        return {
            "reference": np.array([self.reference_], np.int64),
            "ways": self.ways_,
            "prompt_per_output": self.prompt_per_output_,
            "curve": self.curve_,
            "figures": self.figures_,
            **({} if self.head_ is None else prefixed("head.", self.head_.state())),
        }

    def restore(self, state: State, models: Sequence[str]) -> Self:
        """Take over the heads.

        Raises
        ------
        KeyError, ValueError
            If an array is missing or they do not fit together.
        """
        ways, curve = take(state, "ways", ndim=2), take(state, "curve", ndim=2)
        reference, prices, figures = (
            take(state, name, ndim=1) for name in ("reference", "prompt_per_output", "figures")
        )
        sound = (
            ways.shape[1] == 2
            and curve.shape == (len(_THRESHOLDS), 2)
            and (len(reference), len(prices), len(figures)) == (1, len(models), 3)
            and min(reference[0], ways[:, 0].min(initial=0)) >= 0
            and max(reference[0], ways[:, 0].max(initial=0)) < len(models)
            and ways[:, 1].min(initial=1) >= 1
        )
        if not sound:
            raise ValueError("the arrays of best-route do not fit together")
        self.models_, self.reference_ = tuple(models), int(reference[0])
        self.ways_, self.curve_ = ways.astype(np.intp), curve
        self.prompt_per_output_, self.figures_ = prices, figures
        head = under("head.", state)
        self.head_ = self.head.build().restore(head) if len(ways) else None
        return self


def _monotone(chances: FloatArray, ways: NDArray[np.intp]) -> FloatArray:
    """Return chances that do not fall with the number of answers, nearest to those given."""
    result = chances.copy()
    for column in np.unique(ways[:, 0]):
        of_model = np.flatnonzero(ways[:, 0] == column)
        falls = (np.diff(result[:, of_model], axis=1) < 0).any(axis=1)
        for row in np.flatnonzero(falls):
            result[row, of_model] = isotonic(result[row, of_model])
    return result


def _prices_of_prompts(context: WorkflowContext) -> FloatArray:
    """Return what a token of the prompt costs in tokens of the answer, (n_models,).

    Least squares of what answers cost on both lengths; 0 where nothing tells them apart.
    """
    prompts = np.array([estimate_tokens(each) for each in context.conversations], np.float64)
    tokens, prices = context.labels.output_tokens, []
    for column in range(len(context.labels.models)):
        cost = context.cost_usd[:, column]
        output = np.full(len(cost), np.nan) if tokens is None else tokens[:, column]
        known = np.isfinite(cost) & np.isfinite(output)
        if not known.any():
            prices.append(0.0)
            continue
        x = np.stack([prompts[known], output[known].astype(np.float64)], axis=1)
        (prompt, answer), *_ = np.linalg.lstsq(x, cost[known], rcond=None)
        prices.append(max(prompt, 0.0) / answer if answer > 0 else 0.0)
    return np.array(prices)


def _figures(samples: FloatArray, n_max: int) -> FloatArray:
    """Return the most answers of which much is known, and the mean quality of one and the best."""
    means = []
    for column in range(samples.shape[1]):
        best = expected_best(samples[:, column], n_max)
        means.append([(~np.isnan(each)).sum() for each in best.T])
    counts = np.array(means).max(axis=0)
    n = int(np.flatnonzero(counts >= min(_FEWEST_ROWS, counts[0]))[-1]) + 1
    both = [expected_best(samples[:, column], n)[:, [0, n - 1]] for column in range(len(means))]
    known = np.concatenate(both)
    known = known[~np.isnan(known).any(axis=1)]
    return np.array([float(n), *known.mean(axis=0)])
